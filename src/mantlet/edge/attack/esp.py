# SPDX-License-Identifier: Apache-2.0
"""What an attacker does to the ESP of a disk's copy: files, addons, another UKI, a script.

Owns the making of those files with ukify and mtools. What the firmware or the stub makes of them is not
decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mantlet.attack.changes import EspAddon, EspFile, ForeignUki, Shell
from mantlet.edge import boot_loaders, process
from mantlet.edge.attack import damage
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.tools import ToolsTree
from mantlet.predict import pe, uki

REMOVABLE = "EFI/BOOT/BOOTX64.EFI"
_ARCHIVE = ".cpio:"
_SHELL = Path("/usr/share/efi-shell-x64/shellx64.efi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Esp:
    """The ESP of one copied disk, and a folder for what is put on it."""

    disk: Path
    folder: Path
    built: Build
    keys: KeyFolder
    tools: ToolsTree

    def put(self, file: EspFile) -> None:
        """Put one file where it says; what stood there goes."""
        self._copy(file.path, self._file(file.path, file.content))

    def add(self, addon: EspAddon) -> None:
        """Put an addon beside the UKI."""
        stub = boot_loaders.of_tree(self.tools).addon_stub
        target = self.folder / "x.addon.efi"
        words = ["ukify", "build", "--cmdline", addon.command_line, "--stub", str(stub)]
        self._ukify(words, target, read=[stub], signed=addon.signed)
        self._copy(f"{REMOVABLE}.extra.d/{target.name}", target)

    def replace(self, foreign: ForeignUki) -> None:
        """Put a UKI of our kernel and initrd with another command line in the place of ours."""
        ours = pe.decode(self.built.path("uki.efi").read_bytes(), what=uki.WHAT)
        stub = boot_loaders.of_tree(self.tools).stub
        words = ["ukify", "build", "--stub", str(stub), "--cmdline", foreign.command_line]
        for name, option in ((".linux", "--linux"), (".initrd", "--initrd")):
            words += [option, str(self._file(name, bytes(ours.content(_section(ours, name)))))]
        release = self._file("osrel", bytes(ours.content(_section(ours, ".osrel"))))
        words += ["--os-release", f"@{release}", "--uname", command_word(ours, ".uname")]
        target = self.folder / "foreign.efi"
        self._ukify(words, target, read=[stub], signed=False)
        self._run("mdel", f"::/{REMOVABLE}")
        self._copy(REMOVABLE, target)

    def script(self, shell: Shell) -> None:
        """Put EDK2's shell in the place of the UKI, with a script that it runs by itself."""
        self._run("mmove", f"::/{REMOVABLE}", "::/uki.efi")
        self._copy(REMOVABLE, _SHELL)
        self.put(EspFile("startup.nsh", "\r\n".join(("@echo -off", *shell.script, "")).encode("ascii")))
        archives: dict[str, dict[str, bytes]] = {}
        for file in shell.files:
            name, found, inside = file.path.partition(_ARCHIVE)
            if found:
                archives.setdefault(f"{name}.cpio", {})[inside] = file.content
            else:
                self.put(file)
        for name, members in archives.items():
            self.put(EspFile(name, cpio(members)))

    def _ukify(self, words: list[str], target: Path, *, read: list[Path], signed: bool) -> None:
        if signed:
            key, certificate = self.keys.folder / "db.key", self.keys.folder / "db.pem"
            words = [
                *words,
                "--secureboot-private-key",
                str(key),
                "--secureboot-certificate",
                str(certificate),
            ]
            read = [*read, key, certificate]
        process.run(self.tools.command([*words, "--output", str(target)], ro=read, rw=[self.folder]))

    def _copy(self, path: str, source: Path) -> None:
        for folder in reversed(Path(path).parents):
            if str(folder) != ".":
                # -D s: a folder that is there already is left alone.
                self._run("mmd", "-D", "s", f"::/{folder}", check=False)
        self._run("mcopy", "-o", str(source), f"::/{path}")

    def _run(self, program: str, *words: str, check: bool = True) -> None:
        offset = damage.partition(self.disk, lambda entry: entry["name"] == "esp", self.tools)
        argv = [program, "-i", f"{self.disk}@@{offset}", *words]
        environment = {"MTOOLS_SKIP_CHECK": "1"}
        process.run(self.tools.command(argv, rw=[self.folder], env=environment), check=check)

    def _file(self, name: str, content: bytes) -> Path:
        path = self.folder / name.replace("/", "-")
        path.write_bytes(content)
        return path


def command_line(built: Build) -> str:
    """The command line of the build's UKI."""
    return command_word(pe.decode(built.path("uki.efi").read_bytes(), what=uki.WHAT), ".cmdline")


def command_word(image: pe.Image, name: str) -> str:
    """The text of a section."""
    return bytes(image.content(_section(image, name))).rstrip(b"\0\n").decode("ascii")


def _section(image: pe.Image, name: str) -> pe.Section:
    section = image.section(name)
    return damage.given(section, f"a section {name} in the UKI")


def cpio(members: Mapping[str, bytes]) -> bytes:
    """An archive in the format newc (cpio(5)), with the folders that its files need."""
    archive = bytearray()
    folders = {str(folder) for path in members for folder in Path(path).parents} - {"."}
    entries = [(name, 0o040755, b"") for name in sorted(folders)]
    entries += [(name, 0o100644, content) for name, content in members.items()]
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        # inode, mode, uid, gid, links, mtime, size, device and its minor, the same of the special file,
        # length of the name, checksum
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields)
        archive += name.encode("ascii") + b"\0"
        archive += bytes(-len(archive) % 4)
        archive += content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)

# SPDX-License-Identifier: Apache-2.0
"""Images that others might build: a UKI of any suite's stub, add-ons, and a disk with an ESP around them.

Owns the making of files, with ukify, mtools and sfdisk of the tools tree. The kernel is the one of our image;
the initrd holds nothing, because a machine that only measures has done so before the kernel takes over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mantlet.edge import process, project
from mantlet.edge.tools import ToolsTree
from mantlet.predict import pe
from tests.vm.agreement.appending import append

REMOVABLE = "EFI/BOOT/BOOTX64.EFI"
COMMAND_LINE = "console=null panic=-1"
_SECTOR = 512
_MEBI = 1 << 20
_OS_RELEASE = b"ID=agreement\nNAME=Agreement\n"
_KEYS = ("db.key", "db.pem")
# newc (cpio(5)): an archive of no file. One link, a name of 11 bytes, padded to a block of 512 bytes.
_TRAILER = "070701" + "0" * 32 + "00000001" + "0" * 48 + "0000000B" + "0" * 8 + "TRAILER!!!"
_EMPTY_INITRD = _TRAILER.encode("ascii").ljust(512, b"\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a UKI is made of beside its kernel; `sections` are further ones, by name.

    appended: whether it is made without ukify (appending.py). profiles: command lines of further profiles.
    """

    stub: Path
    appended: bool = False
    command_line: str = COMMAND_LINE
    sections: Mapping[str, bytes] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Makes files in `folder` with programs of the tools tree, signed with the checkout's own keys."""

    tools: ToolsTree
    folder: Path

    def uki(self, name: str, recipe: Recipe, *, kernel: Path, signed: bool) -> Path:
        """Make `name`.efi of an unpacked kernel."""
        if recipe.appended:
            return self._appended(name, recipe, kernel=kernel, signed=signed)
        initrd = self._file(f"{name}.initrd", _EMPTY_INITRD)
        release = self._file(f"{name}.osrel", _OS_RELEASE)
        words: list[str | Path] = ["--linux", kernel, "--stub", recipe.stub, "--initrd", initrd]
        words += ["--os-release", f"@{release}", "--uname", "7.2-agreement"]
        words += ["--cmdline", recipe.command_line]
        for section, content in recipe.sections.items():
            words += ["--section", f"{section}:@{self._file(name + section, content)}"]
        for number, line in enumerate(recipe.profiles, start=1):
            profile = ["--profile", f"ID={number}", "--cmdline", line]
            words += ["--join-profile", self._ukify(f"{name}@{number}.efi", profile, read=(), signed=False)]
        if recipe.profiles:
            words += ["--profile", "ID=0"]
        return self._ukify(f"{name}.efi", words, read=(kernel, recipe.stub), signed=signed)

    def addon(self, name: str, command_line: str, *, stub: Path, signed: bool) -> Path:
        """Make `name`.addon.efi, which adds to the command line."""
        words: list[str | Path] = ["--cmdline", command_line, "--stub", stub]
        return self._ukify(f"{name}.addon.efi", words, read=(stub,), signed=signed)

    def signed(self, program: Path, *, name: str) -> Path:
        """Sign a copy of an EFI program, or the program in its place."""
        target = self.folder / name
        key, certificate = self._keys()
        words = ["sbsign", "--key", str(key), "--cert", str(certificate)]
        words += ["--output", str(target), str(program)]
        outside = [path for path in (program, *self._keys()) if not path.is_relative_to(self.folder)]
        process.run(self.tools.command(words, ro=outside, rw=[self.folder]))
        return target

    def kernel(self, uki: Path) -> Path:
        """Take the kernel out of a UKI."""
        image = pe.decode(uki.read_bytes())
        section = image.section(".linux")
        assert section is not None
        return self._file("vmlinuz", image.content(section))

    def disk(self, name: str, files: Mapping[str, Path | bytes]) -> Path:
        """Make a disk whose only partition is an ESP with these files, by path in it."""
        disk = self.folder / f"{name}.raw"
        content = {path: self._content(path, source) for path, source in files.items()}
        size = (sum(source.stat().st_size for source in content.values()) // _MEBI + 36) * _MEBI
        with disk.open("wb") as file:
            file.truncate(size + 2 * _MEBI)
        table = f"label: gpt\nsize={size // _SECTOR}, type=uefi, name=esp\n"
        sfdisk = self.tools.command(["sfdisk", "--quiet", str(disk)], rw=[self.folder])
        process.run(sfdisk, stdin=table.encode("ascii"))
        # sfdisk puts the first partition at 1 MiB.
        place = (f"--offset={_MEBI // _SECTOR}", str(disk), str(size // 1024))
        self._run("mkfs.vfat", "-F", "32", "-s", "1", *place)
        self._copy(disk, _MEBI, content)
        return disk

    def add(self, disk: Path, *, offset: int, files: Mapping[str, Path | bytes]) -> None:
        """Add files to the ESP at `offset` of a disk."""
        self._copy(disk, offset, {path: self._content(path, source) for path, source in files.items()})

    def _copy(self, disk: Path, offset: int, files: Mapping[str, Path]) -> None:
        image = f"{disk}@@{offset}"
        made: set[str] = set()
        for path, source in files.items():
            for folder in [str(parent) for parent in reversed(Path(path).parents) if str(parent) != "."]:
                if folder not in made:
                    # -D s: a folder that is there already is left alone.
                    self._run("mmd", "-D", "s", "-i", image, f"::/{folder}", check=False)
                made.add(folder)
            self._run("mcopy", "-i", image, str(source), f"::/{path}")

    def _run(self, *argv: str, check: bool = True) -> bytes:
        command = self.tools.command(argv, rw=[self.folder], env={"MTOOLS_SKIP_CHECK": "1"})
        return process.run(command, check=check).stdout

    def _appended(self, name: str, recipe: Recipe, *, kernel: Path, signed: bool) -> Path:
        own = {".osrel": _OS_RELEASE, ".cmdline": recipe.command_line.encode("ascii")}
        last = {".initrd": _EMPTY_INITRD, ".linux": kernel.read_bytes()}
        image = append(recipe.stub.read_bytes(), {**own, **recipe.sections, **last})
        # Firmware hashes an image as it is; signers pad it to 8 bytes first.
        assert len(image) % 8 == 0
        target = self._file(f"{name}.efi", image)
        return self.signed(target, name=target.name) if signed else target

    def _ukify(self, name: str, words: Sequence[str | Path], *, read: tuple[Path, ...], signed: bool) -> Path:
        target = self.folder / name
        argv = ["ukify", "build", *map(str, words), "--output", str(target)]
        if signed:
            key, certificate = self._keys()
            argv += ["--secureboot-private-key", str(key), "--secureboot-certificate", str(certificate)]
        process.run(self.tools.command(argv, ro=[*read, *self._keys()], rw=[self.folder]))
        return target

    def _keys(self) -> tuple[Path, Path]:
        key, certificate = (project.key_folder() / name for name in _KEYS)
        return key, certificate

    def _content(self, path: str, source: Path | bytes) -> Path:
        if isinstance(source, bytes):
            return self._file(path.replace("/", "-"), source)
        inside = self.folder / source.name
        if source != inside:
            return self._file(source.name, source.read_bytes())
        return source

    def _file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

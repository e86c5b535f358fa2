# SPDX-License-Identifier: Apache-2.0
"""A throw-away Linux with nothing of ours in it: the image's kernel, Debian's programs, one script.

It shows what the device mapper of a real kernel does with commands that somebody types. No firmware, no TPM;
what the script prints comes out of the serial port, and the machine ends with the script.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import process
from mantlet.edge.accelerator import Accelerator, sandbox_options
from mantlet.edge.image import Build
from mantlet.edge.process import Running
from mantlet.edge.tools import ToolsTree
from mantlet.predict import pe, uki

_SECONDS = 600.0
_FROM_TOOLS = (
    *("/usr/bin/dash", "/usr/bin/openssl", "/usr/bin/sha256sum", "/usr/bin/kmod"),
    *("/usr/sbin/cryptsetup", "/usr/sbin/veritysetup"),
)
# The tools tree has no mount(8); the image has Debian's.
_FROM_IMAGE = ("/usr/bin/mount", "/usr/bin/umount")
# Opened by kmod at run time.
_LIBRARIES = ("/usr/lib/x86_64-linux-gnu/liblzma.so.5", "/usr/lib/x86_64-linux-gnu/libzstd.so.1")
_MODULES = ("virtio_pci", "virtio_blk", "dm_crypt", "dm_verity", "xts", "aesni_intel", "erofs")
_INIT = """#!/usr/bin/dash
export PATH=/usr/bin:/usr/sbin DM_DISABLE_UDEV=1
mount -t devtmpfs dev /dev && mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t tmpfs run /run
for module in {modules}; do modprobe $module; done
until [ -b /dev/vda1 ] && [ -b /dev/vdb1 ]; do :; done
cd /run
. /script
"""


@dataclass(frozen=True, kw_only=True)
class StockGuest:
    """What the guest is made from, and a folder to make it in."""

    built: Build
    tools: ToolsTree
    folder: Path
    accelerator: Accelerator

    def run(self, script: str, disks: Sequence[Path]) -> str:
        """Run a shell script in a new guest, with disks from /dev/vda on; return what it printed."""
        serial, log = self.folder / "serial", self.folder / "qemu.log"
        for path in (serial, log):
            path.write_bytes(b"")
        words = [
            *("qemu-system-x86_64", "-machine", "q35", *self.accelerator.words, "-m", "768"),
            *("-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(self._kernel()), "-initrd", str(self._initrd(script))),
            # The script's end is the end of PID 1, which is a panic, which is a reset, which ends QEMU.
            *("-append", "console=ttyS0 quiet panic=-1"),
            *("-chardev", f"file,id=serial,path={serial}", "-serial", "chardev:serial"),
        ]
        for disk in disks:
            words += ["-drive", f"if=virtio,format=raw,readonly=on,file={disk}"]
        options = sandbox_options(self.accelerator)
        guest = Running(self.tools.command(words, ro=disks, rw=[self.folder], options=options), log=log)
        try:
            assert guest.wait(_SECONDS) == 0, serial.read_text(errors="replace") + guest.last_words()
        finally:
            guest.stop()
        return serial.read_text(errors="replace").replace("\r", "")

    def _kernel(self) -> Path:
        image = pe.decode(self.built.path("uki.efi").read_bytes(), what=uki.WHAT)
        section = image.section(".linux")
        assert section is not None
        path = self.folder / "vmlinuz"
        path.write_bytes(image.content(section))
        return path

    def _initrd(self, script: str) -> Path:
        root, image = self.folder / "initrd", self.folder / "image"
        shutil.rmtree(root, ignore_errors=True)
        if not image.exists():
            raw = self.built.path("root.raw")
            argv = ["fsck.erofs", f"--extract={image}", "--no-preserve-owner", str(raw)]
            process.run(self.tools.command(argv, ro=[raw], rw=[self.folder]))
        for name in ("dev", "proc", "sys", "run", "mnt"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib64"):
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        programs = {path: self.tools.root / path[1:] for path in _FROM_TOOLS}
        programs |= {path: image / path[1:] for path in _FROM_IMAGE}
        for path in (*self._libraries(list(programs.values())), *_LIBRARIES):
            programs[path] = self.tools.root / path[1:]
        for path, source in programs.items():
            _place(source, root / path[1:])
        (root / "usr/sbin/modprobe").symlink_to("../bin/kmod")
        shutil.copytree(image / "usr/lib/modules", root / "usr/lib/modules", symlinks=True)
        (root / "script").write_text(script)
        (root / "init").write_text(_INIT.format(modules=" ".join(_MODULES)))
        (root / "init").chmod(0o755)
        archive = self.folder / "initrd.cpio"
        pack = f"cd {root} && find . | cpio --quiet -o -H newc -R 0:0 > {archive}"
        process.run(self.tools.command(["sh", "-ec", pack], rw=[self.folder]))
        return archive

    def _libraries(self, programs: Sequence[Path]) -> list[str]:
        """What ldd(1) of the tools tree finds for programs."""
        said = process.run(self.tools.command(["ldd", *map(str, programs)], ro=programs)).stdout.decode()
        words = (line.split() for line in said.splitlines())
        return sorted({word for line in words for word in line if word.startswith("/") and ":" not in word})


def _place(source: Path, target: Path) -> None:
    """Copy a file, through links, to where the guest expects it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)

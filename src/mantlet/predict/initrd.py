# SPDX-License-Identifier: Apache-2.0
"""Register 9, kernel-initrd: the kernel's EFI stub measures its command line and the initrd it is given.

Follows Linux, drivers/firmware/efi/libstub (`efi_convert_cmdline`, `efi_load_initrd`), and systemd's
src/boot/stub.c and cpio.c for what is given. It models a UKI that starts alone: nothing registered before it,
no add-ons or credentials beside it, and a `\\loader\\boot-secret-mixin` too short to be used, without which
stubs from 261 on add a random secret.
"""

from collections.abc import Iterator

from mantlet.predict.parts import measured_parts
from mantlet.predict.uki import Uki
from mantlet_measure.pcr import Event, Register, measured

_DIRECTORY = ".extra"
_DIRECTORY_MODE = 0o040555
_FILE_MODE = 0o100444
# src/boot/stub.c, `generate_embedded_initrds`, in the order of the INITRD_* enumeration.
_EMBEDDED: tuple[tuple[str, str], ...] = (
    (".pcrsig", "tpm2-pcr-signature.json"),
    (".pcrpkey", "tpm2-pcr-public-key.pem"),
    (".osrel", "os-release"),
)


def events(uki: Uki) -> tuple[Event, ...]:
    """Return what the kernel measures before it leaves the boot services."""
    register = Register.KERNEL_INITRD
    return (
        # LoadOptions: UTF-16LE with its NUL (src/boot/linux.c, LoadOptionsSize = strsize16).
        measured(
            register,
            f"{uki.cmdline}\0".encode("utf-16-le"),
            claimed_type="EV_EVENT_TAG",
            description="LOADED_IMAGE::LoadOptions: the kernel command line",
        ),
        measured_parts(
            register,
            combined(uki),
            claimed_type="EV_EVENT_TAG",
            description="Linux initrd: .initrd and what the stub adds to it",
        ),
    )


def combined(uki: Uki) -> Iterator[bytes | memoryview]:
    """Yield the initrd as the kernel gets it: microcode, .initrd, then the archives that the stub packs.

    Each is padded to 4 bytes (src/boot/initrd.c, `combine_initrds`); .osrel is always there, so there are
    always several.
    """
    image = uki.image
    for name in (".ucode", ".initrd"):
        if (section := image.section(name)) is not None:
            yield from image.loaded(section)
            yield bytes(-section.virtual_size % 4)
    for name, file in _EMBEDDED:
        if (section := image.section(name)) is not None and section.virtual_size:
            yield archive(file, image.content(section))


def archive(name: str, content: bytes) -> bytes:
    """Return the newc archive of /.extra/NAME, without times and owners (cpio.c, `pack_cpio_literal`)."""
    directory = _record(inode=1, mode=_DIRECTORY_MODE, name=_DIRECTORY, content=b"")
    file = _record(inode=2, mode=_FILE_MODE, name=f"{_DIRECTORY}/{name}", content=content)
    return directory + file + _record(inode=0, mode=0, name="TRAILER!!!", content=b"")


def _record(*, inode: int, mode: int, name: str, content: bytes) -> bytes:
    path = name.encode("ascii") + b"\0"
    # inode, mode, uid, gid, nlink, mtime, size, device (2), special device (2), name size; then the checksum
    numbers = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path))
    # The stub writes digits in lower case; its trailer is a literal, with the name size in upper case.
    words = (
        "".join(f"{number:08x}" for number in numbers)
        if inode
        else "".join(f"{number:08X}" for number in numbers)
    )
    head = b"070701" + words.encode("ascii") + b"00000000" + path
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)

# SPDX-License-Identifier: Apache-2.0
"""Register 9, kernel-initrd: the kernel's EFI stub measures its command line and the initrd it is given.

Follows Linux, drivers/firmware/efi/libstub (`efi_convert_cmdline`, `efi_load_initrd`), and systemd's
src/boot/stub.c for what is given, releases 252 to 262. It assumes that nobody registered an initrd before the
stub ran: those of 261 and later would keep it in front of the UKI's own.
"""

from collections.abc import Iterator

from mantlet.predict import kernel
from mantlet.predict.addons import applied
from mantlet.predict.archive import META, archive
from mantlet.predict.boot import Basis, Boot, BootSecret, RegisterPrediction
from mantlet.predict.command_line import command_line
from mantlet.predict.extensions import packed
from mantlet.predict.parts import measured_parts
from mantlet_measure.pcr import BANKS, Bank, Event, Register, measured

Parts = tuple[bytes | memoryview, ...]

_BOOT_SECRET_SINCE = 261
# src/boot/stub.c, `generate_embedded_initrds`, in the order of the INITRD_* enumeration; with the release.
_EMBEDDED: tuple[tuple[str, str, int], ...] = (
    (".pcrsig", "tpm2-pcr-signature.json", 252),
    (".pcrpkey", "tpm2-pcr-public-key.pem", 252),
    (".osrel", "os-release", 257),
    (".profile", "profile", 257),
)


def events(boot: Boot, banks: tuple[Bank, ...] = BANKS) -> RegisterPrediction:
    """Return what the kernel measures before it leaves the boot services."""
    reason = _unsettled(boot)
    return RegisterPrediction(
        events=tuple(_events(boot, banks)),
        basis=Basis.UNPREDICTABLE if reason else Basis.COMPUTED,
        reason=reason,
    )


def _events(boot: Boot, banks: tuple[Bank, ...]) -> Iterator[Event]:
    register = Register.KERNEL_INITRD
    if (line := command_line(boot).whole) is not None:
        # LoadOptions: UTF-16LE with its NUL (src/boot/linux.c, LoadOptionsSize = strsize16).
        yield measured(
            register,
            f"{line}\0".encode("utf-16-le"),
            type="EV_EVENT_TAG",
            description="LOADED_IMAGE::LoadOptions: the kernel command line",
            banks=banks,
        )
    if parts := combined(boot):
        yield measured_parts(
            register,
            parts,
            type="EV_EVENT_TAG",
            description="Linux initrd: .initrd and what the stub adds to it",
            banks=banks,
        )


def combined(boot: Boot) -> Parts:
    """Return the initrd as the kernel gets it, in parts: microcode, .initrd, then what the stub packs.

    When there are several, each is padded to 4 bytes (src/boot/initrd.c, `combine_initrds`).
    """
    initrds = [(name, parts) for name, parts in _initrds(boot) if any(len(part) for part in parts)]
    # Before 257 anything but a lone .initrd went through the padding.
    if len(initrds) == 1 and (boot.uki.stub >= 257 or initrds[0][0] == ".initrd"):
        return initrds[0][1]
    padded: list[bytes | memoryview] = []
    for _, parts in initrds:
        padded += (*parts, bytes(-sum(len(part) for part in parts) % 4))
    return tuple(padded)


def _initrds(boot: Boot) -> Iterator[tuple[str, Parts]]:
    image, sections, stub = boot.uki.image, boot.uki.sections(boot.profile), boot.uki.stub
    addons = applied(boot)
    # The kernel takes the first microcode that it finds: the last add-on comes first.
    for addon in reversed(addons):
        if (section := addon.sections.get(".ucode")) is not None:
            yield ".ucode", tuple(addon.image.loaded(section))
    for name in (".ucode", ".initrd"):
        if (section := sections.get(name)) is not None:
            yield name, tuple(image.loaded(section))
    for item in packed(boot):
        yield item.kind, item.parts
    for name, file, since in _EMBEDDED:
        if (section := sections.get(name)) is not None and stub >= since:
            yield name, archive(META, ((file, image.content(section)),))
    for addon in addons:
        if (section := addon.sections.get(".initrd")) is not None:
            yield "add-on", tuple(addon.image.loaded(section))


def _unsettled(boot: Boot) -> str:
    stub = boot.uki.stub
    if reason := kernel.unmeasuring(boot.uki, boot.profile):
        return reason
    if reason := command_line(boot).unsettled:
        return reason
    if stub >= _BOOT_SECRET_SINCE and boot.boot_secret is not BootSecret.ABSENT:
        return (
            "the stub adds a boot secret of its own to the initrd, another one on each machine"
            if boot.boot_secret is BootSecret.RANDOM
            else "the stub adds a boot secret to the initrd unless the EFI system partition keeps it from "
            "that (a \\loader\\boot-secret-mixin of 1 to 31 bytes), and only the UKI is known"
        )
    if stub in (257, 258, 259) and not combined(boot):
        return "without any initrd the early stubs of 257 to 259 pass on one that they never set"
    return ""

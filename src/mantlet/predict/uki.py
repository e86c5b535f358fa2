# SPDX-License-Identifier: Apache-2.0
"""A unified kernel image: a PE with the sections of UAPI.5 and systemd's stub.

Owns what the sections say: which stub it is, which command line the kernel gets, which image it belongs to.
It refuses what the stub would only decide at run time, because nothing predicts that.
"""

import re
from dataclasses import dataclass

from mantlet.predict import pe
from mantlet.predict.pe import Image
from mantlet_measure.errors import DecodeError, MantletError, shown

WHAT = "UKI"
FIRST_STUB = 258
LAST_STUB = 262
_MAGIC = re.compile(rb"#### LoaderInfo: systemd-stub ([0-9]+)[^ ]* ####")
_TEXT_LIMIT = 64 << 10

# systemd, src/fundamental/uki.c: the order is ABI. `.pcrsig` is the one that is not measured.
SECTIONS: tuple[str, ...] = (
    ".linux",
    ".osrel",
    ".cmdline",
    ".initrd",
    ".ucode",
    ".splash",
    ".dtb",
    ".uname",
    ".sbat",
    ".pcrsig",
    ".pcrpkey",
)
# Chosen by the stub from the profile that was asked for, or from the hardware that it finds.
_RUN_TIME: tuple[str, ...] = (".profile", ".dtbauto", ".hwids", ".efifw")


class UnpredictableError(MantletError):
    """An image whose measurements depend on something that the image does not settle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uki:
    """A UKI whose measurements follow from its bytes."""

    image: Image
    stub: int
    cmdline: str
    image_id: str
    image_version: str
    roothash: bytes


def decode(data: bytes) -> Uki:
    """Decode a UKI. DecodeError when it is none, UnpredictableError when it settles too little."""
    image = pe.decode(data, what=WHAT)
    stub = _stub(image)
    for name in _RUN_TIME:
        if image.section(name) is not None:
            raise UnpredictableError(
                f"UKI: expected no section {name}, which the stub chooses at run time, found one",
                hint=f"build the UKI without {name}",
            )
    for name in (".linux", ".initrd"):
        if (section := image.section(name)) is None or not section.virtual_size:
            raise DecodeError(WHAT, expected=f"a section {name}", found="none")
    cmdline = _cmdline(_text(image, ".cmdline"))
    release = _os_release(_text(image, ".osrel"))
    return Uki(
        image=image,
        stub=stub,
        cmdline=cmdline,
        image_id=_field(release, "IMAGE_ID"),
        image_version=_field(release, "IMAGE_VERSION"),
        roothash=_roothash(cmdline),
    )


def _text(image: Image, name: str) -> str:
    """Return a section as the stub reads it, up to its first NUL (src/boot/efi-string.c, `xstrn8_to_16`)."""
    section = image.section(name)
    if section is None or not section.virtual_size:
        raise DecodeError(WHAT, expected=f"a section {name}", found="none")
    if section.virtual_size > _TEXT_LIMIT:
        raise DecodeError(
            WHAT, expected=f"{name} of at most {_TEXT_LIMIT} bytes", found=str(section.virtual_size)
        )
    text = image.content(section).split(b"\0", 1)[0]
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError(
            WHAT, expected=f"UTF-8 in {name}", found=error.reason, offset=section.raw_offset + error.start
        ) from None


def _stub(image: Image) -> int:
    section = image.section(".sdmagic")
    if section is None or section.virtual_size > _TEXT_LIMIT:
        raise DecodeError(WHAT, expected="systemd's stub (section .sdmagic)", found="none")
    magic = _MAGIC.match(image.content(section))
    if magic is None:
        raise DecodeError(WHAT, expected="systemd-stub in .sdmagic", found=shown(image.content(section)[:64]))
    version = int(magic[1])
    if version < FIRST_STUB:
        raise UnpredictableError(
            f"UKI: expected a stub from {FIRST_STUB} to {LAST_STUB}, found {version}, "
            "which may also measure the inner kernel into register 4 and packs other initrds into register 9",
            hint=f"build the UKI with the stub of systemd {LAST_STUB}",
        )
    if version > LAST_STUB:
        raise UnpredictableError(
            f"UKI: expected a stub from {FIRST_STUB} to {LAST_STUB}, found {version}, "
            "whose measurements nobody has checked",
            hint="compare src/boot/stub.c and src/fundamental/uki.c of that version with mantlet.predict, "
            "boot it, and raise LAST_STUB",
        )
    return version


def _cmdline(text: str) -> str:
    """Return the command line as the stub hands it on (src/boot/util.c, `mangle_stub_cmdline`)."""
    if not text.isascii():
        raise DecodeError(WHAT, expected="an ASCII command line", found=shown(text))
    mangled = "".join(" " if char <= " " or char == "\x7f" else char for char in text).strip(" ")
    # Stub >= 261 appends the consoles it finds to a command line that names none (src/boot/console.c).
    if not any(word.startswith("console=") for word in mangled.split(" ")):
        raise UnpredictableError(
            "UKI: expected a console= in .cmdline, found none: the stub would add what the machine has",
            hint="add console=null to the built-in command line",
        )
    return mangled


def _roothash(cmdline: str) -> bytes:
    words = [word.removeprefix("roothash=") for word in cmdline.split(" ") if word.startswith("roothash=")]
    if len(words) != 1 or re.fullmatch(r"[0-9a-f]{64}", words[0]) is None:
        raise DecodeError(WHAT, expected="one roothash= of 32 bytes in .cmdline", found=shown(words))
    return bytes.fromhex(words[0])


def _os_release(text: str) -> dict[str, str]:
    """Read os-release(5) assignments; a value may stand in quotes."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name: value.strip("\"'") for name, value in pairs}


def _field(release: dict[str, str], name: str) -> str:
    if not release.get(name):
        raise DecodeError(
            WHAT, expected=f"{name}= in .osrel", found="none", hint=f"set {name} when building the image"
        )
    return release[name]

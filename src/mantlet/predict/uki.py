# SPDX-License-Identifier: Apache-2.0
"""A unified kernel image: a PE with the sections of UAPI.5 and systemd's stub.

Owns what the sections say: which stub it is, which sections that stub knows and measures, what a profile
changes, which image it belongs to. What the stub then measures is in the module of each register.

Follows systemd's src/fundamental/uki.c and src/boot/pe.c, releases 252 to 262.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mantlet.predict import pe
from mantlet.predict.pe import Image, Section
from mantlet_measure.errors import DecodeError, MantletError, shown

WHAT = "UKI"
FIRST_STUB = 252
LAST_STUB = 262
# 252.0 to 252.2 hand the command line on byte by byte, with its line end: 252.3 changed what is measured.
_FIRST_POINT_OF_252 = 3
_MAGIC = re.compile(rb"#### LoaderInfo: systemd-stub ([0-9]{1,4})(?:\.([0-9]{1,4}))?[^ ]* ####")
_TEXT_LIMIT = 64 << 10
_PROFILE = ".profile"
_PROFILES_SINCE = 257
# src/fundamental/uki.h, UNIFIED_PROFILES_MAX
PROFILES = 256

# src/fundamental/uki.c, `unified_sections`: the order is ABI. With each section, the first release that knows
# it; a stub neither measures nor uses what it does not know.
SECTIONS: Mapping[str, int] = {
    ".linux": 252,
    ".osrel": 252,
    ".cmdline": 252,
    ".initrd": 252,
    ".ucode": 256,
    ".splash": 252,
    ".dtb": 252,
    ".uname": 254,
    ".sbat": 254,
    ".pcrsig": 252,
    ".pcrpkey": 252,
    ".profile": 257,
    ".dtbauto": 257,
    ".hwids": 257,
    ".efifw": 258,
}
# The one that is not measured: it holds the signatures over what the others add up to.
UNMEASURED = ".pcrsig"
# Taken or left by the stub for the hardware that it finds (src/boot/pe.c, `pe_use_this_dtb`).
HARDWARE_SECTIONS: tuple[str, ...] = (".dtbauto", ".efifw")


class UnpredictableError(MantletError):
    """An image whose measurements depend on something that nobody has checked or that it does not settle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uki:
    """A UKI whose stub is known.

    `stub` and `point` are the release of the stub: 252 and 39 of 252.39. `cmdline` is the built-in command
    line of the first profile as the stub hands it on, empty when there is none. `image_id`, `image_version`
    (from .osrel) and `roothash` (from the command line) are empty where the image does not say.
    """

    image: Image
    stub: int
    point: int
    cmdline: str
    image_id: str
    image_version: str
    roothash: bytes

    def sections(self, profile: int = 0) -> Mapping[str, Section]:
        """Return the sections that the stub knows and finds not empty, in the order of measurement.

        DecodeError when there is no such profile, or one section twice in it.
        """
        return _chosen(self.image, self.stub, profile)


def decode(data: bytes | memoryview) -> Uki:
    """Decode a UKI. DecodeError when it is none, UnpredictableError when nobody has checked its stub."""
    image = pe.decode(data, what=WHAT)
    stub, point = _release(image)
    sections = _chosen(image, stub, 0)
    if ".linux" not in sections:
        raise DecodeError(WHAT, expected="a section .linux", found="none")
    raw = text(image, sections[".cmdline"]) if ".cmdline" in sections else ""
    cmdline = mangled(raw, stub)
    release = _os_release(text(image, sections[".osrel"])) if ".osrel" in sections else {}
    return Uki(
        image=image,
        stub=stub,
        point=point,
        cmdline=cmdline,
        image_id=release.get("IMAGE_ID", ""),
        image_version=release.get("IMAGE_VERSION", ""),
        roothash=_roothash(cmdline),
    )


def text(image: Image, section: Section) -> str:
    """Return a section as the stub reads text: up to its first NUL, and of that what UCS-2 can hold.

    src/boot/efi-string.c, `xstrn8_to_16`. DecodeError on bytes that are no UTF-8.
    """
    if section.virtual_size > _TEXT_LIMIT:
        raise DecodeError(
            image.what,
            expected=f"{section.name} of at most {_TEXT_LIMIT} bytes",
            found=str(section.virtual_size),
            offset=section.raw_offset,
        )
    content = image.content(section).split(b"\0", 1)[0]
    try:
        decoded = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError(
            image.what,
            expected=f"UTF-8 in {section.name}",
            found=error.reason,
            offset=section.raw_offset + error.start,
        ) from None
    return "".join(char for char in decoded if char <= "\uffff")


def mangled(line: str, stub: int) -> str:
    """Return a command line as this stub passes and measures it (src/boot/util.c, `mangle_stub_cmdline`)."""
    if stub < 255:
        # Control characters become spaces; only trailing ones go.
        return "".join(" " if char <= "\x1f" else char for char in line).rstrip(" ")
    blank = "".join(" " if char <= " " or char == "\x7f" else char for char in line).strip(" ")
    # 255 and 256 cut a line of nothing but blanks behind them, and so leave it as it was.
    return line if not blank and stub < 257 else blank


def located(sections: Iterable[Section], stub: int, what: str) -> Mapping[str, Section]:
    """Return those of `sections` that this stub knows and finds not empty, in the order of measurement.

    DecodeError when one is there twice: releases disagree on which they take.
    """
    found: dict[str, Section] = {}
    for section in sections:
        # Older stubs compare no further than the name that they know: .dtbauto is .dtb to them.
        if stub < _PROFILES_SINCE and any(
            section.name != name and section.name.startswith(name)
            for name, since in SECTIONS.items()
            if since <= stub
        ):
            raise DecodeError(
                what,
                expected=f"sections that stub {stub} tells apart",
                found=section.name,
                offset=section.raw_offset,
            )
        if stub < SECTIONS.get(section.name, LAST_STUB + 1) or not section.virtual_size:
            continue
        if section.name in found and section.name not in HARDWARE_SECTIONS:
            raise DecodeError(
                what, expected=f"one section {section.name}", found="another", offset=section.raw_offset
            )
        found[section.name] = section
    return {name: found[name] for name in SECTIONS if name in found}


def _chosen(image: Image, stub: int, profile: int) -> Mapping[str, Section]:
    """Return the base sections, and over them those of the profile (src/boot/stub.c, `find_sections`)."""
    starts = [index for index, section in enumerate(image.sections) if section.name == _PROFILE]
    if stub < _PROFILES_SINCE:
        starts = []
    # pe_locate_profile_sections: the base ends at the first .profile, a profile at the next one.
    base = located(image.sections[: starts[0] if starts else None], stub, image.what)
    if not starts and profile == 0:
        return base
    if not 0 <= profile < min(len(starts), PROFILES):
        raise DecodeError(
            image.what,
            expected=f"a profile from 0 to {max(len(starts) - 1, 0)}",
            found=str(profile),
            hint="choose a profile that the UKI has",
        )
    end = starts[profile + 1] if profile + 1 < len(starts) else None
    own = located(image.sections[starts[profile] : end], stub, image.what)
    merged = {**base, **own}
    return {name: merged[name] for name in SECTIONS if name in merged}


def _release(image: Image) -> tuple[int, int]:
    section = image.section(".sdmagic")
    if section is None or section.virtual_size > _TEXT_LIMIT:
        raise DecodeError(WHAT, expected="systemd's stub (section .sdmagic)", found="none")
    content = image.content(section)
    magic = _MAGIC.match(content)
    if magic is None:
        raise DecodeError(
            WHAT,
            expected="systemd-stub in .sdmagic",
            found=shown(content[:64]),
            offset=section.raw_offset,
        )
    stub, point = int(magic[1]), int(magic[2] or 0)
    if stub < FIRST_STUB or (stub, point) < (FIRST_STUB, _FIRST_POINT_OF_252):
        raise UnpredictableError(
            f"UKI: expected a stub from {FIRST_STUB}.{_FIRST_POINT_OF_252} to {LAST_STUB}, "
            f"found {stub}.{point}, which measures otherwise",
            hint=f"build the UKI with the stub of systemd {LAST_STUB}",
        )
    if stub > LAST_STUB:
        raise UnpredictableError(
            f"UKI: expected a stub from {FIRST_STUB} to {LAST_STUB}, found {stub}, "
            "whose measurements nobody has checked",
            hint="compare src/boot/{stub,cpio,initrd,linux,pe}.c and src/fundamental/uki.c of that version "
            "with mantlet.predict, boot it, and raise LAST_STUB",
        )
    return stub, point


def _roothash(cmdline: str) -> bytes:
    words = [word.removeprefix("roothash=") for word in cmdline.split(" ") if word.startswith("roothash=")]
    if len(words) != 1 or re.fullmatch(r"[0-9a-f]{64}", words[0]) is None:
        return b""
    return bytes.fromhex(words[0])


def _os_release(content: str) -> dict[str, str]:
    """Read os-release(5) assignments; a value may stand in quotes."""
    pairs = (line.split("=", 1) for line in content.splitlines() if "=" in line and not line.startswith("#"))
    return {name: value.strip("\"'") for name, value in pairs}

# SPDX-License-Identifier: Apache-2.0
"""The kernel inside a UKI: whether firmware measures it, and whether it measures what it is given.

Follows Linux, Documentation/arch/x86/boot.rst (*The Real-Mode Kernel Header*) and
drivers/firmware/efi/libstub/efi-stub-helper.c, and systemd's src/boot/linux.c.
"""

import re

from mantlet.predict import pe
from mantlet.predict.boot import Boot
from mantlet.predict.pe import Image, Layout
from mantlet.predict.uki import Uki, text

# Since 258 the stub starts the kernel itself; before, it hands it to the firmware.
_STARTED_BY_STUB = 258
_SETUP = 0x200
_MAGIC = slice(0x202, 0x206)
_VERSION = slice(0x20E, 0x210)
_VERSION_LIMIT = 256
# The first release whose EFI stub measures both; distributions carry that back to older ones.
_FIRST_MEASURING = (6, 1)
# What it logs with the two measurements; the EFI stub is not compressed.
_LOGGED = (b"LOADED_IMAGE::LoadOptions\0", b"Linux initrd\0")


def version(uki: Uki, profile: int = 0) -> tuple[int, int] | None:
    """Return major and minor version: the kernel's own word, else .uname's; None when neither says."""
    sections = uki.sections(profile)
    kernel = _content(uki, profile)
    said = ""
    if bytes(kernel[_MAGIC]) == b"HdrS":
        start = _SETUP + int.from_bytes(kernel[_VERSION], "little")
        said = bytes(kernel[start : start + _VERSION_LIMIT]).split(b"\0", 1)[0].decode("ascii", "replace")
    elif ".uname" in sections:
        said = text(uki.image, sections[".uname"])
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", said)
    return (int(found[1]), int(found[2])) if found else None


def unmeasuring(uki: Uki, profile: int = 0) -> str:
    """Return why the kernel may not measure its command line and its initrd; empty when it does."""
    found = version(uki, profile)
    if found is not None and found >= _FIRST_MEASURING:
        return ""
    kernel = _content(uki, profile)
    if all(re.search(re.escape(text), kernel) for text in _LOGGED):
        return ""
    name = "of unknown version" if found is None else f"{found[0]}.{found[1]}"
    return (
        f"the kernel is {name} and does not hold the texts that kernels since "
        f"{_FIRST_MEASURING[0]}.{_FIRST_MEASURING[1]} log when they measure their command line and initrd"
    )


def loaded_by_firmware(boot: Boot) -> Image | None:
    """Return the kernel as an image, if it is LoadImage() that loads and measures it; else None.

    With Secure Boot on, the stub's override answers before the firmware's measuring handler is asked
    (`install_security_override`; firmware with EFI_SECURITY2_ARCH_PROTOCOL). DecodeError when the section is
    no image.
    """
    if boot.uki.stub >= _STARTED_BY_STUB or boot.secure_boot.enabled:
        return None
    kernel = pe.decode(_content(boot.uki, boot.profile), what="kernel in .linux", taken=Layout.FIRMWARE)
    # pe_kernel_info: before version 1.0 of its EFI stub a kernel is entered by the handover protocol.
    return kernel if kernel.major_image_version >= 1 else None


def _content(uki: Uki, profile: int) -> memoryview:
    """Return .linux as it lies in memory, without a copy where the file holds all of it."""
    section = uki.sections(profile)[".linux"]
    if section.virtual_size <= section.raw_size:
        return uki.image.data[section.raw_offset : section.raw_offset + section.virtual_size]
    return memoryview(uki.image.content(section))

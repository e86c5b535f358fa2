# SPDX-License-Identifier: Apache-2.0
"""Register 4, boot-loader-code: the firmware measures what it starts.

Follows TCG PFP 1.06, *PCR[4]*, and EDK2's Tcg2Dxe, for a boot that succeeds at the first attempt: firmware
that tries another boot option first logs *Returning from EFI Application…* and starts over.
"""

from collections.abc import Iterator

from mantlet.predict import addons, kernel
from mantlet.predict.authenticode import authenticode_digests
from mantlet.predict.boot import Boot, RegisterPrediction
from mantlet.predict.pe import Image
from mantlet_measure.pcr import BANKS, Bank, Event, Register, measured

# EDK2, MdePkg/Include/IndustryStandard/UefiTcgPlatform.h: EFI_CALLING_EFI_APPLICATION, without its NUL.
_CALLING = "Calling EFI Application from Boot Option"
_REGISTER = Register.BOOT_LOADER_CODE
SEPARATOR = bytes(4)


def events(boot: Boot, banks: tuple[Bank, ...] = BANKS) -> RegisterPrediction:
    """Return what the firmware measures: that it starts a boot option, then each image for LoadImage()."""
    calling = measured(
        _REGISTER, _CALLING.encode("ascii"), type="EV_EFI_ACTION", description=_CALLING, banks=banks
    )
    # PFP 1.06, *EV_SEPARATOR*: four zero bytes, when the platform firmware hands over.
    separator = measured(
        _REGISTER, SEPARATOR, type="EV_SEPARATOR", description="end of pre-OS environment", banks=banks
    )
    images = (
        Event(
            register=_REGISTER,
            digests=authenticode_digests(image, banks),
            type="EV_EFI_BOOT_SERVICES_APPLICATION",
            description=f"Authenticode hash of the {what}",
        )
        for image, what in loaded_images(boot)
    )
    return RegisterPrediction(events=(calling, separator, *images))


def loaded_images(boot: Boot) -> Iterator[tuple[Image, str]]:
    """Yield the images in the order in which LoadImage() sees them, each with a name in words."""
    if boot.loader is not None:
        yield boot.loader.image, "boot loader"
    yield boot.uki.image, "UKI"
    for addon in addons.loaded(boot):
        yield addon.image, f"add-on {addon.name}"
    if (image := kernel.loaded_by_firmware(boot)) is not None:
        yield image, "kernel in .linux"

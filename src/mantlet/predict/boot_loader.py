# SPDX-License-Identifier: Apache-2.0
"""Register 4, boot-loader-code: the firmware measures what it starts.

Follows TCG PFP 1.06, *PCR[4]*, and EDK2's Tcg2Dxe for an image that the firmware's boot option starts
directly. Stubs from 258 on start the inner kernel themselves, and nothing more lands here.
"""

from mantlet.predict.authenticode import hashed
from mantlet.predict.parts import measured_parts
from mantlet.predict.pe import Image
from mantlet_measure.pcr import Event, Register, measured

# EDK2, MdePkg/Include/IndustryStandard/UefiTcgPlatform.h: EFI_CALLING_EFI_APPLICATION, without its NUL.
_CALLING = "Calling EFI Application from Boot Option"
SEPARATOR = bytes(4)


def events(image: Image) -> tuple[Event, ...]:
    """Return what the firmware measures, up to the start of the image."""
    register = Register.BOOT_LOADER_CODE
    return (
        measured(register, _CALLING.encode("ascii"), claimed_type="EV_EFI_ACTION", description=_CALLING),
        # PFP 1.06, *EV_SEPARATOR*: four zero bytes, when the platform firmware hands over.
        measured(register, SEPARATOR, claimed_type="EV_SEPARATOR", description="end of pre-OS environment"),
        measured_parts(
            register,
            hashed(image),
            claimed_type="EV_EFI_BOOT_SERVICES_APPLICATION",
            description="Authenticode hash of the UKI",
        ),
    )

# SPDX-License-Identifier: Apache-2.0
"""From artefacts to reference values: what a boot of this image will measure, before it ever boots. Pure.

One module a register group, each following its specification line by line; `predict` puts them together. It
reads no running machine and no log. Registers 0-3, 5, 6 and 10 depend on the machine and are not predicted.
"""

import hashlib
from collections.abc import Iterable, Mapping

from mantlet.predict import boot_loader, initrd, kernel_boot, user_space
from mantlet.predict import secure_boot as secure_boot_policy
from mantlet.predict import uki as unified
from mantlet.predict.variables import SecureBootKeys
from mantlet.release.manifest import (
    ARCHITECTURE,
    Expected,
    ImageIdentity,
    Manifest,
    ManifestEvent,
    Platform,
)
from mantlet_measure.pcr import BANKS, ENFORCED, Bank, Event, Register, replay

QEMU_OVMF = "qemu-ovmf"
PLATFORMS: tuple[str, ...] = (QEMU_OVMF,)

__all__ = ["PLATFORMS", "QEMU_OVMF", "SecureBootKeys", "predict", "predict_events"]


def predict(
    *,
    uki: bytes,
    secure_boot: SecureBootKeys,
    platform: str = QEMU_OVMF,
    os_separator: bool = True,
    phases: tuple[str, ...] = user_space.PHASES,
) -> Manifest:
    """Return the manifest of the image that this signed UKI starts.

    os_separator: whether the initrd carries systemd-pcrosseparator.service (systemd >= 261). phases: the
    words of the systemd-pcrphase units that ran before the agent reads register 11. DecodeError,
    UnpredictableError or UnauthorisedError when the UKI is not one, does not settle its measurements, or
    would not start.
    """
    if platform not in PLATFORMS:
        raise ValueError(f"no prediction for platform {platform}")
    image = unified.decode(uki)
    events = predict_events(image, secure_boot, os_separator=os_separator, phases=phases)
    return Manifest(
        image=ImageIdentity(
            id=image.image_id,
            version=image.image_version,
            architecture=ARCHITECTURE,
            uki_sha256=hashlib.sha256(uki).digest(),
            roothash=image.roothash,
            cmdline=image.cmdline,
            stub=str(image.stub),
        ),
        platforms={platform: Platform(enforced=ENFORCED, banks=_banks(events))},
    )


def predict_events(
    image: unified.Uki, keys: SecureBootKeys, *, os_separator: bool, phases: tuple[str, ...]
) -> Mapping[int, tuple[Event, ...]]:
    """Return the events of every enforced register, in the order in which they extend it."""
    events: dict[int, tuple[Event, ...]] = {
        Register.BOOT_LOADER_CODE: boot_loader.events(image.image),
        Register.SECURE_BOOT_POLICY: secure_boot_policy.events(image.image, keys),
        Register.KERNEL_INITRD: initrd.events(image),
        Register.KERNEL_BOOT: kernel_boot.events(image, phases),
        # Without load options, add-ons, credentials or extensions the stub leaves the first two alone;
        # nothing measures into the third without shim; the fourth is the agent's, which finds it at zero.
        Register.KERNEL_CONFIG: (),
        Register.SYSEXTS: (),
        Register.SHIM_POLICY: (),
        Register.SYSTEM_IDENTITY: (),
    }
    if os_separator:
        events = {register: (*own, *user_space.os_separator(register)) for register, own in events.items()}
    return {int(register): own for register, own in events.items()}


def _banks(events: Mapping[int, tuple[Event, ...]]) -> Mapping[Bank, Mapping[int, Expected]]:
    return {bank: {register: _expected(bank, own) for register, own in events.items()} for bank in BANKS}


def _expected(bank: Bank, events: Iterable[Event]) -> Expected:
    listed = tuple(
        ManifestEvent(digest=event.digests[bank], type=event.claimed_type, description=event.description)
        for event in events
    )
    return Expected(value=replay(bank, (event.digest for event in listed)), events=listed)

# SPDX-License-Identifier: Apache-2.0
"""What a boot measures, in small: its events, the manifest that expects them, and the logs that tell of
them."""

import json

from mantlet.release import manifest as manifests
from mantlet.release.manifest import Expected, ImageIdentity, Manifest, ManifestEvent, Platform
from mantlet_measure.event_types import EventType
from mantlet_measure.pcr import BANKS, ENFORCED, Bank, Event, measured, replay

PLATFORM = "qemu-ovmf"


def firmware_events() -> tuple[Event, ...]:
    """What firmware and stub measure, in small."""
    separators = [measured(register, bytes(4), type="EV_SEPARATOR", description="") for register in range(8)]
    return (
        measured(0, b"firmware", type="EV_EFI_PLATFORM_FIRMWARE_BLOB", description=""),
        measured(7, b"\x01", type="EV_EFI_VARIABLE_DRIVER_CONFIG", description=""),
        measured(7, b"PK", type="EV_EFI_VARIABLE_DRIVER_CONFIG", description=""),
        measured(4, b"Calling EFI Application", type="EV_EFI_ACTION", description="Calling EFI Application"),
        *separators,
        measured(7, b"db", type="EV_EFI_VARIABLE_AUTHORITY", description=""),
        measured(4, b"the UKI", type="EV_EFI_BOOT_SERVICES_APPLICATION", description=""),
        measured(11, b".linux\0", type="EV_IPL", description=".linux"),
        measured(11, b"the kernel", type="EV_IPL", description=".linux"),
        measured(9, b"c\0", type="EV_EVENT_TAG", description=""),
        measured(9, b"the initrd", type="EV_EVENT_TAG", description=""),
    )


def system_events() -> tuple[Event, ...]:
    """What systemd measures, in small."""
    phases = (b"enter-initrd", b"leave-initrd")
    return (
        *(
            measured(register, b"os-separator", type="os-separator", description="os-separator")
            for register in (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14)
        ),
        *(measured(11, phase, type="phase", description=phase.decode()) for phase in phases),
    )


def manifest_of(events: tuple[Event, ...], *, enforced: tuple[int, ...] = ENFORCED) -> bytes:
    """The reference values of a machine that measures exactly these events."""
    banks: dict[Bank, dict[int, Expected]] = {bank: {} for bank in BANKS}
    for bank in BANKS:
        for register in enforced:
            made = [event for event in events if event.register == register]
            banks[bank][register] = Expected(
                value=replay(bank, (event.digests[bank] for event in made)),
                events=tuple(
                    ManifestEvent(digest=event.digests[bank], type=event.type, description=event.description)
                    for event in made
                ),
            )
    image = ImageIdentity(
        id="mantlet",
        version="1.2.3",
        architecture="x86-64",
        uki_sha256=bytes(32),
        roothash=bytes(32),
        cmdline="roothash=00",
        stub="262",
        epoch=1,
    )
    return manifests.encode(
        Manifest(image=image, platforms={PLATFORM: Platform(enforced=enforced, banks=banks)})
    )


def encode_firmware_log(events: tuple[Event, ...]) -> bytes:
    """The kernel's binary_bios_measurements (PFP 1.06, *Event Logging*)."""
    sizes = b"".join(_le(bank.tpm_alg, 2) + _le(bank.size, 2) for bank in BANKS)
    spec_id = b"Spec ID Event03\0" + bytes(4) + b"\x00\x02\x00\x02" + _le(len(BANKS), 4) + sizes + b"\0"
    log = _le(0, 4) + _le(3, 4) + bytes(20) + _le(len(spec_id), 4) + spec_id
    for event in events:
        digests = b"".join(_le(bank.tpm_alg, 2) + event.digests[bank] for bank in BANKS)
        text = event.description.encode("ascii")
        log += _le(event.register, 4) + _le(EventType[event.type], 4) + _le(len(BANKS), 4) + digests
        log += _le(len(text), 4) + text
    return log


def encode_system_log(events: tuple[Event, ...]) -> bytes:
    """Write systemd's tpm2-measure.log: RFC 7464, CEL records."""
    records = [
        {
            "pcr": event.register,
            "digests": [{"hashAlg": bank.value, "digest": event.digests[bank].hex()} for bank in BANKS],
            "content_type": "systemd",
            "content": {
                "string": event.description,
                "bootId": "0" * 32,
                "timestamp": 1,
                "eventType": event.type,
            },
        }
        for event in events
    ]
    return b"".join(b"\x1e" + json.dumps(record).encode() + b"\n" for record in records)


def _le(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")

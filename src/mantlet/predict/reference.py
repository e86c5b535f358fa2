# SPDX-License-Identifier: Apache-2.0
"""From predicted registers to reference values: the manifest of an image on one platform.

Owns which registers are enforced there (those that the platform enforces and that are computed), and the
identity of the image. It predicts nothing.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

from mantlet.predict.boot import Basis, Boot, RegisterPrediction
from mantlet.predict.platform import Machine
from mantlet.predict.uki import Uki
from mantlet.release.manifest import ARCHITECTURE
from mantlet.release.reference_values import Expected, ImageIdentity, Manifest, ManifestEvent, Platform
from mantlet_measure.deployment import ID_PATTERN, VERSION_PATTERN
from mantlet_measure.pcr import BANKS, Bank, Event, replay

_DESCRIPTION = 256
_REASON = 400


def manifest(
    boot: Boot,
    registers: Mapping[int, RegisterPrediction],
    machine: Machine,
    *,
    epoch: int,
    banks: tuple[Bank, ...] = BANKS,
) -> Manifest:
    """Return the reference values that `predict_boot` gives on this kind of machine.

    epoch: the image's own, which no artefact tells; 0 when it has none.
    """
    known = {
        register: prediction
        for register, prediction in registers.items()
        if prediction.basis is not Basis.UNPREDICTABLE
    }
    recorded = tuple(register for register, prediction in known.items() if prediction.basis is Basis.RECORDED)
    platform = Platform(
        enforced=tuple(
            register for register in machine.enforced if register in known and register not in recorded
        ),
        banks={
            bank: {register: expected(bank, prediction.events) for register, prediction in known.items()}
            for bank in banks
        },
        recorded=recorded,
        firmware_sha256=boot.firmware.firmware_sha256 if recorded and boot.firmware else b"",
        unpredictable={
            register: _ascii(prediction.reason)[:_REASON]
            for register, prediction in registers.items()
            if prediction.basis is Basis.UNPREDICTABLE
        },
        tested=machine.tested,
    )
    return Manifest(image=_identity(boot.uki, epoch=epoch), platforms={machine.name: platform})


def expected(bank: Bank, events: Iterable[Event]) -> Expected:
    """Return the value of a register in one bank, with the events that make it."""
    listed = tuple(
        ManifestEvent(
            digest=event.digests[bank],
            type=event.type.replace(" ", "-"),
            description=_ascii(event.description)[:_DESCRIPTION],
        )
        for event in events
    )
    return Expected(value=replay(bank, (event.digest for event in listed)), events=listed)


def _identity(uki: Uki, *, epoch: int) -> ImageIdentity:
    """Return what names the image; a foreign one may go by names that are none here."""
    return ImageIdentity(
        id=uki.image_id if re.fullmatch(ID_PATTERN, uki.image_id) else "",
        version=uki.image_version if re.fullmatch(VERSION_PATTERN, uki.image_version) else "",
        architecture=ARCHITECTURE,
        uki_sha256=hashlib.sha256(uki.image.data).digest(),
        roothash=uki.roothash,
        cmdline=_ascii(uki.cmdline),
        stub=str(uki.stub),
        epoch=epoch,
    )


def _ascii(text: str) -> str:
    """Return `text` in printable ASCII, the rest escaped."""
    escaped = text.encode("ascii", "backslashreplace").decode("ascii")
    return "".join(char if " " <= char <= "~" else f"\\x{ord(char):02x}" for char in escaped)

# SPDX-License-Identifier: Apache-2.0
"""What is done to the documents that release a key: approvals taken away, of another, or of anything at all.

Owns the slots of a deployment volume as an attacker, or an owner without care, would write them.
"""

from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from mantlet.edge import appraisal, software_tpm
from mantlet.edge.attack import damage
from mantlet.edge.attack.stand import MODEL, Stand
from mantlet.edge.keys import KeyFolder
from mantlet.edge.tools import ToolsTree
from mantlet.weights.approve import approve, raise_epoch
from mantlet_measure import approvals, epoch, sealed, volume
from mantlet_measure.approvals import Approvals, Image
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import BANKS, ENFORCED, Bank
from mantlet_measure.sealed import SealedKey

_IMAGE = Image(id="mantlet", version="1")
_EPOCH = 1


def sealed_key(deployment: Path, tools: ToolsTree) -> SealedKey:
    """The sealed key on a volume."""
    return sealed.decode(damage.read_slot(deployment, volume.SEALED_KEY_OFFSET, tools))


def handover(deployment: Path, tools: ToolsTree) -> Handover:
    """The sealed key on a volume with its approvals."""
    listed = approvals.decode(damage.read_slot(deployment, volume.APPROVALS_OFFSET, tools))
    return Handover(sealed_key=sealed_key(deployment, tools), approvals=listed)


def remove_approvals(deployment: Path, tools: ToolsTree) -> None:
    """Empty the slot of the approvals."""
    damage.write_slot(deployment, volume.APPROVALS_OFFSET, None, tools)


def foreign_approvals(deployment: Path, tools: ToolsTree) -> None:
    """Put approvals of a policy key of one's own into the slot."""
    registers = {bank: dict.fromkeys(ENFORCED, bytes(bank.size)) for bank in BANKS}
    _write(deployment, _approved(registers, ec.generate_private_key(ec.SECP256R1())), tools)


def approve_anything(
    deployment: Path, registers: Mapping[Bank, Mapping[int, bytes]], keys: KeyFolder, tools: ToolsTree
) -> Approvals:
    """Have the policy key sign these registers, whatever they are, and put that into the slot; return it."""
    listed = _approved(registers, appraisal.read_policy_key(keys.policy()))
    _write(deployment, listed, tools)
    return listed


def next_epoch(keys: KeyFolder) -> bytes:
    """The policy key's statement that withdraws what the machine runs."""
    return epoch.encode(raise_epoch(_EPOCH + 1, policy_key=appraisal.read_policy_key(keys.policy())))


def new_tpm(state: Path, stand: Stand, *, banks: str) -> None:
    """Make another TPM in the place of one."""
    software_tpm.make(state, authority=stand.authority, tools=stand.tools, banks=banks)


def _approved(
    registers: Mapping[Bank, Mapping[int, bytes]], policy_key: ec.EllipticCurvePrivateKey
) -> Approvals:
    return approve(registers, model_id=MODEL, epoch=_EPOCH, image=_IMAGE, policy_key=policy_key)


def _write(deployment: Path, listed: Approvals, tools: ToolsTree) -> None:
    damage.write_slot(deployment, volume.APPROVALS_OFFSET, approvals.encode(listed), tools)

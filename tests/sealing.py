# SPDX-License-Identifier: Apache-2.0
"""The owner of a model, and of the policy key: seals, approves and raises epochs for a TPM at hand."""

import secrets
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec

from mantlet.weights.approve import approve, policy_key_public, raise_epoch
from mantlet.weights.seal import SealedModel, seal
from mantlet_measure.approvals import Approvals, Image
from mantlet_measure.epoch import EpochStatement
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import BANKS, Bank, extend
from mantlet_measure.sealed import SealedKey
from mantlet_measure.tpm_structs import name
from mantlet_measure.words import agent_words

MODEL = SealedModel(id="tiny", root_hash=bytes(range(32)))
IMAGE = Image(id="mantlet", version="1")
WORDS = agent_words(
    deployment_sha256=bytes(32), runtime_sha256=bytes(32), root_hash=MODEL.root_hash, capped=False
)

Registers = Mapping[Bank, Mapping[int, bytes]]


class Owner:
    """A policy key and a data key."""

    def __init__(self, model: SealedModel = MODEL) -> None:
        self.model = model
        self.policy_key = ec.generate_private_key(ec.SECP256R1())
        self.data_key = secrets.token_bytes(32)

    @property
    def name(self) -> bytes:
        """The Name of the policy key, by which a deployment document names it."""
        return name(policy_key_public(self.policy_key.public_key()))

    def seal(self, srk_public: bytes) -> SealedKey:
        return seal(
            self.data_key,
            srk_public=srk_public,
            model=self.model,
            policy_key=self.policy_key.public_key(),
            entropy=secrets.token_bytes,
        )

    def approve(self, expected: Registers, *, epoch: int = 1) -> Approvals:
        return approve(expected, model_id=self.model.id, epoch=epoch, image=IMAGE, policy_key=self.policy_key)

    def provide(self, srk_public: bytes, expected: Registers, *, epoch: int = 1) -> Handover:
        return Handover(sealed_key=self.seal(srk_public), approvals=self.approve(expected, epoch=epoch))

    def raise_epoch(self, epoch: int) -> EpochStatement:
        return raise_epoch(epoch, policy_key=self.policy_key)


def with_words(registers: Registers) -> Registers:
    """The registers as they will be when the agent has extended its words before the cap."""
    expected = {bank: dict(values) for bank, values in registers.items()}
    for bank in BANKS:
        for _, word in WORDS:
            expected[bank][15] = extend(bank, expected[bank][15], bank.digest(word.encode()))
    return expected

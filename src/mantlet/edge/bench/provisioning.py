# SPDX-License-Identifier: Apache-2.0
"""A machine's first boot: its key is sealed to it, and it is verified while it serves.

Owns what the owner of a model and a customer do to a machine, once, so that what is measured afterwards is a
machine as people have it. What the machine is made of is decided by the caller.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from mantlet.client.attest import Question, activate, attest, fetch_evidence
from mantlet.client.handover import hand_over
from mantlet.edge import appraisal, deployment_disk, files, project
from mantlet.edge.https import Address, AttestedConnection
from mantlet.edge.keys import KeyFolder
from mantlet.edge.machine import Line, Machine
from mantlet.edge.pack_files import Pack
from mantlet.edge.tools import ToolsTree
from mantlet.release.deployment import new_deployment, sign
from mantlet.tpm.protected_storage import Entropy
from mantlet.verifier.credential import Credential
from mantlet.verifier.quote import Session
from mantlet.verifier.verify import Request, verify
from mantlet.weights.approve import approve
from mantlet.weights.seal import SealedModel, seal
from mantlet_measure import evidence
from mantlet_measure.approvals import Image
from mantlet_measure.evidence import State
from mantlet_measure.handover import Handover

SERVING = Line("serve", "ok")
BOOT_SECONDS = 600.0
AWAITING_KEY = Line("unseal", "awaiting-key")
_LIMIT = 1 << 20
_NETWORK_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A verification as it happened: what the machine said, and all that the verifier brought to it.

    entropy: the bytes that the verifier drew, in order; secret: what the machine answered to the credential
    that was made with them.
    """

    data: bytes
    session: Session
    question: Question
    entropy: tuple[bytes, ...]
    secret: bytes

    def verify(self) -> None:
        """Go through the verification again, without a network. VerificationError, as in the first place."""
        request = Request(
            session=self.session,
            manifest=self.question.manifest,
            trust=self.question.trust,
            expected_state=self.question.expected_state,
            entropy=_replayed(self.entropy),
            now=self.question.now,
        )
        verify(self.data, request, activate=lambda _credential: self.secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioning:
    """What a machine is provisioned with: the image's directory, the pack, the keys of this checkout."""

    build: Path
    pack: Pack
    keys: KeyFolder

    def write_deployment(self, volume: Path, *, tools: ToolsTree) -> None:
        """Deploy the pack's model on the image: write the machine's deployment volume, anew."""
        manifest = files.read(self.build / "measurements.json", limit=_LIMIT, what="manifest")
        model = self.pack.descriptor.model
        policy_key = appraisal.read_policy_key_name(self.keys.policy())
        document = new_deployment(manifest, model, id=model.id, runtime="llama-server", policy_key=policy_key)
        deployment_disk.write(volume, sign(document, [self.keys.deployment()]), tools=tools)

    def run(self, machine: Machine) -> Exchange:
        """Boot a machine that has no key, give it one, verify it while it serves, and power it off."""
        with machine:
            machine.wait_for(AWAITING_KEY, seconds=BOOT_SECONDS)
            self.seal(machine)
            machine.wait_for(SERVING, seconds=BOOT_SECONDS)
            return self._ask(machine)

    def _question(self, machine: Machine, state: State) -> Question:
        sources = appraisal.Files(
            manifest=self.build / "measurements.json",
            policy=project.root() / "policies" / "appraisal" / "test.yaml",
            ek_roots=machine.authority.roots,
            deployment_key=self.keys.folder / "deployment.pem",
        )
        return appraisal.question(sources, platform=None, expected_state=state)

    def seal(self, machine: Machine) -> None:
        """Verify a machine that awaits its key, and hand the key over."""
        model = self.pack.descriptor.model
        with connect(machine) as connection:
            result = attest(connection, self._question(machine, State.AWAITING_KEY))
            policy_key = appraisal.read_policy_key(self.keys.policy())
            sealed_key = seal(
                self.pack.key_file.read_bytes(),
                srk_public=result.storage_key_public,
                model=SealedModel(id=model.id, root_hash=model.root_hash),
                policy_key=policy_key.public_key(),
                entropy=secrets.token_bytes,
            )
            approvals = approve(
                result.registers,
                model_id=model.id,
                epoch=model.epoch,
                image=Image(id=result.image_id, version=result.image_version),
                policy_key=policy_key,
            )
            hand_over(connection, Handover(sealed_key=sealed_key, approvals=approvals))

    def _ask(self, machine: Machine) -> Exchange:
        question = self._question(machine, State.SERVING)
        drawn: list[bytes] = []
        secret = b""

        def draw(size: int) -> bytes:
            drawn.append(secrets.token_bytes(size))
            return drawn[-1]

        with connect(machine) as connection:
            nonce = secrets.token_bytes(evidence.NONCE_SIZE)
            session = Session(nonce=nonce, tls_spki_sha256=connection.tls_spki_sha256)
            data = fetch_evidence(connection, nonce)

            def ask(credential: Credential) -> bytes:
                nonlocal secret
                secret = activate(connection, credential)
                return secret

            request = Request(
                session=session,
                manifest=question.manifest,
                trust=question.trust,
                expected_state=question.expected_state,
                entropy=draw,
                now=question.now,
            )
            verify(data, request, activate=ask)
        return Exchange(data=data, session=session, question=question, entropy=tuple(drawn), secret=secret)


def connect(machine: Machine) -> AttestedConnection:
    """Connect to the front of a machine of this host."""
    return AttestedConnection(Address(host="127.0.0.1", port=machine.port), timeout=_NETWORK_SECONDS)


def _replayed(parts: tuple[bytes, ...]) -> Entropy:
    """Entropy that gives out what was drawn before."""
    following = iter(parts)
    return lambda _size: next(following)

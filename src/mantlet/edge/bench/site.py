# SPDX-License-Identifier: Apache-2.0
"""What the parts of a run share, each made when it is first asked for: image, pack, provisioned machine.

Everything lies in `build/.bench`, which a run leaves for the next one to overwrite.
"""

import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mantlet.client.attest import Question, activate, attest, fetch_evidence
from mantlet.client.handover import hand_over
from mantlet.edge import (
    accelerator,
    appraisal,
    demo_model,
    deployment_disk,
    files,
    image,
    output,
    pack,
    project,
)
from mantlet.edge.accelerator import Accelerator
from mantlet.edge.https import Address, AttestedConnection
from mantlet.edge.keys import KeyFolder
from mantlet.edge.machine import Hardware, Line, Machine
from mantlet.edge.pack_files import Pack
from mantlet.edge.pack_plan import Label
from mantlet.edge.software_tpm import Authority
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

MODEL_ID = "bench"
LABEL = Label(id=MODEL_ID, version="1", epoch=1)
SERVING = Line("serve", "ok")
BOOT_SECONDS = 600.0
_AWAITING_KEY = Line("unseal", "awaiting-key")
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


class Site:
    """One run's materials."""

    def __init__(self, *, model: Path | None, rounds: int) -> None:
        """Take the model (SmolLM2 when there is none) and how often each thing is measured."""
        self.rounds = rounds
        self.folder = project.build_folder() / ".bench"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.keys = KeyFolder(project.key_folder())
        self._model = model

    @cached_property
    def tools(self) -> ToolsTree:
        """The tools tree."""
        return ToolsTree.current()

    @cached_property
    def accelerator(self) -> Accelerator:
        """How guests run here."""
        return accelerator.probe(self.tools)

    @cached_property
    def model(self) -> Path:
        """The model that is packed and served."""
        return self._model or demo_model.fetch()

    @cached_property
    def build(self) -> Path:
        """The image: `build/latest`, built when it is missing."""
        directory = image.latest()
        if not directory.exists():
            image.build(keys=self.keys, tools=self.tools)
        return directory.resolve()

    @cached_property
    def pack(self) -> Pack:
        """The model's pack."""
        return pack.write(
            self.model,
            self.folder / "pack",
            label=LABEL,
            file=None,
            key_file=None,
            owner=self.keys.owner(),
            tools=self.tools,
        )

    @cached_property
    def machine(self) -> Machine:
        """The machine that serves the model, off; its key is sealed to it."""
        _ = self.exchange
        return self._machine

    @cached_property
    def exchange(self) -> Exchange:
        """A verification of that machine while it served, taken in its first boot."""
        output.step("Provisioning a machine…")
        with self._machine as machine:
            machine.wait_for(_AWAITING_KEY, seconds=BOOT_SECONDS)
            self._seal()
            machine.wait_for(SERVING, seconds=BOOT_SECONDS)
            return self._ask()

    def power_on(self, machine: Machine, wanted: Line) -> float:
        """Boot a machine and power it off; return the seconds from power-on to the wanted line."""
        with machine:
            machine.wait_for(wanted, seconds=BOOT_SECONDS)
            return machine.elapsed

    def new_machine(self, name: str, hardware: Hardware) -> Machine:
        """A machine that was never on, whose state is in a folder of this name."""
        folder = files.new_directory(self.folder / name)
        authority = Authority(folder=project.key_folder() / "swtpm-ca")
        return Machine(
            folder=folder,
            hardware=hardware,
            tools=self.tools,
            authority=authority,
            accelerator=self.accelerator,
        )

    @cached_property
    def _machine(self) -> Machine:
        manifest = files.read(self.build / "measurements.json", limit=_LIMIT, what="manifest")
        model = self.pack.descriptor.model
        document = new_deployment(manifest, model, id=MODEL_ID, runtime="llama-server")
        volume = self.folder / "deployment.raw"
        deployment_disk.write(volume, sign(document, [self.keys.deployment()]), tools=self.tools)
        hardware = Hardware(
            disk=self.build / "disk.raw",
            variables=self.build / "OVMF_VARS.fd",
            deployment=volume,
            weights=self.pack.image,
        )
        return self.new_machine("serving", hardware)

    def _question(self, state: State) -> Question:
        sources = appraisal.Files(
            manifest=self.build / "measurements.json",
            policy=project.root() / "policies" / "appraisal" / "test.yaml",
            ek_roots=self._machine.authority.roots,
            deployment_key=self.keys.folder / "deployment.pem",
        )
        return appraisal.question(sources, platform=None, expected_state=state)

    def _connect(self) -> AttestedConnection:
        where = Address(host="127.0.0.1", port=self._machine.port)
        return AttestedConnection(where, timeout=_NETWORK_SECONDS)

    def _seal(self) -> None:
        model = self.pack.descriptor.model
        with self._connect() as connection:
            result = attest(connection, self._question(State.AWAITING_KEY))
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

    def _ask(self) -> Exchange:
        question = self._question(State.SERVING)
        drawn: list[bytes] = []
        secret = b""

        def draw(size: int) -> bytes:
            drawn.append(secrets.token_bytes(size))
            return drawn[-1]

        with self._connect() as connection:
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


def _replayed(parts: tuple[bytes, ...]) -> Entropy:
    """Entropy that gives out what was drawn before."""
    following = iter(parts)
    return lambda _size: next(following)

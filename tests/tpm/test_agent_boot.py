# SPDX-License-Identifier: Apache-2.0
"""The line of stages on a software TPM, from inspect to cap, with disks and kernel logs in a folder.

There is no block device where these tests run, so slots are read from plain files; the boots in virtual
machines read real ones, and do what comes after the cap.
"""

import dataclasses
import functools
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tpm2_pytss import ESYS_TR, TSS2_Exception

from mantlet.weights.seal import SealedModel
from mantlet_agent import block, boot, inbox, inspection, serve, stages
from mantlet_agent.block import Partition
from mantlet_agent.places import FRONT_UID, Places
from mantlet_agent.record import Recorder
from mantlet_agent.stages import Code, Stage, StageError, State
from mantlet_agent.tpm import Tpm
from mantlet_measure import approvals, dsse, epoch, handover, sealed, strictjson, volume
from mantlet_measure import deployment as documents
from mantlet_measure.cel import decode_agent_log
from mantlet_measure.deployment import Deployment, Model
from mantlet_measure.epoch_counter import EpochCounter
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import BANKS, ENFORCED, Bank, replay
from mantlet_measure.words import agent_events
from tests import sockets
from tests.sealing import Owner

MODEL = Model(
    id="tiny",
    version="1",
    epoch=1,
    file="model.gguf",
    root_hash=bytes(range(32)),
    salt=bytes(32),
    data_blocks=2,
    hash_offset=8192,
    size=12288,
)
DOCUMENT = Deployment(
    id="demo",
    image_id="mantlet",
    image_version="1",
    manifest_sha256=b"m" * 32,
    model=MODEL,
    policy_key=b"\x00\x0b" + b"p" * 32,
    runtime="llama-server",
)
RUNTIME = strictjson.encode(
    {"name": "llama-server", "socket": "/run/x/llama.sock", "health": "/health", "start_seconds": 1}
)
PHASE = {bank: bank.digest(b"enter-initrd").hex() for bank in BANKS}


class Machine:
    """A folder that looks like a machine, and the keys of whoever deploys to it."""

    def __init__(self, root: Path) -> None:
        self.places = Places(root=root)
        self.signer = Ed25519PrivateKey.generate()
        self.owner = Owner()
        self.document = dataclasses.replace(DOCUMENT, policy_key=self.owner.name)
        self.started: list[str] = []
        public = self.signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        record = {
            "pcr": 11,
            "digests": [{"hashAlg": bank.value, "digest": PHASE[bank]} for bank in BANKS],
            "content_type": "systemd",
            "content": {"string": "enter-initrd", "bootId": "0" * 32, "timestamp": 1, "eventType": "phase"},
        }
        for path, content in (
            (self.places.trust, public),
            (self.places.runtime, RUNTIME),
            (self.places.os_release, b'IMAGE_ID=mantlet\nIMAGE_VERSION="1"\n'),
            (self.places.firmware_log, b"firmware"),
            (self.places.modules_disabled, b"1\n"),
            (self.places.tcp_sockets, sockets.told(user=FRONT_UID)),
            (self.places.system_log, b"\x1e" + strictjson.encode(record) + b"\n"),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for folder in (self.places.public, self.places.private, self.places.inbox.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self.places.devices.mkdir()
        (self.places.devices / "ttyS0").write_bytes(b"")
        self.disk("vdb1", volume.PARTITION, bytes(1 << 20))
        self.disk("vdc1", "mantlet-weights", bytes(MODEL.size))
        self.deploy(self.document)

    def disk(self, name: str, partition: str, content: bytes) -> None:
        node, entry = self.places.devices / name, self.places.block / name
        node.write_bytes(content)
        entry.mkdir(parents=True, exist_ok=True)
        (entry / "uevent").write_text(
            f"MAJOR=254\nMINOR=17\nDEVNAME={name}\nDEVTYPE=partition\nPARTNAME={partition}\n"
        )
        (entry / "size").write_text(f"{len(content) // 512}\n")

    def slot(self, offset: int, payload: bytes) -> None:
        with (self.places.devices / "vdb1").open("r+b") as disk:
            disk.seek(offset)
            disk.write(volume.encode_slot(payload))

    def deploy(self, document: Deployment, *, signer: Ed25519PrivateKey | None = None) -> None:
        payload = documents.encode(document)
        envelope = dsse.sign(documents.PAYLOAD_TYPE, payload, [signer or self.signer])
        self.slot(volume.DOCUMENT_OFFSET, dsse.encode(envelope))

    def provide(self, tpm: Tpm, model: Model = MODEL) -> Handover:
        """Seal and approve for the state that this machine will be in, as its owner does who is not on it."""
        expected = {bank: dict(values) for bank, values in tpm.read(ENFORCED).items()}
        for bank in BANKS:
            expected[bank][15] = replay(bank, [event.digests[bank] for event in self.words()])
        self.owner.model = SealedModel(id=model.id, root_hash=model.root_hash)
        return self.owner.provide(tpm.storage_root()[1].marshal(), expected)

    def provision(self, given: Handover) -> None:
        """Put both documents on the volume."""
        self.slot(volume.SEALED_KEY_OFFSET, sealed.encode(given.sealed_key))
        self.slot(volume.APPROVALS_OFFSET, approvals.encode(given.approvals))

    def words(self, *, capped: bool = False) -> tuple:
        return agent_events(
            deployment_sha256=hashlib.sha256(documents.encode(self.document)).digest(),
            runtime_sha256=hashlib.sha256(RUNTIME).digest(),
            root_hash=MODEL.root_hash,
            capped=capped,
        )

    def lines(self) -> list[str]:
        return (self.places.devices / "ttyS0").read_bytes().decode("ascii").split("\r\n")[:-1]


@contextmanager
def _plain_file(partition: Partition, flags: int) -> Iterator[int]:
    descriptor = os.open(partition.node, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def machine(tmp_path: Path, tpm: Tpm, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(block, "_opened", _plain_file)
    monkeypatch.setattr("mantlet_agent.configuration._DISK_SECONDS", 0.0)
    made = Machine(tmp_path)
    # systemd is not here: what is started is noted, and evidence answers.
    monkeypatch.setattr("mantlet_agent.command.start", made.started.extend)
    monkeypatch.setattr("mantlet_agent.health.status_line", lambda path, target: b"HTTP/1.1 200 OK")
    for register in (0, 7):
        tpm.extend(register, b"firmware")
    return made


class Line(boot.Boot):
    """The agent's line up to the cap, on a TPM that is open already; launch is a note of the key."""

    def __init__(self, machine: Machine, tpm: Tpm, recorder: Recorder) -> None:
        super().__init__(machine.places, recorder, serve_uid=os.getuid())
        self._tpm = tpm
        self.launched = b""

    def _open_tpm(self) -> Tpm:
        return self._tpm

    def _launch(self, configuration: object, weights: object, key: bytearray) -> None:
        self.launched = bytes(key)


def run(machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(Tpm, "__exit__", lambda *_: None)
    with Recorder(machine.places) as recorder:
        line = Line(machine, tpm, recorder)
        line.run()
    return line.launched


def refused(machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch) -> str:
    with pytest.raises(StageError):
        run(machine, tpm, monkeypatch)
    return machine.lines()[-1]


def test_a_provisioned_machine_goes_through_all_stages(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.provision(machine.provide(tpm))
    assert run(machine, tpm, monkeypatch) == machine.owner.data_key
    assert machine.lines() == [f"mantlet {stage.value} ok" for stage in Stage]
    assert serve.read_record(machine.places).state is State.SERVING


def test_with_its_key_there_a_machine_opens_no_port_before_the_cap(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.provision(machine.provide(tpm))
    run(machine, tpm, monkeypatch)
    # Launch alone is replaced here, and only launch and a machine that awaits its key start anything.
    assert machine.started == []


def test_register_15_holds_the_four_words_and_the_log_says_which(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.provision(machine.provide(tpm))
    run(machine, tpm, monkeypatch)
    log = decode_agent_log(strictjson.decode(machine.places.agent_log.read_bytes(), what="log"))
    assert [record.word for record in log] == [event.description for event in machine.words(capped=True)]
    for bank in BANKS:
        replayed = replay(bank, [event.digests[bank] for event in machine.words(capped=True)])
        assert tpm.read((15,))[bank][15] == replayed


def test_a_machine_without_a_key_waits_takes_the_first_good_one_and_keeps_it(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = machine.provide(tpm, dataclasses.replace(MODEL, root_hash=b"x" * 32))
    good = machine.provide(tpm)
    seen: list[tuple[Stage, Code]] = []

    def provision() -> None:
        for blob, wanted in ((foreign, Code.AWAITING_KEY), (good, Code.SEALED_KEY_FOREIGN)):
            deadline = time.monotonic() + 20
            while (Stage.UNSEAL, wanted) not in serve.read_record(machine.places).verdicts:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            seen.append((Stage.UNSEAL, wanted))
            assert serve.read_record(machine.places).state is State.AWAITING_KEY
            inbox.put(machine.places.inbox, handover.encode(blob))

    provisioning = threading.Thread(target=provision, daemon=True)
    provisioning.start()
    launched = run(machine, tpm, monkeypatch)
    provisioning.join()
    assert launched == machine.owner.data_key
    assert len(seen) == 2
    disk = (machine.places.devices / "vdb1").read_bytes()
    assert volume.decode_slot(disk[volume.SEALED_KEY_OFFSET :]) == sealed.encode(good.sealed_key)
    assert volume.decode_slot(disk[volume.APPROVALS_OFFSET :]) == approvals.encode(good.approvals)
    assert machine.lines()[3:5] == ["mantlet unseal awaiting-key", "mantlet unseal ok"]
    assert machine.started == ["mantlet-serve.service", "mantlet-front.service"]


def test_a_blob_of_another_user_is_not_looked_at(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.put(machine.places.inbox, handover.encode(machine.provide(tpm)))
    monkeypatch.setattr("mantlet_agent.inbox.time.sleep", lambda _: (_ for _ in ()).throw(InterruptedError))
    with pytest.raises(InterruptedError):
        next(inbox.arrivals(machine.places.inbox, owner=os.getuid() + 1))


def test_a_foreign_blob_on_the_volume_ends_the_boot(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.provision(machine.provide(tpm, dataclasses.replace(MODEL, id="other")))
    assert refused(machine, tpm, monkeypatch) == "mantlet unseal sealed-key-foreign"


@pytest.mark.parametrize("content", [b"{}", b'{"format":"mantlet-sealed-key/v1"}', b"\xff"])
def test_a_blob_that_is_no_sealed_key_ends_the_boot(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    machine.slot(volume.SEALED_KEY_OFFSET, content)
    assert refused(machine, tpm, monkeypatch) == "mantlet unseal sealed-key-malformed"


def test_a_sealed_key_without_approvals_ends_the_boot(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.slot(volume.SEALED_KEY_OFFSET, sealed.encode(machine.provide(tpm).sealed_key))
    assert refused(machine, tpm, monkeypatch) == "mantlet unseal approvals-absent"


@pytest.mark.parametrize("content", [b"{}", b'{"format":"mantlet-approvals/v1"}', b"\xff"])
def test_approvals_that_are_none_end_the_boot(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    machine.provision(machine.provide(tpm))
    machine.slot(volume.APPROVALS_OFFSET, content)
    assert refused(machine, tpm, monkeypatch) == "mantlet unseal approvals-malformed"


def test_approvals_of_another_model_end_the_boot(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = machine.provide(tpm, dataclasses.replace(MODEL, id="other")).approvals
    machine.provision(dataclasses.replace(machine.provide(tpm), approvals=other))
    assert refused(machine, tpm, monkeypatch) == "mantlet unseal approvals-foreign"


def test_a_key_under_another_policy_key_ends_the_boot_and_does_not_own_the_tpm(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.owner.policy_key = Owner().policy_key
    given = machine.provide(tpm)
    machine.provision(given)
    assert refused(machine, tpm, monkeypatch) == "mantlet unseal policy-key-foreign"
    counter = EpochCounter(policy_key=given.sealed_key.policy_key)
    with pytest.raises(TSS2_Exception, match="handle"):
        tpm.esapi.tr_from_tpmpublic(counter.handle)
    assert not tpm.storage_root_is_persistent()
    # The owner's password is still the empty one.
    tpm.esapi.hierarchy_change_auth(ESYS_TR.OWNER, b"")


def test_a_strangers_key_is_dropped_and_the_owners_is_taken_after_it(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = machine.provide(tpm)
    with monkeypatch.context() as stranger:
        stranger.setattr(machine.owner, "policy_key", Owner().policy_key)
        inbox.put(machine.places.inbox, handover.encode(machine.provide(tpm)))

    def provision() -> None:
        deadline = time.monotonic() + 20
        while (Stage.UNSEAL, Code.POLICY_KEY_FOREIGN) not in serve.read_record(machine.places).verdicts:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        inbox.put(machine.places.inbox, handover.encode(good))

    threading.Thread(target=provision, daemon=True).start()
    assert run(machine, tpm, monkeypatch) == machine.owner.data_key
    assert machine.lines()[3:5] == ["mantlet unseal awaiting-key", "mantlet unseal ok"]


def test_a_statement_is_applied_once_the_machine_serves(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.provision(machine.provide(tpm))
    machine.slot(volume.EPOCH_OFFSET, epoch.encode(machine.owner.raise_epoch(4)))
    run(machine, tpm, monkeypatch)
    assert machine.lines()[-1] == "mantlet serve ok"
    assert serve.read_record(machine.places).verdicts[-1] == (Stage.SERVE, Code.EPOCH_RAISED)
    assert serve.read_record(machine.places).state is State.SERVING


@pytest.mark.parametrize("torn", [False, True])
def test_a_refused_statement_is_noted_and_the_machine_serves(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    machine.provision(machine.provide(tpm))
    machine.slot(volume.EPOCH_OFFSET, epoch.encode(Owner().raise_epoch(4)))
    if torn:
        node = machine.places.devices / "vdb1"
        content = bytearray(node.read_bytes())
        content[volume.EPOCH_OFFSET + volume.HEADER_SIZE] ^= 1
        node.write_bytes(content)
    assert run(machine, tpm, monkeypatch) == machine.owner.data_key
    assert machine.lines()[-1] == "mantlet serve ok"
    assert serve.read_record(machine.places).verdicts[-1] == (Stage.SERVE, Code.EPOCH_REFUSED)
    assert serve.read_record(machine.places).state is State.SERVING


def test_a_document_of_another_signer_is_refused_before_it_is_measured(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.deploy(machine.document, signer=Ed25519PrivateKey.generate())
    assert refused(machine, tpm, monkeypatch) == "mantlet configure document-unsigned"
    assert not any(tpm.read((15,))[Bank.SHA256][15])


def test_a_document_for_another_image_version_is_refused(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.deploy(dataclasses.replace(machine.document, image_version="2"))
    assert refused(machine, tpm, monkeypatch) == "mantlet configure document-foreign"


def test_a_document_for_another_runtime_is_measured_and_refused(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.deploy(dataclasses.replace(machine.document, runtime="other"))
    assert refused(machine, tpm, monkeypatch) == "mantlet configure runtime-unknown"
    assert any(tpm.read((15,))[Bank.SHA256][15])


def test_a_signed_document_that_was_not_the_one_sealed_for_keeps_the_key_closed(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.provision(machine.provide(tpm))
    machine.deploy(dataclasses.replace(machine.document, id="other"))
    assert refused(machine, tpm, monkeypatch) == "mantlet unseal sealed-key-unapproved"


def test_an_empty_volume_is_refused(machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.disk("vdb1", volume.PARTITION, bytes(1 << 20))
    assert refused(machine, tpm, monkeypatch) == "mantlet configure document-absent"


def test_a_torn_document_is_refused(machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch) -> None:
    node = machine.places.devices / "vdb1"
    content = bytearray(node.read_bytes())
    content[volume.HEADER_SIZE + 10] ^= 1
    node.write_bytes(content)
    assert refused(machine, tpm, monkeypatch) == "mantlet configure document-malformed"


def test_a_volume_smaller_than_its_slots_is_refused(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.disk("vdb1", volume.PARTITION, bytes(4096))
    assert refused(machine, tpm, monkeypatch) == "mantlet configure volume-unreadable"


def test_a_second_volume_of_the_same_name_is_refused(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.disk("vdd1", volume.PARTITION, bytes(1 << 20))
    assert refused(machine, tpm, monkeypatch) == "mantlet configure volume-ambiguous"


def test_a_second_weights_disk_is_refused(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.disk("vdd1", "mantlet-weights", bytes(MODEL.size))
    assert refused(machine, tpm, monkeypatch) == "mantlet weights weights-ambiguous"


def test_a_truncated_weights_disk_is_refused(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.disk("vdc1", "mantlet-weights", bytes(MODEL.size - 512))
    assert refused(machine, tpm, monkeypatch) == "mantlet weights weights-truncated"


def test_a_kernel_that_goes_on_taking_modules_is_not_asked_for_a_key(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.provision(machine.provide(tpm))
    machine.places.modules_disabled.write_bytes(b"0\n")
    at_once = functools.partial(inspection.require_closed_kernel, seconds=0.0)
    monkeypatch.setattr(inspection, "require_closed_kernel", at_once)
    monkeypatch.setattr(boot.Boot, "unseal", lambda *_: pytest.fail("the key was asked for"))
    assert refused(machine, tpm, monkeypatch) == "mantlet unseal kernel-open"


def test_a_machine_without_a_system_log_is_refused(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.places.system_log.unlink()
    assert refused(machine, tpm, monkeypatch) == "mantlet inspect system-log-absent"


def test_a_system_log_without_the_first_phase_is_refused(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = machine.places.system_log
    log.write_bytes(log.read_bytes().replace(PHASE[Bank.SHA384].encode(), b"00" * 48))
    assert refused(machine, tpm, monkeypatch) == "mantlet inspect phase-absent"


def test_a_machine_without_a_firmware_log_is_refused(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.places.firmware_log.write_bytes(b"")
    assert refused(machine, tpm, monkeypatch) == "mantlet inspect firmware-log-absent"


def test_what_nobody_foresaw_leaves_one_line_and_no_more(
    machine: Machine, tpm: Tpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.places.os_release.write_text("ID=debian\n")
    with pytest.raises(KeyError):
        run(machine, tpm, monkeypatch)
    assert machine.lines()[-1] == "mantlet configure unexpected"
    record = stages.decode(machine.places.stages.read_bytes())
    assert record.verdicts[-1] == (Stage.CONFIGURE, Code.UNEXPECTED)

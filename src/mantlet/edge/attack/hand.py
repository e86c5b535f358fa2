# SPDX-License-Identifier: Apache-2.0
"""The hand that is laid on a copy of a machine: each change of the catalogue, carried out before power-on.

Owns the copy and what becomes of it: disks, variables, TPM, deployment volume, further words for QEMU. The
machine that the copy was taken of stays as it is.
"""

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mantlet.attack import changes
from mantlet.attack.changes import FOLDER, IMAGE, Change
from mantlet.edge import process
from mantlet.edge.accelerator import VARIABLES
from mantlet.edge.attack import beside, damage, hand_keys, shares, tpm_owner, vsock
from mantlet.edge.attack.beside import Server
from mantlet.edge.attack.disks import DiskMaker
from mantlet.edge.attack.esp import Esp, command_line
from mantlet.edge.attack.stand import MODEL, Stand
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.machine import Hardware
from mantlet.release import manifest
from mantlet_measure import dsse

_FW_CFG_LIMIT = 55


@dataclass(slots=True, kw_only=True)
class Hand:
    """A copy of a provisioned machine in `folder`, whose name is short, its hardware and its servers as they
    become."""

    stand: Stand
    folder: Path
    hardware: Hardware = field(init=False)
    servers: list[Server] = field(default_factory=list, init=False)
    _files: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Take the copy."""
        self.hardware = self.stand.hardware(deployment=self.stand.copy(self.folder))

    @property
    def machine_folder(self) -> Path:
        """TPM and variables."""
        return self.folder / "machine"

    @property
    def variables(self) -> Path:
        """The firmware's store of variables."""
        return self.machine_folder / "OVMF_VARS.fd"

    def lay(self, wanted: Iterable[Change]) -> None:
        """Carry out changes, in order."""
        for change in wanted:
            self._lay(change)

    def words(self, *words: str) -> None:
        """Add words for QEMU."""
        self.hardware = replace(self.hardware, extra=(*self.hardware.extra, *words))

    def _lay(self, change: Change) -> None:
        match change:
            case changes.Qemu(words=words):
                self.words(*map(self._filled, words))
            case changes.FwCfg(name=name, content=content):
                damage.expect(len(name) <= _FW_CFG_LIMIT, f"a name of {_FW_CFG_LIMIT} characters for {name}")
                self.words("-fw_cfg", f"name={name},file={self._file(content)}")
            case changes.Smbios(text=text):
                self.words("-smbios", f"type=11,path={self._file(text.encode('ascii'))}")
            case changes.Variable():
                self._set(change)
            case changes.Store():
                self._store(change)
            case changes.Disk():
                self._plug(change)
            case changes.Vsock(cid=cid):
                self._serve(vsock.server(self.folder, cid))
            case changes.Share(tag=tag):
                self._serve(shares.server(self.folder, tag))
            case _:
                self._lay_on_its_own(change)

    def _serve(self, server: Server) -> None:
        if not self.servers:
            self.words(*beside.memory_words(self.hardware.memory_mib))
        self.servers.append(server)
        self.words(*server.words)

    def _lay_on_its_own(self, change: Change) -> None:
        """Change what belongs to the machine: its disks, its volume, its TPM."""
        match change:
            case changes.EspFile():
                self._esp().put(change)
            case changes.EspAddon():
                self._esp().add(change)
            case changes.ForeignUki(command_line=line):
                self._esp().replace(changes.ForeignUki(self._filled(line)))
            case changes.Shell():
                self._esp().script(change)
            case changes.Damage():
                self._damage(change)
            case changes.Weights():
                self._weights(change)
            case changes.Deployment():
                self._deployment(change)
            case changes.Tpm():
                self._tpm(change)
            case _:
                raise damage.absent(f"a machine for {change}")

    def _filled(self, word: str) -> str:
        if "{uki}" in word:
            shutil.copyfile(self.stand.built.path("uki.efi"), self.folder / "uki.efi")
        filled = word.replace(FOLDER, str(self.folder)).replace("{uki}", str(self.folder / "uki.efi"))
        return (
            filled.replace("{command_line}", command_line(self.stand.built))
            if "{command" in filled
            else filled
        )

    def _file(self, content: bytes) -> Path:
        self._files += 1
        path = self.folder / f"file{self._files}"
        path.write_bytes(content)
        return path

    def disk(self) -> Path:
        """The copy of the image's disk, made when it is first needed."""
        copy = self.folder / "disk.raw"
        if self.hardware.disk != copy:
            shutil.copyfile(self.hardware.disk, copy)
            self.hardware = replace(self.hardware, disk=copy)
        return copy

    def _esp(self) -> Esp:
        stand = self.stand
        return Esp(
            disk=self.disk(), folder=self.folder, built=stand.built, keys=stand.keys, tools=stand.tools
        )

    def _set(self, variable: changes.Variable) -> None:
        image = manifest.decode(self.stand.built.path("measurements.json").read_bytes()).image.id
        content = variable.content.replace(IMAGE.encode("utf-16-le"), image.encode("utf-16-le"))
        listed = {"name": variable.name, "guid": variable.guid, "attr": 7, "data": content.hex()}
        table = self._file(json.dumps({"version": 2, "variables": [listed]}).encode("ascii"))
        store = str(self.variables)
        argv = ["virt-fw-vars", "--input", store, "--set-json", str(table), "--output", store]
        process.run(self.stand.tools.command(argv, rw=[self.folder]))

    def _store(self, store: changes.Store) -> None:
        source = {
            changes.Store.SECURE_BOOT_OFF: self.stand.tools.root / VARIABLES.lstrip("/"),
            changes.Store.FRESH: self.hardware.variables,
        }[store]
        shutil.copyfile(source, self.variables)

    def _damage(self, kind: changes.Damage) -> None:
        disk, built, tools = self.disk(), self.stand.built, self.stand.tools
        match kind:
            case changes.Damage.KERNEL:
                damage.flip_in_kernel(built, disk)
            case changes.Damage.CONSOLE:
                damage.give_a_console(built, disk)
            case changes.Damage.FIRST_PROGRAM:
                damage.flip_in_first_program(built, disk, tools)
            case changes.Damage.HASH_TREE:
                damage.flip_in_partition(disk, "verity", tools, at=2 * 4096)
            case changes.Damage.SIGNATURE:
                damage.flip_in_partition(disk, "verity-sig", tools, at=64)
            case changes.Damage.PARTITION_TABLE:
                damage.remove_root_partitions(disk, tools)
            case changes.Damage.WRITABLE:
                self.hardware = replace(self.hardware, disk_writable=True)
            case changes.Damage.LATER:
                pass

    def _plug(self, disk: changes.Disk) -> None:
        maker = DiskMaker(folder=self.folder, built=self.stand.built, tools=self.stand.tools)
        path = maker.make(disk.name, disk.kind)
        words = (
            *("-drive", f"if=none,id={disk.name},format=raw,file={path}"),
            *("-device", f"virtio-blk-pci,drive={disk.name}"),
        )
        if disk.first:
            self.hardware = replace(self.hardware, before=(*self.hardware.before, *words))
        else:
            self.words(*words)

    def _weights(self, kind: changes.Weights) -> None:
        weights = damage.given(self.hardware.weights, "weights")
        copy = self.folder / "weights.raw"
        match kind:
            case changes.Weights.ABSENT:
                self.hardware = replace(self.hardware, weights=None)
                return
            case changes.Weights.HALF:
                damage.cut_in_half(weights, copy)
            case changes.Weights.FLIPPED:
                shutil.copyfile(weights, copy)
                damage.flip(copy, copy.stat().st_size // 2)
            case changes.Weights.OTHER_MODEL:
                model = bytearray(tiny_gguf())
                model[-1] ^= 1
                other = self._file(bytes(model))
                # With the same data key: the disk key depends on the root hash too.
                pack = self.stand.packed(other, self.folder / "other", key_file=self.stand.pack().key_file)
                copy = pack.image
        self.hardware = replace(self.hardware, weights=copy)

    def _deployment(self, kind: changes.Deployment) -> None:
        volume = damage.given(self.hardware.deployment, "a deployment volume")
        tools = self.stand.tools
        match kind:
            case changes.Deployment.FLIPPED:
                wanted = f'"id":"{MODEL}"'.encode()
                damage.rewrite_document(
                    volume, _payload(lambda data: data.replace(wanted, b'"id":"tinx"', 1)), tools
                )
            case changes.Deployment.OTHER_SIGNER:
                damage.rewrite_document(volume, _signed_by_another, tools)
            case changes.Deployment.NO_APPROVALS:
                hand_keys.remove_approvals(volume, tools)
            case changes.Deployment.FOREIGN_APPROVALS:
                hand_keys.foreign_approvals(volume, tools)

    def _tpm(self, kind: changes.Tpm) -> None:
        state, tools = self.machine_folder / "tpm", self.stand.tools
        actions = {
            changes.Tpm.CLEARED: tpm_owner.CLEAR,
            changes.Tpm.COUNTER_DELETED: tpm_owner.DELETE,
            changes.Tpm.COUNTER_CREATED_AGAIN: tpm_owner.CREATE_AGAIN,
            changes.Tpm.EPOCH_RAISED: tpm_owner.RAISE,
        }
        if kind is changes.Tpm.ABSENT:
            self.hardware = replace(self.hardware, tpm=False)
        elif kind in actions:
            policy_key = hand_keys.sealed_key(self.stand.deployment, tools).policy_key
            statement = hand_keys.next_epoch(self.stand.keys) if kind is changes.Tpm.EPOCH_RAISED else b""
            tpm_owner.own(state, actions[kind], policy_key=policy_key, tools=tools, statement=statement)
        else:
            shutil.rmtree(state)
            banks = "sha1" if kind is changes.Tpm.SHA1_ONLY else "sha256,sha384"
            hand_keys.new_tpm(state, self.stand, banks=banks)


def _payload(change: Callable[[bytes], bytes]) -> Callable[[dsse.Envelope], dsse.Envelope]:
    return lambda envelope: replace(envelope, payload=change(envelope.payload))


def _signed_by_another(envelope: dsse.Envelope) -> dsse.Envelope:
    return dsse.sign(envelope.payload_type, envelope.payload, [Ed25519PrivateKey.generate()])

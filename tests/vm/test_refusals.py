# SPDX-License-Identifier: Apache-2.0
"""One machine that has its key, and what becomes of it after one change by somebody with access to its disks.

Every attack boots a copy of that machine. Untouched, it serves without help; so what keeps it from serving is
the change. The verdict is the TPM's log: it says whether a key was released.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mantlet.cli.boot import SERVING
from mantlet.edge.accelerator import VARIABLES
from mantlet.edge.attack import damage, tpm_trace
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.attack.tpm_trace import Trace
from mantlet.edge.machine import Hardware, Line
from mantlet.release import manifest
from mantlet_measure import dsse
from mantlet_measure.pcr import BANKS, ENFORCED
from tests.vm.rig import BOOT_SECONDS, Rig, Site

pytestmark = pytest.mark.vm

EXTRA_WORD = "quiet"
FIRMWARE_STARTS, FIRMWARE_SAYS = b"BdsDxe: starting ", b"Access Denied"
FIRMWARE_SECONDS = 120.0
STILL_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A change to a copy of the sealed machine, and the last thing that the machine says after it.

    last: None when the agent never comes to say anything. unsealed: how often the TPM releases the key.
    moved: the enforced registers that are not what the release predicts; None when the boot ends too early.
    """

    change: Callable[[Rig, Site, Path], tuple[Site, Hardware]]
    last: Line | None
    unsealed: int = 0
    moved: tuple[int, ...] | None = ()


def root_flipped(rig: Rig, site: Site, folder: Path) -> tuple[Site, Hardware]:
    disk = copied_disk(rig, folder)
    damage.flip_in_first_program(rig.built, disk, rig.tools)
    return site, replace(rig.hardware(site), disk=disk)


def command_line_added(rig: Rig, site: Site, folder: Path) -> tuple[Site, Hardware]:
    word = f"type=11,value=io.systemd.stub.kernel-cmdline-extra={EXTRA_WORD}"
    return site, replace(rig.hardware(site), extra=("-smbios", word))


def secure_boot_off(rig: Rig, site: Site, folder: Path) -> tuple[Site, Hardware]:
    (site.folder / "OVMF_VARS.fd").unlink()
    return site, replace(rig.hardware(site), variables=rig.tools.root / VARIABLES.lstrip("/"))


def document_flipped(rig: Rig, site: Site, folder: Path) -> tuple[Site, Hardware]:
    def flip(envelope: dsse.Envelope) -> dsse.Envelope:
        assert envelope.payload.count(b'"id":"tiny"') == 2
        return replace(envelope, payload=envelope.payload.replace(b'"id":"tiny"', b'"id":"tinx"', 1))

    damage.rewrite_document(site.deployment, flip, rig.tools)
    return site, rig.hardware(site)


def document_signed_by_another(rig: Rig, site: Site, folder: Path) -> tuple[Site, Hardware]:
    def sign(envelope: dsse.Envelope) -> dsse.Envelope:
        return dsse.sign(envelope.payload_type, envelope.payload, [Ed25519PrivateKey.generate()])

    damage.rewrite_document(site.deployment, sign, rig.tools)
    return site, rig.hardware(site)


def weights_foreign(rig: Rig, site: Site, folder: Path) -> tuple[Site, Hardware]:
    model = bytearray(tiny_gguf())
    model[-1] ^= 1
    (folder / "tiny.gguf").write_bytes(model)
    other = folder / "foreign"
    # With the same data key. The disk key depends on the root hash too, so what the mapping shows is noise.
    words = ("weights", "pack", str(folder / "tiny.gguf"), "--id", "tiny", "--key", str(site.key))
    rig.expect(*words, "--output", str(other))
    foreign = other / "tiny.raw"
    assert foreign.stat().st_size == site.weights.stat().st_size
    assert foreign.read_bytes() != site.weights.read_bytes()
    return site, replace(rig.hardware(site), weights=foreign)


def another_tpm(rig: Rig, site: Site, folder: Path) -> tuple[Site, Hardware]:
    shutil.rmtree(site.folder / "tpm")
    return site, rig.hardware(site)


UNAPPROVED = Line("unseal", "sealed-key-unapproved")

ATTACKS = {
    "a root file system with a flipped bit": Attack(change=root_flipped, last=None, moved=None),
    # systemd-stub measures what was added into 12, the kernel's EFI stub the whole of it into 9.
    "a command line that the hypervisor adds to": Attack(
        change=command_line_added, last=UNAPPROVED, moved=(9, 12)
    ),
    "a deployment document with a flipped bit": Attack(
        change=document_flipped, last=Line("configure", "document-unsigned")
    ),
    "a deployment document of another signer": Attack(
        change=document_signed_by_another, last=Line("configure", "document-unsigned")
    ),
    "weights of another model": Attack(
        change=weights_foreign, last=Line("launch", "weights-corrupt"), unsealed=1
    ),
    "another machine": Attack(change=another_tpm, last=Line("unseal", "sealed-key-foreign")),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_machine_refuses_and_powers_off(rig: Rig, sealed: Site, tmp_path: Path, name: str) -> None:
    attack = ATTACKS[name]
    site, hardware = attack.change(rig, sealed.copy(tmp_path), tmp_path)
    machine = rig.boot(site, hardware)
    machine.wait_until_off(seconds=BOOT_SECONDS)
    lines = machine.lines()
    assert (lines[-1] if lines else None) == attack.last
    assert SERVING not in lines
    # It was the machine that refused, not the bench: the firmware did start the kernel.
    assert FIRMWARE_STARTS in machine.serial.read_bytes()
    trace = Trace(machine.trace)
    assert trace.results(tpm_trace.UNSEAL).count(tpm_trace.SUCCESS) == attack.unsealed
    if attack.moved is not None:
        assert moved(rig, trace) == attack.moved


def test_without_secure_boot_the_machine_stands_still_before_its_first_unit(
    rig: Rig, sealed: Site, tmp_path: Path
) -> None:
    # The kernel then lacks the key of the policy of execution. PID 1 freezes when it cannot load that.
    site, hardware = secure_boot_off(rig, sealed.copy(tmp_path), tmp_path)
    machine = rig.boot(site, hardware)
    while FIRMWARE_STARTS not in machine.serial.read_bytes():
        assert machine.elapsed < FIRMWARE_SECONDS, machine.serial.read_bytes()
        time.sleep(0.2)
    size, since = -1, machine.elapsed
    while machine.elapsed < since + STILL_SECONDS:
        assert machine.elapsed < BOOT_SECONDS
        if machine.trace.stat().st_size != size:
            size, since = machine.trace.stat().st_size, machine.elapsed
        time.sleep(0.2)
    rig.power_off()
    assert machine.lines() == ()
    trace = Trace(machine.trace)
    assert trace.results(tpm_trace.UNSEAL) == []
    # 11 lacks the first phase, which a unit of the initrd extends.
    assert {7, 11} <= set(moved(rig, trace))


@pytest.mark.parametrize(
    "change", [damage.flip_in_kernel, damage.give_a_console], ids=["a flipped bit", "another command line"]
)
def test_the_firmware_refuses_a_kernel_image_with(
    rig: Rig, sealed: Site, tmp_path: Path, change: Callable[..., None]
) -> None:
    site = sealed.copy(tmp_path)
    disk = copied_disk(rig, tmp_path)
    change(rig.built, disk)
    machine = rig.boot(site, replace(rig.hardware(site), disk=disk))
    while FIRMWARE_SAYS not in machine.serial.read_bytes():
        assert machine.is_on()
        assert machine.elapsed < FIRMWARE_SECONDS, machine.serial.read_bytes()
        time.sleep(0.2)
    rig.power_off()
    assert machine.lines() == ()
    assert FIRMWARE_STARTS not in machine.serial.read_bytes()
    assert Trace(machine.trace).results(tpm_trace.UNSEAL) == []


def copied_disk(rig: Rig, folder: Path) -> Path:
    """A copy of the build's disk."""
    disk = folder / "disk.raw"
    shutil.copyfile(rig.built.path("disk.raw"), disk)
    return disk


def moved(rig: Rig, trace: Trace) -> tuple[int, ...]:
    """The enforced registers that differ from the manifest, but the agent's; the same in both banks."""
    platform = manifest.decode(rig.manifest.read_bytes()).platforms["qemu-ovmf"]
    found = []
    for bank in BANKS:
        given = trace.registers(bank)
        found.append(tuple(n for n in ENFORCED if n != 15 and given[n] != platform.banks[bank][n].value))
    assert found[0] == found[1]
    return found[0]

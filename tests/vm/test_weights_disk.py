# SPDX-License-Identifier: Apache-2.0
"""One machine that has its key, and one change to the disk that its weights are on.

As in test_refusals.py, every attack boots a copy of a machine that serves when it is left alone. The agent
refuses the pack before the runtime answers; what changes later ends the runtime at the block, and with it
the machine.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mantlet.client import chat
from mantlet.edge.attack import tpm_trace
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.attack.tpm_trace import Trace
from mantlet.edge.machine import Line, Machine
from mantlet_measure.deployment import BLOCK
from mantlet_measure.errors import MantletError
from tests.vm import pack_damage
from tests.vm.pack_damage import Pack
from tests.vm.rig import BOOT_SECONDS, PATIENCE, Rig, Site

pytestmark = pytest.mark.vm

# The tree of the pack has two levels then.
ALIGNMENT = 64 << 10
# A model that is larger than the machine's memory, and all of it is read for each token: some of it from the
# disk, whatever the kernel keeps.
VAST_LAYERS, VAST_FEED_FORWARD = 44, 16_384
SMALL_MEMORY_MIB = 512


@pytest.fixture(scope="session")
def stored(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A machine that has its key, and is off; its pack has a tree of two levels."""
    model = tmp_path_factory.mktemp("model") / "wide.gguf"
    model.write_bytes(tiny_gguf(alignment=ALIGNMENT))
    site = rig.site("wide", model, model_id="wide")
    machine = rig.provision(site)
    ask(rig, machine)
    rig.power_off()
    return site


def flip_file_system(pack: Pack) -> None:
    pack.flip(1024 + 4)


def flip_root_of_tree(pack: Pack) -> None:
    pack.flip(pack.descriptor.model.hash_offset + 8)


def flip_head_of_model(pack: Pack) -> None:
    pack.flip(pack.place_of_model() + 100)


def flip_first_tensor(pack: Pack) -> None:
    pack.flip(pack.place_of_model() + ALIGNMENT)


def flip_last_sector_of_tree(pack: Pack) -> None:
    pack.flip(-1)


REFUSED = {
    "a flipped bit in its file system": (flip_file_system, "weights-corrupt"),
    "a flipped bit at the root of its tree": (flip_root_of_tree, "weights-corrupt"),
    "a flipped bit in the head of its model": (flip_head_of_model, "weights-corrupt"),
    # The runtime has started then, and stands in the kernel, which asks for the block for ever.
    "a flipped bit in its first tensor": (flip_first_tensor, "weights-corrupt"),
    "a flipped bit in the last sector of its tree": (flip_last_sector_of_tree, "weights-corrupt"),
    "the plaintext and no cipher": (pack_damage.store_plaintext, "weights-corrupt"),
    "a LUKS header that names a null cipher": (pack_damage.give_it_a_null_cipher, "weights-corrupt"),
    "a verity superblock, by who has the key": (pack_damage.give_it_a_superblock, "weights-corrupt"),
}
MISFITS = {
    "one block less": (pack_damage.truncate, "weights-truncated"),
    "one block more": (pack_damage.grow, "weights-grown"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_machine_never_serves_a_pack_with(rig: Rig, stored: Site, tmp_path: Path, name: str) -> None:
    change, code = REFUSED[name]
    machine = boot_with(rig, stored, tmp_path, change)
    machine.wait_until_off(seconds=BOOT_SECONDS)
    assert machine.lines()[-1] == Line("launch", code)


@pytest.mark.parametrize("name", MISFITS)
def test_no_key_is_released_for_a_partition_of(rig: Rig, stored: Site, tmp_path: Path, name: str) -> None:
    change, code = MISFITS[name]
    machine = boot_with(rig, stored, tmp_path, change)
    machine.wait_until_off(seconds=BOOT_SECONDS)
    assert machine.lines()[-1] == Line("weights", code)
    assert Trace(machine.trace).results(tpm_trace.UNSEAL) == []


def test_the_same_model_under_another_data_key_is_refused(rig: Rig, stored: Site, tmp_path: Path) -> None:
    model, other = tmp_path / "wide.gguf", tmp_path / "other"
    model.write_bytes(tiny_gguf(alignment=ALIGNMENT))
    rig.expect("weights", "pack", str(model), "--id", "wide", "--output", str(other))
    swapped = (other / "wide.raw").read_bytes()
    assert len(swapped) == stored.weights.stat().st_size
    machine = boot_with(rig, stored, tmp_path, lambda pack: pack.image.write_bytes(swapped))
    machine.wait_until_off(seconds=BOOT_SECONDS)
    assert machine.lines()[-1] == Line("launch", "weights-corrupt")


def test_a_signed_document_that_calls_the_pack_another_version_gets_no_key(
    rig: Rig, stored: Site, tmp_path: Path
) -> None:
    site = stored.copy(tmp_path)
    model, other = tmp_path / "wide.gguf", tmp_path / "other"
    model.write_bytes(tiny_gguf(alignment=ALIGNMENT))
    words = ("weights", "pack", str(model), "--id", "wide", "--key", str(stored.key), "--version", "2")
    rig.expect(*words, "--output", str(other))
    assert (other / "wide.raw").read_bytes() == stored.weights.read_bytes()
    rig.redeploy(site, other / "wide.json")
    machine = rig.boot(site)
    machine.wait_until_off(seconds=BOOT_SECONDS)
    assert machine.lines()[-1] == Line("unseal", "sealed-key-unapproved")


def test_blocks_altered_under_a_serving_machine_end_it(rig: Rig, tmp_path: Path) -> None:
    model = tmp_path / "vast.gguf"
    model.write_bytes(tiny_gguf(layers=VAST_LAYERS, feed_forward=VAST_FEED_FORWARD))
    site = rig.site("vast", model, model_id="vast")
    hardware = replace(rig.hardware(site), memory_mib=SMALL_MEMORY_MIB)
    assert model.stat().st_size > SMALL_MEMORY_MIB << 20
    machine = rig.provision(site, hardware)
    ask(rig, machine, model="vast", max_tokens=1)
    pack = Pack.of(site)
    place = pack.place_of_model()
    for offset in range(0, model.stat().st_size, BLOCK):
        pack.flip(place + offset)
    with pytest.raises(MantletError):
        ask(rig, machine, model="vast", max_tokens=1)
    machine.wait_until_off(seconds=machine.elapsed + PATIENCE)
    machine.check_end()


def boot_with(rig: Rig, stored: Site, folder: Path, change: Callable[[Pack], object]) -> Machine:
    """Boot a copy of the machine whose weights are a changed copy."""
    site, pack = stored.copy(folder), Pack.copy(stored, folder)
    before = pack.image.read_bytes()
    change(pack)
    assert pack.image.read_bytes() != before
    return rig.boot(site, replace(rig.hardware(site), weights=pack.image))


def ask(rig: Rig, machine: Machine, *, model: str = "wide", max_tokens: int = 4) -> None:
    """Ask for a few tokens and get all of them. What they say is noise, and may be no text at all."""
    with rig.connect(machine) as connection:
        list(chat.ask(connection, "hello", model=model, max_tokens=max_tokens))

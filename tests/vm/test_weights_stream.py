# SPDX-License-Identifier: Apache-2.0
"""Machines whose model is a stream body: on their disk, or in a store that they reach over HTTPS.

As in test_refusals.py, every attack boots a copy of a machine that serves when it is left alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mantlet.cli.boot import SERVING
from mantlet.client import chat
from mantlet.edge.attack import tpm_trace
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.attack.tpm_trace import Trace
from mantlet.edge.machine import Line, Machine
from mantlet_measure.body import CHUNK_SIZE, OFFSET, TAG_SIZE
from tests.vm import pack_damage, store
from tests.vm.pack_damage import Pack
from tests.vm.rig import BOOT_SECONDS, Rig, Site
from tests.vm.store import Store

pytestmark = pytest.mark.vm

# Large enough for several chunks.
ALIGNMENT = 256 << 10
# In the middle of a chunk.
BREAK = 3 * CHUNK_SIZE + 12_345


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "chunks.gguf"
    path.write_bytes(tiny_gguf(alignment=ALIGNMENT))
    return path


@pytest.fixture(scope="session")
def streamed(rig: Rig, model: Path) -> Site:
    """A machine that has its key, and is off; its model is a stream body on its weights disk."""
    site = rig.site("streamed", model, model_id="chunks", pack=("--body", "stream"))
    machine = rig.provision(site)
    ask(rig, machine)
    rig.power_off()
    return site


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with store.opened(tmp_path_factory.mktemp("store")) as opened:
        yield opened


@pytest.fixture(scope="session")
def fetching(rig: Rig, model: Path, shelf: Store) -> Site:
    """A machine that has its key, and is off; it has no weights disk, and fetches its model."""
    where = ("--fetch", store.URL, "--fetch-address", store.ADDRESS)
    site = rig.site(
        "fetching",
        model,
        model_id="chunks",
        pack=("--body", "stream"),
        deploy=(*where, "--fetch-authority", str(shelf.authority)),
    )
    shelf.resource.content = site.weights.read_bytes()
    rig.provision(site, shelf.wired(rig.hardware(site)))
    rig.power_off()
    return site


def flip_last_byte(pack: Pack) -> None:
    pack.flip(pack.descriptor.model.body_size - 1)


CORRUPT = {"a flipped bit in its last tag": flip_last_byte, "two chunks swapped": pack_damage.swap_chunks}
MISFITS = {
    "one block less": (pack_damage.truncate, "weights-truncated"),
    "one block more": (pack_damage.grow, "weights-grown"),
}


def test_a_stream_body_on_a_disk_is_served(streamed: Site) -> None:
    lines = (streamed.folder / "serial.log").read_bytes()
    assert b"mantlet launch ok" in lines
    assert b"mantlet serve ok" in lines


@pytest.mark.parametrize("name", CORRUPT)
def test_a_runtime_never_starts_over_a_stream_with(
    rig: Rig, streamed: Site, tmp_path: Path, name: str
) -> None:
    machine = boot_with(rig, streamed, tmp_path, name)
    machine.wait_until_off(seconds=BOOT_SECONDS)
    assert machine.lines()[-1] == Line("launch", "weights-corrupt")


@pytest.mark.parametrize("name", MISFITS)
def test_no_key_is_released_for_a_stream_partition_of(
    rig: Rig, streamed: Site, tmp_path: Path, name: str
) -> None:
    machine = boot_with(rig, streamed, tmp_path, name)
    machine.wait_until_off(seconds=BOOT_SECONDS)
    assert machine.lines()[-1] == Line("weights", MISFITS[name][1])
    assert Trace(machine.trace).results(tpm_trace.UNSEAL) == []


def test_a_body_is_fetched_over_a_connection_that_breaks(
    rig: Rig, fetching: Site, shelf: Store, tmp_path: Path
) -> None:
    site = fetching.copy(tmp_path)
    shelf.resource.asked.clear()
    shelf.resource.drop_after, shelf.resource.drops = BREAK, 1
    machine = rig.boot(site, shelf.wired(rig.hardware(site)))
    machine.wait_for(SERVING, seconds=BOOT_SECONDS)
    ask(rig, machine)
    # From the first byte of the body on, then from some byte that is not the first of a chunk.
    first, second = (int(said.removeprefix("bytes=").split("-")[0]) - OFFSET for said in shelf.resource.asked)
    assert first == 0
    assert 0 < second <= BREAK
    assert second % (CHUNK_SIZE + TAG_SIZE) != 0
    # Nothing of it before the key was out of reach.
    trace = Trace(machine.trace)
    assert trace.results(tpm_trace.UNSEAL).count(tpm_trace.SUCCESS) == 1


def test_a_fetched_body_with_a_flipped_bit_is_refused(
    rig: Rig, fetching: Site, shelf: Store, tmp_path: Path
) -> None:
    site, sound = fetching.copy(tmp_path), shelf.resource.content
    altered = bytearray(sound)
    altered[OFFSET + 2 * CHUNK_SIZE] ^= 1
    shelf.resource.content = bytes(altered)
    try:
        machine = rig.boot(site, shelf.wired(rig.hardware(site)))
        machine.wait_until_off(seconds=BOOT_SECONDS)
    finally:
        shelf.resource.content = sound
    assert machine.lines()[-1] == Line("launch", "weights-corrupt")


def test_a_store_with_another_certificate_gives_nothing(rig: Rig, fetching: Site, tmp_path: Path) -> None:
    site = fetching.copy(tmp_path)
    with store.opened(tmp_path / "stranger") as stranger:
        stranger.resource.content = fetching.weights.read_bytes()
        machine = rig.boot(site, stranger.wired(rig.hardware(site)))
        machine.wait_until_off(seconds=BOOT_SECONDS)
        assert machine.lines()[-1] == Line("launch", "fetch-failed")
        assert stranger.resource.asked == []


def boot_with(rig: Rig, streamed: Site, folder: Path, name: str) -> Machine:
    """Boot a copy of the machine whose weights are a changed copy."""
    site, pack = streamed.copy(folder), Pack.copy(streamed, folder)
    before = pack.image.read_bytes()
    change = CORRUPT[name] if name in CORRUPT else MISFITS[name][0]
    change(pack)
    assert pack.image.read_bytes() != before
    return rig.boot(site, replace(rig.hardware(site), weights=pack.image))


def ask(rig: Rig, machine: Machine) -> None:
    """Ask for a few tokens and get all of them. What they say is noise, and may be no text at all."""
    with rig.connect(machine) as connection:
        list(chat.ask(connection, "hello", model="chunks", max_tokens=4))

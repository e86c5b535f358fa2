# SPDX-License-Identifier: Apache-2.0
"""A disk that was sound for the whole boot, and is altered under a machine that serves.

The model is larger than the machine's memory, so what its page cache holds of it at one time is a part: the
oldest part, the first tensors, has to come from the disk again when a prompt needs it.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mantlet.cli.boot import AWAITING_KEY, SERVING
from mantlet.client import chat
from mantlet.edge.attack import tiny_gguf
from mantlet_measure.errors import MantletError
from tests.vm.pack_damage import Pack
from tests.vm.rig import Rig

pytestmark = pytest.mark.vm

MEMORY_MIB = 512
# Each tensor starts a stretch of its own, of which it needs the first few pages.
ALIGNMENT = 32 << 20
BOOT_SECONDS = 900.0
SETTLING_SECONDS = 600.0


def test_the_machine_goes_off_at_a_block_that_was_altered_after_it_came_to_serve(
    rig: Rig, tmp_path: Path
) -> None:
    model = tmp_path / "large.gguf"
    model.write_bytes(tiny_gguf.tiny_gguf(alignment=ALIGNMENT))
    assert model.stat().st_size > MEMORY_MIB << 20
    site = rig.site("large", model, model_id="large")
    model.unlink()
    pack = Pack.copy(site, tmp_path)
    hardware = replace(rig.hardware(site), weights=pack.image, memory_mib=MEMORY_MIB)
    machine = rig.boot(site, hardware)
    machine.wait_for(AWAITING_KEY, seconds=BOOT_SECONDS)
    rig.seal(machine, site)
    machine.wait_for(SERVING, seconds=BOOT_SECONDS)
    first = pack.place_of_model() + ALIGNMENT
    for tensor in range(3 + 9 * tiny_gguf.LAYERS):
        pack.flip(first + tensor * ALIGNMENT)
    with rig.connect(machine) as connection, pytest.raises((MantletError, OSError)):
        list(chat.ask(connection, "hello", model="large", max_tokens=4))
    machine.wait_until_off(seconds=machine.elapsed + SETTLING_SECONDS)
    assert machine.lines()[-1] == SERVING
    shutil.rmtree(site.pack.parent)

# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/formats.md, *Weights pack*, typed into a Linux that knows nothing of us."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from mantlet.edge import project
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from tests.vm.pack_damage import Pack
from tests.vm.rig import Rig
from tests.vm.stock_guest import StockGuest

pytestmark = pytest.mark.vm

_BLOCK = re.compile(r"^```\n(openssl kdf .*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "wide.gguf"
    path.write_bytes(tiny_gguf(alignment=64 << 10))
    return path


def documented(values: Mapping[str, str]) -> str:
    """The commands of the document, with its capitals filled in."""
    text = (project.root() / "docs/formats.md").read_text("utf-8")
    (block,) = _BLOCK.findall(text.split("## Weights pack\n")[1].split("\n## ")[0])
    assert [line.split()[0] for line in block.splitlines()] == [
        *("openssl", "cryptsetup", "veritysetup", "mount"),
    ]
    filled = re.sub("|".join(sorted(values, key=len, reverse=True)), lambda found: values[found[0]], block)
    return str(filled)


def test_the_documents_commands_mount_a_pack_and_a_flipped_bit_of_it_is_an_error(
    rig: Rig, model: Path, tmp_path: Path
) -> None:
    site = rig.site("stock", model, model_id="wide")
    damaged = Pack.copy(site, tmp_path)
    facts, place = damaged.descriptor.model, damaged.place_of_model()
    damaged.flip(place + (512 << 10))
    values = {
        "DATAKEY": site.key.read_bytes().hex(),
        "ROOT_HASH": facts.root_hash.hex(),
        "DATA_BLOCKS": str(facts.data_blocks),
        "HASH_OFFSET": str(facts.hash_offset),
        "SALT": facts.salt.hex(),
    }
    digest = f"sha256sum /mnt/{facts.file} 2>&1\necho exit $?\n"
    close = "umount /mnt && veritysetup close model && cryptsetup close model-crypt\n"
    script = documented({**values, "DISK": "/dev/vda1"}) + digest + close
    script += documented({**values, "DISK": "/dev/vdb1"}) + digest
    guest = StockGuest(built=rig.built, tools=rig.tools, folder=tmp_path, accelerator=rig.accelerator)
    said = guest.run(script, [site.weights, damaged.image])
    wanted = hashlib.sha256(model.read_bytes()).hexdigest()
    assert f"{wanted}  /mnt/{facts.file}\nexit 0\n" in said
    assert f"sha256sum: /mnt/{facts.file}: Input/output error\nexit 1\n" in said

# SPDX-License-Identifier: Apache-2.0
"""`weights inspect`, `verify`, `rekey` and `extract` over real packs, sound and tampered with."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mantlet.cli import main
from mantlet.edge import owner, pack, pack_extract
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.pack_files import Pack
from mantlet.edge.pack_plan import Label
from mantlet.edge.tools import ToolsTree
from mantlet.weights import pack as layout
from mantlet.weights.disk import PARTITION_OFFSET
from mantlet.weights.extents import Extent
from mantlet_measure.disk_key import disk_key
from mantlet_measure.errors import DecodeError

OWNER = Ed25519PrivateKey.generate()
Verb = Callable[..., int]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of several files, one of them of more than a chunk."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "model-00001-of-00002.gguf").write_bytes(tiny_gguf())
    second = b"GGUF" + hashlib.shake_256(b"second").digest((5 << 20) + 123)
    (folder / "model-00002-of-00002.gguf").write_bytes(second)
    (folder / "tokenizer.json").write_bytes(b"{}")
    return folder


@pytest.fixture
def made(directory: Path, tmp_path: Path, tools: ToolsTree) -> Pack:
    return packed(directory, tmp_path / "pack", tools)


@pytest.fixture
def verb(made: Pack, tmp_path: Path) -> Verb:
    """Call a verb over the pack, with its owner's key."""
    key = tmp_path / "owner.key"
    key.write_bytes(OWNER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def call(name: str, *words: str | Path) -> int:
        options = [str(made.descriptor_file), "--owner-key", str(key), *map(str, words)]
        return main(["weights", name, *options], {})

    return call


def packed(source: Path, folder: Path, tools: ToolsTree, *, version: str = "1") -> Pack:
    label = Label(id="tiny", version=version, epoch=1)
    return pack.write(source, folder, label=label, file=None, key_file=None, owner=OWNER, tools=tools)


def flip(image: Path, place: int) -> None:
    with image.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, place)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), place)


def test_a_sound_pack_is_verified_with_and_without_its_key(
    made: Pack, verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb("verify") == 0
    assert "ciphertext, all of" in capsys.readouterr().out
    assert verb("verify", "--key", made.key_file) == 0
    assert "ciphertext and plaintext" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["first", "data", "tree", "last"])
def test_a_flipped_bit_in_the_partition_is_refused_and_named_by_its_block(
    made: Pack, verb: Verb, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made.descriptor.model
    places = {"first": 0, "data": 3 << 20, "tree": model.hash_offset + 5000, "last": model.size - 1}
    flip(made.image, PARTITION_OFFSET + places[part])
    assert verb("verify") == 1
    assert "ciphertext of" in capsys.readouterr().err
    assert verb("verify", "--key", made.key_file) == 1
    block = places[part] // 4096
    assert (
        f"block {block} of the partition at byte {PARTITION_OFFSET + block * 4096}" in capsys.readouterr().err
    )


@pytest.mark.parametrize("place", [0, 446, 512, 1024, 20_000, PARTITION_OFFSET - 1, -1, -512, -20_000])
def test_a_flipped_bit_outside_of_the_partition_is_refused_and_named_by_its_byte(
    made: Pack, verb: Verb, place: int, capsys: pytest.CaptureFixture[str]
) -> None:
    place %= made.image.stat().st_size
    flip(made.image, place)
    assert verb("verify") == 1
    assert f"at byte {place}: expected the partition table" in capsys.readouterr().err


@pytest.mark.parametrize("change", [-1, -4096, 1, 1 << 20])
def test_a_truncated_or_grown_image_is_refused(
    made: Pack, verb: Verb, change: int, capsys: pytest.CaptureFixture[str]
) -> None:
    size = made.image.stat().st_size
    os.truncate(made.image, size + change)
    for words in ((), ("--key", made.key_file)):
        assert verb("verify", *words) == 1
        assert f"expected {size} bytes, found {size + change}" in capsys.readouterr().err
    assert verb("extract", "--key", made.key_file, "--output", made.image.parent / "out") == 1
    assert not (made.image.parent / "out").exists()


def test_the_body_of_another_pack_of_the_same_size_is_refused(
    made: Pack, verb: Verb, directory: Path, tmp_path: Path, tools: ToolsTree
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in directory.iterdir():
        (other / path.name).write_bytes(
            path.read_bytes()[::-1] if path.suffix == ".json" else path.read_bytes()
        )
    swapped = packed(other, tmp_path / "swapped", tools)
    assert swapped.image.stat().st_size == made.image.stat().st_size
    assert verb("verify", "--image", swapped.image) == 1
    # The table around it names the root hash; put right, the ciphertext is still another's.
    size = made.descriptor.model.size
    content = bytearray(made.image.read_bytes())
    content[PARTITION_OFFSET : PARTITION_OFFSET + size] = swapped.image.read_bytes()[PARTITION_OFFSET:][:size]
    swapped.image.write_bytes(content)
    assert verb("verify", "--image", swapped.image) == 1
    assert verb("verify", "--image", swapped.image, "--key", made.key_file) == 1


def test_the_descriptor_of_another_version_is_refused(
    made: Pack, verb: Verb, directory: Path, tmp_path: Path, tools: ToolsTree
) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    for path in directory.iterdir():
        (newer / path.name).write_bytes(path.read_bytes() + b"2")
    second = packed(newer, tmp_path / "second", tools, version="2")
    made.descriptor_file.write_bytes(second.descriptor_file.read_bytes())
    assert verb("verify") == 1
    assert verb("extract", "--key", made.key_file, "--output", tmp_path / "out") == 1


def test_the_key_of_another_pack_is_refused_before_it_is_used(
    made: Pack, verb: Verb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.key").write_bytes(bytes(32))
    for words in (("verify",), ("extract", "--output", tmp_path / "out")):
        assert verb(*words, "--key", tmp_path / "other.key") == 1
        assert made.descriptor.key_id.hex() in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_descriptor_of_a_stranger_is_refused_by_every_verb(
    made: Pack, verb: Verb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.write_descriptor(made.descriptor_file, made.descriptor, key=Ed25519PrivateKey.generate())
    key = ("--key", made.key_file, "--output", tmp_path / "out")
    for words in (("inspect",), ("verify",), ("extract", *key), ("rekey", *key)):
        assert verb(*words) == 1
        assert "out of 1 trusted keys" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_body_that_is_not_encrypted_is_refused(made: Pack, verb: Verb) -> None:
    model = made.descriptor.model
    content = bytearray(made.image.read_bytes())
    body = slice(PARTITION_OFFSET, PARTITION_OFFSET + model.size)
    content[body] = layout.decrypt(
        disk_key(made.key_file.read_bytes(), model.root_hash), content[body], first=0
    )
    made.image.write_bytes(content)
    assert verb("verify") == 1
    assert verb("verify", "--key", made.key_file) == 1


def test_extract_gives_back_the_files_and_nothing_else(
    made: Pack, verb: Verb, directory: Path, tmp_path: Path
) -> None:
    assert verb("extract", "--key", made.key_file, "--output", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in directory.iterdir()
    )
    for path in directory.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_extract_of_a_damaged_pack_leaves_no_file(made: Pack, verb: Verb, tmp_path: Path) -> None:
    flip(made.image, PARTITION_OFFSET + made.descriptor.model.hash_offset - 4096)
    assert verb("extract", "--key", made.key_file, "--output", tmp_path / "out") == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_rekey_keeps_the_root_hash_and_changes_every_sector(
    made: Pack, verb: Verb, directory: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    assert verb("rekey", "--key", made.key_file, "--output", new) == 0
    key = tmp_path / "owner.key"
    descriptor = owner.read_descriptor(new / "tiny.json", owner_key=key)
    assert descriptor.model == made.descriptor.model
    assert descriptor.key_id != made.descriptor.key_id
    size = made.descriptor.model.size
    old, fresh = (path.read_bytes()[PARTITION_OFFSET:][:size] for path in (made.image, new / "tiny.raw"))
    assert not any(old[place : place + 4096] == fresh[place : place + 4096] for place in range(0, size, 4096))
    words = ["weights", "extract", str(new / "tiny.json"), "--owner-key", str(key)]
    assert main([*words, "--key", str(new / "tiny.key"), "--output", str(tmp_path / "out")], {}) == 0
    for path in directory.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_rekey_of_a_damaged_pack_leaves_nothing(made: Pack, verb: Verb, tmp_path: Path) -> None:
    flip(made.image, PARTITION_OFFSET + made.descriptor.model.size - 1)
    assert verb("rekey", "--key", made.key_file, "--output", tmp_path / "new") == 1
    assert list((tmp_path / "new").iterdir()) == []


def test_rekey_under_the_same_key_or_in_place_is_refused(made: Pack, verb: Verb, tmp_path: Path) -> None:
    image = made.image.read_bytes()
    same = ("--key", made.key_file, "--new-key", made.key_file)
    assert verb("rekey", *same, "--output", tmp_path / "new") == 1
    assert verb("rekey", "--key", made.key_file, "--output", made.image.parent) == 1
    assert (made.image.read_bytes(), made.key_file.exists()) == (image, True)


def test_inspect_says_what_the_descriptor_says(
    made: Pack, verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb("inspect") == 0
    said = capsys.readouterr().out
    model = made.descriptor.model
    for text in (
        "tiny, version 1, epoch 1",
        model.root_hash.hex(),
        made.descriptor.key_id.hex(),
        "signature   good",
    ):
        assert text in said
    assert verb("inspect", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ciphertext_sha256"] == made.descriptor.ciphertext_sha256.hex()


def test_versions_and_epochs_of_one_model_have_one_image(
    made: Pack, directory: Path, tmp_path: Path, tools: ToolsTree
) -> None:
    label = Label(id="tiny", version="2.1", epoch=7)
    other = pack.write(
        directory,
        tmp_path / "again",
        label=label,
        file=None,
        key_file=made.key_file,
        owner=OWNER,
        tools=tools,
    )
    assert other.descriptor.model == dataclasses.replace(made.descriptor.model, version="2.1", epoch=7)
    assert other.image.read_bytes() == made.image.read_bytes()


@pytest.mark.parametrize("names", [("../evil",), ("a/b",), (".hidden",), ("",), ("twice", "twice")])
def test_a_signed_file_system_with_names_that_leave_the_directory_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(DecodeError, match="each once"):
        pack_extract.check_names([Extent(name=name, start=0, size=1) for name in names])


@pytest.mark.parametrize("kind", list(pack.Body))
def test_a_model_of_any_size_is_packed_and_verified_in_little_memory(
    kind: pack.Body, tmp_path: Path, tools: ToolsTree
) -> None:
    model = tmp_path / "large.gguf"
    model.write_bytes(tiny_gguf())
    os.truncate(model, 200 << 20)
    script = (
        "import resource, sys; from mantlet.cli import main; code = main(sys.argv[1:]);"
        "who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN);"
        "print(max(resource.getrusage(one).ru_maxrss for one in who), file=sys.stderr); sys.exit(code)"
    )
    key, out = tmp_path / "large.key", tmp_path / "out"
    body = ("--owner-key", tmp_path / "owner.key", "--key", key)
    (tmp_path / "owner.key").write_bytes(
        OWNER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    for words in (
        ("pack", model, "--id", "large", "--body", kind, "--output", out, *body),
        ("rekey", out / "large.json", "--output", tmp_path / "anew", *body),
        ("verify", out / "large.json", *body),
        ("extract", out / "large.json", "--output", out, *body),
    ):
        # A shell between: a process begins with the largest size of the one that started it.
        shell = ("/bin/sh", "-c", '"$0" "$@"; exit $?')
        argv = [*shell, sys.executable, "-c", script, "weights", *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
        # In KiB, of the largest process; 120 MB is the bound for a model of any size.
        assert int(done.stderr.splitlines()[-1]) < 120_000_000 // 1024

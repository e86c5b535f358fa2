# SPDX-License-Identifier: Apache-2.0
"""Packs made on disk, read back with tools that had no part in making them; and what bad input gets."""

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mantlet.edge import chunks, erofs, models, output, pack_disk, pack_journal, project
from mantlet.edge import pack as edge
from mantlet.edge.attack.tiny_gguf import tiny_gguf
from mantlet.edge.pack_files import Pack
from mantlet.edge.pack_plan import Label
from mantlet.edge.tools import ToolsTree
from mantlet.weights import pack
from mantlet.weights.disk import PARTITION_OFFSET
from mantlet_measure.disk_key import disk_key
from mantlet_measure.errors import DecodeError, MantletError, UnavailableError

OWNER = Ed25519PrivateKey.generate()
# The command itself, which is killed with all that it started: it knows the plan, and has encrypted nothing.
KILLED = """
import os, signal, sys
from mantlet.cli import main
from mantlet.edge import pack_plan
new = pack_plan.new
def new_and_die(*words, **named):
    new(*words, **named)
    os.killpg(0, signal.SIGKILL)
pack_plan.new = new_and_die
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_gguf())
    return path


def make(source: Path, directory: Path, tools: ToolsTree, *, key: Path | None = None) -> Pack:
    label = Label(id="tiny", version="1", epoch=1)
    return edge.write(source, directory, label=label, file=None, key_file=key, owner=OWNER, tools=tools)


def plaintext_of(made: Pack) -> bytearray:
    model = made.descriptor.model
    with made.image.open("rb") as image:
        image.seek(PARTITION_OFFSET)
        ciphertext = image.read(model.size)
    assert hashlib.sha256(ciphertext).digest() == made.descriptor.ciphertext_sha256
    return pack.decrypt(disk_key(made.key_file.read_bytes(), model.root_hash), ciphertext, first=0)


def call(
    *words: str | Path, under: tuple[str, ...] = (), cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    argv = [*under, sys.executable, "-m", "mantlet", "weights", "pack", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, cwd=cwd)


def documented(program: str, values: Mapping[str, str]) -> list[str]:
    """Return the words of a command of docs/formats.md, *Weights pack*, with its capitals filled in."""
    section = (project.root() / "docs/formats.md").read_text("utf-8").split("## Weights pack\n")[1]
    (line,) = re.findall(rf"^{re.escape(program)} .*$", section.split("\n## ")[0], re.MULTILINE)
    words = re.sub("|".join(sorted(values, key=len, reverse=True)), lambda found: values[found[0]], line)
    return words.split()


def test_the_commands_that_the_format_gives_open_the_pack(
    model: Path, tmp_path: Path, tools: ToolsTree
) -> None:
    made = make(model, tmp_path / "out", tools)
    facts = made.descriptor.model
    values = {
        "xts.key": str(tmp_path / "xts.key"),
        "PLAIN": str(tmp_path / "plain"),
        "FILES": str(tmp_path / "files"),
        "DATAKEY": made.key_file.read_bytes().hex(),
        "ROOT_HASH": facts.root_hash.hex(),
        "DATA_BLOCKS": str(facts.data_blocks),
        "HASH_OFFSET": str(facts.hash_offset),
        "SALT": facts.salt.hex(),
    }

    def run(program: str) -> None:
        argv = tools.command(documented(program, values), rw=[tmp_path])
        subprocess.run(argv, check=True, timeout=60, capture_output=True)

    run("openssl kdf")
    with made.image.open("rb") as image:
        image.seek(PARTITION_OFFSET)
        plain = pack.decrypt((tmp_path / "xts.key").read_bytes(), image.read(facts.size), first=0)
    (tmp_path / "plain").write_bytes(plain)
    run("veritysetup verify")
    run("fsck.erofs")
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["tiny.gguf"]
    assert (tmp_path / "files" / "tiny.gguf").read_bytes() == model.read_bytes()


def test_the_partition_stands_where_the_format_says(model: Path, tmp_path: Path, tools: ToolsTree) -> None:
    made = make(model, tmp_path / "out", tools)
    dump = subprocess.run(
        tools.command(["sfdisk", "--json", str(made.image)], ro=[made.image.parent]),
        capture_output=True,
        check=True,
        timeout=60,
    )
    (partition,) = json.loads(dump.stdout)["partitiontable"]["partitions"]
    assert partition["name"] == "mantlet-weights"
    assert partition["start"] * 512 == 1 << 20
    assert partition["size"] * 512 == made.descriptor.model.size


def test_two_packs_of_one_model_have_one_root_hash_and_differ_by_their_key(
    model: Path, tmp_path: Path, tools: ToolsTree
) -> None:
    one = make(model, tmp_path / "one", tools)
    # Nothing of the file but its name and bytes may enter the root hash.
    model.chmod(0o600)
    os.utime(model, (1, 1))
    other = make(model, tmp_path / "other", tools)
    assert one.descriptor.model == other.descriptor.model
    assert one.key_file.read_bytes() != other.key_file.read_bytes()
    assert one.descriptor.ciphertext_sha256 != other.descriptor.ciphertext_sha256
    assert plaintext_of(one) == plaintext_of(other)


def test_packing_again_with_the_same_key_gives_the_same_bytes(
    model: Path, tmp_path: Path, tools: ToolsTree
) -> None:
    first = hashlib.sha256(make(model, tmp_path / "out", tools).image.read_bytes()).digest()
    again = hashlib.sha256(make(model, tmp_path / "out", tools).image.read_bytes()).digest()
    assert first == again


def test_the_data_key_is_readable_by_its_owner_only(model: Path, tmp_path: Path, tools: ToolsTree) -> None:
    made = make(model, tmp_path / "out", tools)
    assert stat.S_IMODE(made.key_file.stat().st_mode) == 0o600
    assert made.key_file.read_bytes() not in made.image.read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny.json", "tiny.key", "tiny.raw"]


def test_a_model_of_several_chunks_and_files_is_packed_as_a_directory(
    tmp_path: Path, tools: ToolsTree
) -> None:
    directory = tmp_path / "sharded"
    directory.mkdir()
    for number in (1, 2):
        data = tiny_gguf() + hashlib.shake_256(bytes([number])).digest(9 << 20)
        (directory / f"model-0000{number}-of-00002.gguf").write_bytes(data)
    made = make(directory, tmp_path / "out", tools)
    assert made.descriptor.model.file == "model-00001-of-00002.gguf"
    plain = tmp_path / "plain"
    plain.write_bytes(plaintext_of(made))
    extract = ["fsck.erofs", f"--extract={tmp_path / 'files'}", str(plain)]
    subprocess.run(tools.command(extract, rw=[tmp_path]), check=True, timeout=60)
    for path in directory.iterdir():
        assert (tmp_path / "files" / path.name).read_bytes() == path.read_bytes()


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(DecodeError, match=r"expected a GGUF.*found b'PK"):
        models.inspect(path, file=None)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.touch()
    with pytest.raises(DecodeError, match="found an empty file"):
        models.inspect(path, file=None)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="found no file at all"):
        models.inspect(tmp_path, file=None)


def test_a_directory_inside_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    with pytest.raises(DecodeError, match="found a directory or a device"):
        models.inspect(tmp_path, file=None)


def test_a_name_that_the_deployment_document_cannot_carry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my model.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(DecodeError, match="expected a file name like"):
        models.inspect(path, file=None)


def test_a_model_that_is_not_there_could_not_be_asked(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        models.inspect(tmp_path / "model.gguf", file=None)


def test_a_key_file_of_another_kind_is_refused_and_kept(
    model: Path, tmp_path: Path, tools: ToolsTree
) -> None:
    key = tmp_path / "not.key"
    key.write_bytes(b"-----BEGIN PRIVATE KEY-----")
    with pytest.raises(DecodeError, match="expected 32 bytes, found 27"):
        make(model, tmp_path / "out", tools, key=key)
    assert key.read_bytes() == b"-----BEGIN PRIVATE KEY-----"
    assert not (tmp_path / "out").exists()


def test_a_full_disk_gives_exit_code_3_and_leaves_nothing(
    model: Path, tmp_path: Path, tools: ToolsTree
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    namespace = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
    script = 'mount -t tmpfs -o size=2m tmpfs "$0" && "$@"; code=$?; ls -A "$0"; exit $code'
    mounted = (*namespace, "sh", "-c", script, str(disk))
    done = call(model, "--id", "tiny", "--output", disk, under=mounted)
    assert done.returncode == 3
    assert "bytes of room" in done.stderr
    assert "hint: make room" in done.stderr
    assert done.stdout == ""


def test_a_killed_run_leaves_nothing_under_its_final_name_and_the_next_succeeds(
    tmp_path: Path, tools: ToolsTree
) -> None:
    source = tmp_path / "large.gguf"
    source.write_bytes(tiny_gguf())
    os.truncate(source, 64 << 20)
    out = tmp_path / "out"
    argv = [
        sys.executable,
        "-c",
        KILLED,
        "weights",
        "pack",
        str(source),
        "--id",
        "large",
        "--output",
        str(out),
    ]
    killed = subprocess.run(argv, capture_output=True, check=False, timeout=120, start_new_session=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in out.iterdir()] == [".large.partial"]
    assert (out / ".large.partial/rest").exists()
    again = call(source, "--id", "large", "--output", out)
    assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in out.iterdir()) == ["large.json", "large.key", "large.raw"]


def test_an_interrupted_run_goes_on_where_it_stopped_and_gives_the_same_bytes(
    tmp_path: Path, tools: ToolsTree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    large = tmp_path / "large.gguf"
    large.write_bytes(tiny_gguf() + hashlib.shake_256(b"large").digest(24 << 20))
    write = pack_journal.write

    def write_and_stop(path: Path, entry: pack_journal.Entry) -> None:
        write(path, entry)
        if entry.done:
            raise KeyboardInterrupt

    monkeypatch.setattr(pack_journal, "_ENTRY_EACH", chunks.CHUNK)
    with monkeypatch.context() as stopping:
        stopping.setattr(pack_journal, "write", write_and_stop)
        with pytest.raises(KeyboardInterrupt):
            make(large, tmp_path / "out", tools)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".tiny.partial", "tiny.key"]
    capsys.readouterr()
    resumed = make(large, tmp_path / "out", tools)
    assert "Going on where an earlier run stopped" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny.json", "tiny.key", "tiny.raw"]
    whole = make(large, tmp_path / "whole", tools, key=resumed.key_file)
    assert resumed.image.read_bytes() == whole.image.read_bytes()
    assert resumed.descriptor == whole.descriptor


@pytest.mark.parametrize("change", ["model", "key", "journal"])
def test_an_interrupted_run_starts_anew_when_the_model_the_key_or_the_journal_changed(
    change: str, model: Path, tmp_path: Path, tools: ToolsTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, journal: pack_journal.Journal, **__: object) -> None:
        pack_journal.write(journal.path, journal.entry)
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr(pack_disk, "encrypt", stop)
        with pytest.raises(KeyboardInterrupt):
            make(model, tmp_path / "out", tools)
    # What is left is spoilt: only a run that does not use it can succeed.
    left = tmp_path / "out" / ".tiny.partial"
    (left / "rest").write_bytes(b"spoilt")
    (left / "disk").write_bytes(b"spoilt")
    if change == "model":
        model.write_bytes(model.read_bytes() + b"!")
    elif change == "key":
        (tmp_path / "out" / "tiny.key").write_bytes(bytes(range(32)))
    else:
        (left / "journal").write_bytes(b"{")
    made = make(model, tmp_path / "out", tools)
    fresh = make(model, tmp_path / "fresh", tools, key=made.key_file)
    assert made.image.read_bytes() == fresh.image.read_bytes()


def test_a_tool_that_fails_before_it_reads_the_model_fails_the_pack(
    model: Path, tmp_path: Path, tools: ToolsTree
) -> None:
    source = erofs.Source(name=model.name, path=model, size=model.stat().st_size)
    with pytest.raises(MantletError, match=r"mkfs\.erofs"):
        erofs.write([source], tmp_path / "image", uuid="no-uuid", tools=tools)
    assert list(tmp_path.glob("*.tar")) == []


def replaced_at(step: str, model: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have somebody else write `data` to the model when the pack comes to a step of its story."""

    def tell(text: str) -> None:
        if text.startswith(step):
            model.write_bytes(data)

    monkeypatch.setattr(output, "step", tell)


def test_a_model_that_shrinks_while_it_is_read_could_not_be_packed(
    model: Path, tmp_path: Path, tools: ToolsTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced_at("Hashing", model, model.read_bytes()[:-1], monkeypatch)
    with pytest.raises(UnavailableError, match="the file shrank meanwhile"):
        make(model, tmp_path / "out", tools)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_that_shrinks_in_a_worker_process_could_not_be_packed(
    tmp_path: Path, tools: ToolsTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tmp_path / "large.gguf"
    large.write_bytes(tiny_gguf())
    os.truncate(large, 64 << 20)
    replaced_at("Encrypting", large, b"GGUF", monkeypatch)
    with pytest.raises(UnavailableError, match="the file shrank meanwhile"):
        make(large, tmp_path / "out", tools)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_that_changes_between_hashing_and_encryption_could_not_be_packed(
    model: Path, tmp_path: Path, tools: ToolsTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced_at("Encrypting", model, model.read_bytes()[:-1] + b"!", monkeypatch)
    with pytest.raises(UnavailableError, match="one changed meanwhile"):
        make(model, tmp_path / "out", tools)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_models_plaintext_is_nowhere_in_the_output(model: Path, tmp_path: Path, tools: ToolsTree) -> None:
    made = make(model, tmp_path / "out", tools)
    image, data = made.image.read_bytes(), model.read_bytes()
    assert not any(data[place : place + 64] in image for place in range(0, len(data) - 64, 4096))


@pytest.mark.usefixtures("tools")
def test_a_pack_goes_into_the_current_directory_unless_it_is_told_where(model: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    done = call("../tiny.gguf", "--id", "tiny", cwd=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == ["tiny.json", "tiny.key", "tiny.raw"]


def test_a_model_id_outside_its_alphabet_is_a_usage_error_of_one_line(model: Path) -> None:
    done = call(model, "--id", "My Model")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "expected a name like" in done.stderr

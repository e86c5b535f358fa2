# SPDX-License-Identifier: Apache-2.0
"""Real disks are opened without root and without mounts; what cannot be looked at is never "no findings"."""

import base64
import gzip
import json
from collections.abc import Callable
from uuid import UUID

import pytest

from mantlet.audit import engine
from mantlet.audit.finding import Policy
from mantlet.audit.tree import Tree
from mantlet.cli import main
from mantlet.edge import audited, audited_tree
from mantlet.edge.tools import ToolsTree
from mantlet.predict import pe
from mantlet.predict.authenticode import authenticode
from mantlet.predict.gpt import ESP
from mantlet_measure.errors import UnavailableError
from mantlet_measure.pcr import Bank
from tests.unit.audit import signed
from tests.unit.audit.disks import (
    SIGNATURE,
    UKI,
    VERITY,
    Bench,
    erofs,
    ext4,
    opened,
    signed_uki,
    squashfs,
    with_esp,
    written,
)
from tests.unit.audit.images import image, kernel
from tests.unit.predict import initrds, media, signing

BROKEN = gzip.compress(b"070701" + bytes(1 << 20))


@pytest.mark.parametrize("make", [erofs, squashfs, ext4])
def test_a_foreign_disk_is_looked_at_whatever_its_file_system(
    bench: Bench, make: Callable[[Bench], bytes]
) -> None:
    disk = written(bench, media.disk([(media.ROOT, make(bench)), (ESP, bench.esp({UKI: bench.uki()}))]))
    found = opened(disk)
    assert found["setuid"] == ["root:/usr/bin/su"]
    assert found["shells"] == ["initrd:/usr/bin/bash"]
    assert found["login-programs"] == ["root:/usr/bin/su"]
    assert found["verity-root-hash"] == [f"/{UKI}"]
    assert found["uki-signature"] == [f"/{UKI}"]
    assert found["unit-sandbox"] == ["root:loose.service"]
    assert ("file-capabilities" in found) == (make is ext4)


def test_debian_as_it_comes_has_the_ways_in_that_it_is_known_for(tools: ToolsTree) -> None:
    nodes = audited_tree.described(tools.root)
    debian = image(trees=(Tree(name="root", nodes=nodes),), kernels=(kernel(cmdline="quiet"),))
    found = {finding.rule for finding in engine.audit(debian, Policy()).findings}
    assert found >= {
        "cmdline-hardening", "core-dumps", "credential-import", "debug-shell", "emergency-shell", "getty",
        "gpt-auto", "package-managers", "serial-getty", "setuid", "shells", "ssh-generator",
        "verity-root-hash",
    }  # fmt: skip


def test_the_root_hash_is_computed_again_and_compared(bench: Bench) -> None:
    data = erofs(bench)
    # A block behind the file system, which is under the root hash too.
    data += bytes(-len(data) % 4096 + 4096)
    (bench.folder / "fs").write_bytes(data)
    said = bench.run("veritysetup", "format", str(bench.folder / "fs"), str(bench.folder / "tree")).decode()
    root_hash = next(line.split()[-1] for line in said.splitlines() if line.startswith("Root hash"))
    tree = (bench.folder / "tree").read_bytes()
    uki = signed_uki(bench, cmdline=f"roothash={root_hash}".encode())
    parts = [(media.ROOT, data), (VERITY, tree), (ESP, bench.esp({UKI: uki}))]

    def by(message: bytes) -> dict[str, list[str]]:
        value = {"rootHash": root_hash, "signature": base64.b64encode(message).decode()}
        content = json.dumps(value).encode()
        return opened(written(bench, media.disk([*parts, (SIGNATURE, content)])))

    sound = signed.detached(root_hash.encode(), name=signed.FIRMWARE)
    assert {"verity-root-hash", "verity-signature"} & by(sound).keys() == set()
    assert by(signed.message(root_hash.encode(), name=signed.FIRMWARE)).get("verity-signature") is None
    for other in (
        b"x",
        signed.detached(b"another", name=signed.FIRMWARE),
        signed.detached(root_hash.encode()),
        signed.message(root_hash.encode()),
    ):
        assert by(other)["verity-signature"] == ["root"]
    parts[0] = (media.ROOT, data[:-1] + bytes([data[-1] ^ 1]))
    altered = by(sound)
    assert altered["verity-root-hash"] == [f"/{UKI}"]
    assert altered["verity-signature"] == ["root"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda bench: bytes(4096), "partition table"),
        (lambda bench: b"x", "partition table"),
        (lambda bench: with_esp(bench, {"a": b"b"}), "UKI"),
        (lambda bench: media.disk([(media.ROOT, bytes(4096)), (ESP, bytes(4096))]), "system partition"),
        (lambda bench: with_esp(bench, {UKI: bench.uki()}), "file system"),
        (lambda bench: with_esp(bench, {UKI: bench.uki()}, root=erofs(bench)[:1200]), "file system"),
        (lambda bench: with_esp(bench, {UKI: bench.uki(initrd=BROKEN)}, root=erofs(bench)), "initrd"),
        (lambda bench: with_esp(bench, {UKI: bench.uki()}, root=erofs(bench))[: 2 << 20], "partition"),
    ],
    ids=["zeros", "a byte", "no UKI", "no FAT", "no file system", "part of erofs", "a bad initrd", "cut off"],
)
def test_what_cannot_be_looked_at_is_unavailable_and_says_what_is_missing(
    bench: Bench, content: Callable[[Bench], bytes], said: str
) -> None:
    disk = written(bench, content(bench))
    with pytest.raises(UnavailableError, match=said), audited.opened(disk):
        pytest.fail("an image that nobody can look at was opened")


def test_usr_alone_is_looked_at_under_its_name_and_an_unknown_partition_is_passed_over(
    bench: Bench,
) -> None:
    usr, data = UUID("8484680c-9521-48c6-9c11-b0720656f69e"), UUID(int=7)
    disk = written(
        bench, media.disk([(usr, erofs(bench)), (data, bytes(4096)), (ESP, bench.esp({UKI: bench.uki()}))])
    )
    found = opened(disk)
    assert found["setuid"] == ["root:/usr/usr/bin/su"]
    assert found["unverified-partition"] == ["partition 2 part"]


@pytest.mark.parametrize("altered", [False, True])
def test_a_signature_is_sound_for_its_own_uki_alone(bench: Bench, altered: bool) -> None:
    digest = authenticode(pe.decode(bench.uki()), Bank.SHA256)
    blob = signing.pkcs7(signing.Knobs(digest=bytes(32) if altered else digest))
    signed = signing.attach(bench.uki(), signing.entry(blob))
    found = opened(written(bench, with_esp(bench, {UKI: signed}, root=erofs(bench))))
    assert ("uki-signature" in found) == altered


def test_a_file_system_that_nothing_here_unpacks_is_named(bench: Bench) -> None:
    xfs = b"XFSB" + bytes(4092)
    disk = written(bench, with_esp(bench, {UKI: bench.uki()}, root=xfs))
    with pytest.raises(UnavailableError, match="found xfs"), audited.opened(disk):
        pytest.fail("a file system that nobody can look at was opened")


def test_a_hash_tree_of_another_form_is_not_taken_for_a_sound_one(bench: Bench) -> None:
    parts = [(media.ROOT, erofs(bench)), (VERITY, b"verity\0\0" + bytes(4088))]
    disk = written(bench, media.disk([*parts, (ESP, bench.esp({UKI: bench.uki()}))]))
    with pytest.raises(UnavailableError, match="dm-verity"), audited.opened(disk):
        pytest.fail("a hash tree that nobody computed was opened")


def test_attack_by_a_unit_that_an_initrd_writes_through_a_link_is_seen(bench: Bench) -> None:
    folders = ("usr", "usr/lib", "usr/lib/systemd", "usr/lib/systemd/system")
    hidden = b"".join(initrds.record(folder, b"", 0o040755) for folder in folders)
    hidden += initrds.cpio_of({"lib": "usr/lib", "lib/systemd/system/debug-shell.service": b"[Service]\n"})
    disk = written(bench, with_esp(bench, {UKI: bench.uki(initrd=hidden)}, root=erofs(bench)))
    assert opened(disk)["debug-shell"] == ["initrd:/usr/lib/systemd/system/debug-shell.service"]


def test_attack_by_an_initrd_that_grows_without_end_is_stopped(bench: Bench) -> None:
    entry = initrds.record("big", b"")
    size = f"{(3 << 30):08x}".encode()
    bomb = gzip.compress(entry[:54] + size + entry[62:] + bytes(8 << 20))
    disk = written(
        bench, media.disk([(media.ROOT, erofs(bench)), (ESP, bench.esp({UKI: bench.uki(initrd=bomb)}))])
    )
    with pytest.raises(UnavailableError, match="initrd"), audited.opened(disk):
        pytest.fail("a bomb was opened")


def test_the_verb_ends_with_one_for_findings_and_three_for_what_it_cannot_see(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = written(bench, media.disk([(media.ROOT, erofs(bench)), (ESP, bench.esp({UKI: bench.uki()}))]))
    page, log = bench.folder / "page.html", bench.folder / "log.sarif"
    assert main(["audit", str(disk), "--json", "--html", str(page), "--sarif", str(log)]) == 1
    assert json.loads(capsys.readouterr().out)["findings"]
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert json.loads(log.read_bytes())["runs"]
    disk.write_bytes(bytes(4096))
    assert main(["audit", str(disk), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["exit"] == 3

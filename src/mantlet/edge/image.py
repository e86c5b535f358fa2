# SPDX-License-Identifier: Apache-2.0
"""Build the image: mkosi makes root and UKI, this module the ESP around it and what belongs to a release.

A build is a directory that has its name only when all of it is there. The order of the steps is `build()`.
"""

import json
import shutil
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import contents, files, mirror, output, prediction, process, project, recipe
from mantlet.edge.keys import KeyFolder
from mantlet.edge.prediction import Inputs
from mantlet.edge.profile import Profile
from mantlet.edge.tools import ToolsTree
from mantlet.explain import inventory
from mantlet.predict import predict_boot, reference
from mantlet.predict.platform import QEMU_OVMF
from mantlet.release import manifest
from mantlet_measure import strictjson
from mantlet_measure.errors import DecodeError

_MEBI = 1 << 20
# FAT32 has at least 65,525 clusters; at one sector a cluster, 33 MiB are enough for them and their tables.
_ESP_MINIMUM = 34 * _MEBI
_ESP_MARGIN = 2 * _MEBI
_SECTOR = 512
_VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A finished build directory."""

    directory: Path

    def path(self, name: str) -> Path:
        """The path of one artefact."""
        return self.directory / name


def latest(kind: Profile = Profile.RELEASE) -> Path:
    """The directory that `build/latest` (or the other kind's link) points to; it may be missing."""
    return project.build_folder() / kind.link


def build(
    *, keys: KeyFolder, tools: ToolsTree, folder: Path | None = None, kind: Profile = Profile.RELEASE
) -> Build:
    """Build this checkout's image; ProcessError when a step fails, and nothing partial stays.

    folder: where the build and the link `latest` go (default: `build/`).
    """
    folder = folder or project.build_folder()
    folder.mkdir(exist_ok=True)
    with files.alone(folder / ".lock", wait=lambda: output.step("Waiting for another build in this folder…")):
        return _build(folder, keys=keys, tools=tools, kind=kind)


def _build(folder: Path, *, keys: KeyFolder, tools: ToolsTree, kind: Profile) -> Build:
    name = recipe.version(project.root(), kind)
    rendered = folder / ".recipe"
    image = render(rendered, name=name, keys=keys, kind=kind)
    final = folder / f"{image['id']}_{name.text}_x86-64"
    # What an interrupted build left, of this version or another, goes.
    for leftover in folder.glob(".*.partial"):
        shutil.rmtree(leftover)
    partial = files.new_directory(folder / f".{final.name}.partial")
    try:
        assemble(rendered, partial, image=image, epoch=name.epoch, keys=keys, tools=tools)
        output.step("Predicting PCRs…")
        (partial / "measurements.json").write_bytes(_predict(partial))
        (partial / inventory.CONTENTS).write_bytes(_contents(partial, tools=tools))
        files.replace_directory(final, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    files.link_atomic(folder / kind.link, final.name)
    return Build(directory=final)


def render(
    target: Path, *, name: recipe.Version, keys: KeyFolder, kind: Profile = Profile.RELEASE
) -> Mapping[str, object]:
    """Render this checkout's recipes into `target` with the mirror and the keys of this machine.

    DecodeError when the keys are for the other kind of image.
    """
    root = project.root()
    if keys.debug != (kind is Profile.DEBUG):
        raise ValueError("keys of a kind sign images of that kind")
    keys.secure_boot()
    output.step(f"Rendering the recipes for version {name.text}…")
    source = mirror.find(str(recipe.suite(root)))
    return recipe.render(root, target, name=name, mirror_uri=source.uri, keys=keys, kind=kind)


def assemble(
    rendered: Path,
    target: Path,
    *,
    image: Mapping[str, object],
    epoch: int,
    keys: KeyFolder,
    tools: ToolsTree,
) -> None:
    """Make what a machine boots from out of rendered recipes, in the empty directory `target`."""
    staging = target / "mkosi"
    output.step("Building root and UKI with mkosi…")
    run_mkosi(rendered, staging, tools=tools, log=target.parent / "mkosi.log")
    _collect(staging, target)
    shutil.rmtree(staging)
    _add_esp(target, image=image, epoch=epoch, tools=tools)
    _enrol(target, keys=keys, tools=tools)


def run_mkosi(rendered: Path, staging: Path, *, tools: ToolsTree, log: Path) -> None:
    """Run the tree's mkosi on the host's Python, with every program it calls from the tree.

    rendered: an mkosi tree; staging: made, for the artefacts; log: for what mkosi says, begun anew.
    """
    # Named by the tree's key: packages of another state of the mirror never meet.
    cache = project.tools_folder() / f"cache-{tools.key}"
    for part in ("packages", "incremental"):
        (cache / part).mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    staging.mkdir()
    workspace = files.new_directory(staging.with_name(f"{staging.name}-workspace"))
    process.run(
        [
            *(sys.executable, "-m", "mkosi", f"--tools-tree={tools.root}", "--incremental=yes"),
            *(f"--package-cache-dir={cache}/packages", f"--cache-dir={cache}/incremental"),
            *(f"--workspace-dir={workspace}", f"--output-dir={staging}", "--force", "build"),
        ],
        cwd=rendered,
        env={"PYTHONPATH": str(tools.root / "usr/lib/python3/dist-packages"), "PYTHONDONTWRITEBYTECODE": "1"},
        log=log,
    )
    shutil.rmtree(workspace)


def _collect(staging: Path, target: Path) -> None:
    """Give mkosi's artefacts the names of a release."""
    for theirs, ours in {
        "disk.raw": "disk.raw",
        "disk.efi": "uki.efi",
        "disk.root.raw": "root.raw",
        "disk.verity.raw": "root.verity",
        "disk.roothash": "roothash",
    }.items():
        (staging / theirs).rename(target / ours)
        (target / ours).chmod(0o644)
    packages = {
        part: _packages(staging / f"{file}.manifest")
        for part, file in (("root", "disk"), ("initrd", "initrd"))
    }
    (target / "packages.json").write_bytes(strictjson.encode(packages) + b"\n")


def _contents(target: Path, *, tools: ToolsTree) -> bytes:
    """Name what each file of root and initrd holds, so that two builds can be compared."""
    held = contents.listed(target / "root.raw", target / "uki.efi", scratch=target / "contents", tools=tools)
    return strictjson.encode(held) + b"\n"


def _packages(path: Path) -> list[dict[str, str]]:
    """Name, version and architecture of each package that mkosi's manifest lists."""
    listed = json.loads(path.read_bytes())["packages"]
    return [{key: str(entry[key]) for key in ("name", "version", "architecture")} for entry in listed]


def _add_esp(target: Path, *, image: Mapping[str, object], epoch: int, tools: ToolsTree) -> None:
    """Append the ESP: the UKI under the removable-media name, one byte that keeps PCR 9 predictable.

    mkosi is not asked for it because repart makes no FAT file system under 100 MB. The mixin: systemd 262,
    boot-secret.c — an ESP that has one of fewer than 32 bytes gets no boot secret, so no random initrd.
    """
    uki, esp, disk = target / "uki.efi", target / "esp.raw", target / "disk.raw"
    size = max(_ESP_MINIMUM, -(-(uki.stat().st_size + _ESP_MARGIN) // _MEBI) * _MEBI)
    seed = uuid.UUID(str(image["seed"]))
    mixin = target / "boot-secret-mixin"
    mixin.write_bytes(b"\0")
    with esp.open("wb") as file:
        file.truncate(size)
    in_tree = {"MTOOLS_SKIP_CHECK": "1", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(epoch)}

    def run(*argv: str) -> bytes:
        return process.run(tools.command(argv, rw=[target], env=in_tree)).stdout

    serial = uuid.uuid5(seed, "esp-serial").hex[:8]
    run("mkfs.vfat", "-F", "32", "-s", "1", "-n", "ESP", "-i", serial, "--invariant", str(esp))
    run("mmd", "-i", str(esp), "::/EFI", "::/EFI/BOOT", "::/loader")
    run("mcopy", "-i", str(esp), str(uki), "::/EFI/BOOT/BOOTX64.EFI")
    run("mcopy", "-i", str(esp), str(mixin), "::/loader/boot-secret-mixin")
    mixin.unlink()
    with disk.open("r+b") as whole:
        whole.truncate(disk.stat().st_size + size + _MEBI)
    run("sfdisk", "--quiet", "--relocate", "gpt-bak-std", str(disk))
    line = f"size={size // _SECTOR}, type=uefi, name=esp, uuid={uuid.uuid5(seed, 'esp')}\n"
    process.run(tools.command(["sfdisk", "--quiet", "--append", str(disk)], rw=[target]), stdin=line.encode())
    table = json.loads(run("sfdisk", "--json", str(disk)))["partitiontable"]
    start = next(int(entry["start"]) for entry in table["partitions"] if entry.get("name") == "esp")
    with disk.open("r+b") as whole, esp.open("rb") as content:
        whole.seek(start * _SECTOR)
        shutil.copyfileobj(content, whole)
    esp.unlink()


def _enrol(target: Path, *, keys: KeyFolder, tools: ToolsTree) -> None:
    """Write the firmware's variable store with our PK, KEK and db and no others, and EC2's form of it."""
    words = ["virt-fw-vars", "--input", _VARIABLES, "--output", str(target / "OVMF_VARS.fd")]
    for option, name in (("--set-pk", "PK"), ("--add-kek", "KEK"), ("--add-db", "db")):
        certificate = keys.folder / f"{name}.pem"
        # The owner of a signature list entry is a label; the same certificate always gets the same.
        owner = uuid.uuid5(uuid.NAMESPACE_OID, certificate.read_text("ascii"))
        words += [option, str(owner), str(certificate)]
    words += ["--secure-boot", "--output-aws", str(target / "uefi-data.aws")]
    certificates = [keys.folder / f"{name}.pem" for name in ("PK", "KEK", "db")]
    process.run(tools.command(words, ro=certificates, rw=[target]))


def _predict(target: Path) -> bytes:
    """Predict what a machine measures that boots the finished disk with the keys just enrolled."""
    boot = prediction.boot(Inputs(image=target, root_units=()))
    if not boot.secure_boot.enabled:
        raise DecodeError(
            "OVMF_VARS.fd",
            expected="Secure Boot on",
            found="off",
            hint="build again: the keys were not enrolled",
        )
    machine = prediction.read_platform(QEMU_OVMF)
    epoch = recipe.epoch(project.root())
    return manifest.encode(reference.manifest(boot, predict_boot(boot), machine, epoch=epoch))

# SPDX-License-Identifier: Apache-2.0
"""Makes an image to audit of a disk or a build folder: without booting it, without root, nothing mounted.

Owns what is looked for and where: partition table, EFI system partition, UKIs, file systems, and a manifest
beside the disk. Whatever cannot be looked at is an UnavailableError: a check that saw nothing must not count
as a check that found nothing.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mantlet.audit import allowed, layout
from mantlet.audit import policy as policies
from mantlet.audit.checks.volumes import BOOT_TYPES, ROOT_TYPES, SIGNATURE_TYPES, VERITY_TYPES
from mantlet.audit.finding import Policy
from mantlet.audit.image import Image
from mantlet.audit.tree import INITRD, ROOT, Node, Tree
from mantlet.edge import (
    audited_approvals,
    audited_kernel,
    audited_recipe,
    audited_tree,
    audited_units,
    audited_verity,
    files,
    project,
    strict_yaml,
)
from mantlet.edge.audited_approvals import Given
from mantlet.edge.audited_tree import FileSystem
from mantlet.edge.prediction import DISK_NAME, mapped
from mantlet.edge.tools import ToolsTree
from mantlet.predict import fat, gpt, pe, uki
from mantlet.predict.gpt import Table
from mantlet.predict.uki import Uki
from mantlet.release import manifest
from mantlet_measure.errors import DecodeError, MantletError, UnavailableError

MANIFEST_NAME = "measurements.json"
VARIABLES_NAME = "OVMF_VARS.fd"
POLICY_NAME = "audit.yaml"
LISTS_NAME = "allowed/mantlet.yaml"
_DISK_LIMIT = 1 << 44
_ESP_FILES, _ESP_DEPTH = 4096, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The files of the boot partitions: sizes, programs, and the UKIs among them."""

    sizes: dict[str, int]
    programs: set[str]
    ukis: dict[str, Uki]


@contextmanager
def opened(path: Path, recipe: Path | None = None, given: Given | None = None) -> Iterator[Image]:
    """Look at a disk, or at the disk of a build folder; the contents of its files live as long as the block.

    recipe: the folder of the mkosi recipe that it was built of, to be looked at as well. given: approvals of
    its boot, which need the manifest beside the disk.
    UnavailableError on everything that cannot be looked at: no partition table, no UKI, an unknown file
    system, a partition that is cut off, data that grow past the limits, a program that is missing.
    """
    disk = (path / DISK_NAME if path.is_dir() else path).resolve()
    with tempfile.TemporaryDirectory(prefix="mantlet-audit-") as scratch:
        try:
            image = _image(disk, Path(scratch))
            if recipe is not None:
                image = replace(image, recipe=audited_recipe.read(recipe))
            if given is not None:
                data = files.read(disk.with_name(MANIFEST_NAME), limit=manifest.LIMIT, what=manifest.WHAT)
                image = replace(image, approvals=audited_approvals.read(given, data))
        except UnavailableError:
            raise
        except MantletError as refusal:
            raise UnavailableError(refusal.message, hint=refusal.hint) from None
        yield image


def read_policy(path: Path | None, lists: Path | None = None) -> Policy:
    """Read a policy and the lists of what its image may hold; without paths those of this project.

    A policy that is given without lists has none.
    """
    folder = project.root() / "policies"
    value = strict_yaml.read(path or folder / POLICY_NAME, what=policies.WHAT)
    if lists is None and path is None:
        lists = folder / LISTS_NAME
    return policies.decode(
        value, None if lists is None else allowed.decode(strict_yaml.read(lists, what=allowed.WHAT))
    )


def _image(disk: Path, scratch: Path) -> Image:
    data = mapped(disk, limit=_DISK_LIMIT, what="disk")
    table = gpt.decode(data)
    found = _boot_files(data, table)
    if not found.ukis:
        raise UnavailableError(
            f"{disk}: expected a UKI on the EFI system partition, found none",
            hint="build the image with a UKI: other ways to boot are not audited",
        )
    store = disk.with_name(VARIABLES_NAME)
    kernels = tuple(audited_kernel.kernel(name, item, store) for name, item in found.ukis.items())
    signers = tuple(signer for item in kernels for signer in item.signers)
    tools = ToolsTree.current()
    root, folder = _root(disk, data, table, scratch, tools)
    return Image(
        id=next((item.image_id for item in found.ukis.values() if item.image_id), ""),
        partitions=table.partitions,
        esp=found.sizes,
        pe_files=frozenset(found.programs),
        kernels=kernels,
        volumes=audited_verity.volumes(data, table, signers),
        trees=(layout.placed(root, kernels), *_initrds(found.ukis, scratch)),
        enforced=_enforced(disk.with_name(MANIFEST_NAME)),
        exposures={} if folder is None else audited_units.exposures(root, folder, tools=tools),
    )


def _boot_files(data: memoryview, table: Table) -> _Found:
    found = _Found(sizes={}, programs=set(), ukis={})
    for partition in table.partitions:
        if str(partition.type) in BOOT_TYPES:
            volume = fat.decode(data[partition.offset : partition.offset + partition.size])
            _walk(volume, "", found, depth=0)
    return found


def _walk(volume: fat.Volume, folder: str, found: _Found, *, depth: int) -> None:
    for entry in volume.entries(folder or "/"):
        path = f"{folder}/{entry.name}"
        # Directories of a damaged volume may contain themselves.
        if depth > _ESP_DEPTH or len(found.sizes) >= _ESP_FILES:
            raise DecodeError(
                fat.WHAT, expected=f"at most {_ESP_FILES} files, {_ESP_DEPTH} deep", found="more"
            )
        if entry.is_directory:
            _walk(volume, path, found, depth=depth + 1)
            continue
        found.sizes[path] = entry.size
        if not 2 <= entry.size <= pe.LIMIT:
            continue
        content = volume.read(entry, limit=pe.LIMIT)
        if bytes(content[:2]) == b"MZ":
            found.programs.add(path)
            if pe.decode(content, what=path, taken=pe.Layout.FIRMWARE).section(".linux") is not None:
                found.ukis[path] = uki.decode(content)


def _root(
    disk: Path, data: memoryview, table: Table, scratch: Path, tools: ToolsTree
) -> tuple[Tree, Path | None]:
    """Return one tree of root, usr and what else holds a system, and the folder with the root itself."""
    root: Path | None = None
    merged: dict[str, Node] = {}
    complete = True
    others = {**BOOT_TYPES, **VERITY_TYPES, **SIGNATURE_TYPES}
    for partition in table.partitions:
        if str(partition.type) in others:
            continue
        of = ROOT_TYPES.get(str(partition.type))
        system = audited_tree.kind(data[partition.offset : partition.offset + partition.size])
        if of is None and not _holds_system(system):
            continue
        folder = scratch / f"partition-{partition.number}"
        nodes = audited_tree.unpack(disk, partition.offset, system, folder, tools=tools)
        root = folder if of == ROOT else root
        merged |= {f"/usr{path}": node for path, node in nodes.items()} if of == "usr" else nodes
        complete = complete and system not in audited_tree.WITHOUT_ATTRIBUTES
    if not merged:
        raise UnavailableError(
            f"{disk}: expected a file system of root or usr, found none",
            hint="audit the disk as it is shipped, with the file systems in it",
        )
    return Tree(name=ROOT, nodes=merged, has_attributes=complete), root


def _holds_system(system: FileSystem) -> bool:
    """Whether a partition of no known type is looked at: it may hold the system of another layout."""
    return system in (FileSystem.EROFS, FileSystem.SQUASHFS, FileSystem.EXT)


def _initrds(ukis: Mapping[str, Uki], scratch: Path) -> Iterator[Tree]:
    for number, item in enumerate(ukis.values(), start=1):
        name = INITRD if number == 1 else f"{INITRD} {number}"
        section = item.sections().get(".initrd")
        if section is not None:
            content = next(iter(item.image.loaded(section)), memoryview(b""))
            yield audited_tree.initrd(content, scratch / f"initrd-{number}", name=name)


def _enforced(path: Path) -> dict[str, tuple[int, ...]]:
    if not path.is_file():
        return {}
    decoded = manifest.decode(files.read(path, limit=manifest.LIMIT, what=manifest.WHAT))
    return {name: platform.enforced for name, platform in decoded.platforms.items()}

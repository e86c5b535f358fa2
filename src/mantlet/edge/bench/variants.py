# SPDX-License-Identifier: Apache-2.0
"""The images that ours is set beside: one boots to nothing, one opens no cipher, one plain mkosi makes.

All come from the recipes of this checkout, rendered as for a build, with less in them: they have the same
packages, share the same caches, and follow when the recipes change.
"""

import configparser
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mantlet.edge import files, image, process, project, recipe
from mantlet.edge.bench.site import Site
from mantlet.edge.machine import Hardware, Line, Machine
from mantlet.predict import pe
from mantlet_measure.errors import MantletError

REACHED = Line("reference", "reached")
_UNIT = "mantlet-reference.service"
# Written by systemd itself would be cheaper still, but it has no unit type that prints.
_UNIT_TEXT = f"""\
[Unit]
Description=Says that multi-user.target is reached
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/usr/bin/echo "mantlet {REACHED.stage} {REACHED.code}"
StandardOutput=file:/dev/ttyS0

[Install]
WantedBy=multi-user.target
"""
_ENABLED = ".wants/"
_OURS = ("mantlet-", "/usr/lib/modules-load.d/mantlet.conf")
_LAUNCH = "mantlet_agent/launch.py"
# The last definition of a name counts. All else of the stage, the reading ahead too, stays as it is.
_OPEN_PLAIN = """

def open_weights(places: Places, partition: Partition, model: Model, data_key: bytearray) -> Watch:
    kernel.wipe(data_key)
    places.weights.mkdir(mode=0o755, exist_ok=True)
    kernel.mount_read_only(partition.node, places.weights, _FILESYSTEM)
    check_model(places.weights / model.file)
    return _nothing
"""


def reference_machine(site: Site) -> Machine:
    """A machine with our kernel and initrd whose multi-user.target holds nothing but a line to print."""
    target = _assembled(site, "reference-image", _empty)
    hardware = Hardware(disk=target / "disk.raw", variables=target / "OVMF_VARS.fd")
    return site.new_machine("reference", hardware)


def plain_image(site: Site) -> Path:
    """Make the image whose agent mounts the weights' partition as it is; return its directory.

    It differs from ours in one function, and has reference values of its own.
    """
    target = _assembled(site, "plain-image", _open_plain)
    manifest = str(target / "measurements.json")
    process.run([sys.executable, "-m", "mantlet", "predict", str(target), "--output", manifest])
    return target


def _open_plain(rendered: Path) -> None:
    """Have the agent mount the weights' partition as it is."""
    with (rendered / "mkosi.extra" / "usr" / "lib" / "mantlet" / _LAUNCH).open("a", encoding="utf-8") as file:
        file.write(_OPEN_PLAIN)


def _assembled(site: Site, name: str, change: Callable[[Path], None]) -> Path:
    """Render the recipes, change them, and make the image; return its directory, in a folder of this name."""
    folder = files.new_directory(site.folder / name)
    rendered, target = folder / "recipe", folder / "image"
    version = recipe.version(project.root())
    parameters = image.render(rendered, name=version, keys=site.keys)
    change(rendered)
    target.mkdir()
    image.assemble(rendered, target, image=parameters, epoch=version.epoch, keys=site.keys, tools=site.tools)
    _require_same_start(site.build, target)
    return target


def _require_same_start(build: Path, reference: Path) -> None:
    """Refuse a reference whose kernel or initrd is not the build's, byte for byte."""
    for section in (".linux", ".initrd"):
        if _section(build / "uki.efi", section) != _section(reference / "uki.efi", section):
            raise MantletError(
                f"reference image: expected the {section} of {build.name}, found another",
                hint="it is of another state of the recipes: `scripts/just build-image`, then the same again",
            )


def _section(uki: Path, name: str) -> bytes:
    decoded = pe.decode(files.read(uki, limit=pe.LIMIT, what="UKI"))
    found = next(section for section in decoded.sections if section.name == name)
    return bytes(decoded.data[found.raw_offset : found.raw_offset + found.virtual_size])


def _empty(rendered: Path) -> None:
    """Enable nothing but the unit that prints, and keep no unit of ours but that one."""
    system = rendered / "mkosi.extra" / "usr" / "lib" / "systemd"
    for unit in (system / "system").glob("mantlet-*"):
        unit.unlink()
    (system / "system" / _UNIT).write_text(_UNIT_TEXT, "utf-8")
    preset = system / "system-preset" / "00-mantlet.preset"
    lines = preset.read_text("utf-8").splitlines()
    kept = [line for line in lines if not any(f"enable {name}" in line for name in _OURS)]
    preset.write_text("\n".join([f"enable {_UNIT}", *kept, ""]), "utf-8")
    keep = rendered / "keep" / "root.list"
    lines = keep.read_text("utf-8").splitlines()
    kept = [line for line in lines if not (_ENABLED in line and any(name in line for name in _OURS))]
    kept = [line for line in kept if line != _OURS[-1]]
    wanted = f"/etc/systemd/system/multi-user.target.wants/{_UNIT}"
    keep.write_text("\n".join([*kept, "/usr/bin/echo", wanted, ""]), "utf-8")


def plain_recipe(site: Site, target: Path) -> None:
    """Render an mkosi tree with our packages and kernel modules, without files, scripts and signatures."""
    image.render(target, name=recipe.version(project.root()), keys=site.keys)
    for extra in ("mkosi.extra", "mkosi.repart", "mkosi.images/initrd/mkosi.extra"):
        shutil.rmtree(target / extra)
    _drop(target / "mkosi.conf", sections=("Validation",), settings={"Output": ("SplitArtifacts",)})
    _drop(target / "mkosi.images" / "initrd" / "mkosi.conf", sections=(), settings={})


def _drop(path: Path, *, sections: Sequence[str], settings: Mapping[str, Sequence[str]]) -> None:
    """Take sections and settings out of a file of mkosi's settings, and in any case what runs our scripts."""
    parser = configparser.RawConfigParser(strict=True, empty_lines_in_values=False)
    # The way that configparser documents to keep the case of names.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text("utf-8"))
    for section in sections:
        parser.remove_section(section)
    for section, names in {"Build": ("Environment",), "Content": ("FinalizeScripts",), **settings}.items():
        for name in names:
            parser.remove_option(section, name)
    with path.open("w", encoding="utf-8") as file:
        parser.write(file, space_around_delimiters=False)

# SPDX-License-Identifier: Apache-2.0
"""Render `image/` for one build: Jinja2 templates, the agent's code and units, keys that the image trusts.

What comes out is a plain mkosi tree in an ignored folder. Names that a template uses and nobody defines are
errors.
"""

import shutil
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from mantlet.edge import execution_policy, process, profile
from mantlet.edge.keys import KeyFolder
from mantlet.edge.mirror import KEYRING
from mantlet.edge.profile import Profile
from mantlet_measure import strictjson

_UNIT_FOLDERS = {
    ".service": ("usr/lib/systemd/system", ""),
    ".rules": ("usr/lib/udev/rules.d", ""),
    ".preset": ("usr/lib/systemd/system-preset", ""),
    ".sysusers": ("usr/lib/sysusers.d", ".conf"),
    ".tmpfiles": ("usr/lib/tmpfiles.d", ".conf"),
    ".modules": ("usr/lib/modules-load.d", ".conf"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What the image calls itself, and the time stamp of everything in it (seconds since 1970)."""

    text: str
    epoch: int


def parameters(root: Path, kind: Profile = Profile.RELEASE) -> dict[str, object]:
    """Read `image/parameters.yaml` and the policies that the image carries, by the names templates use."""

    def load(name: str) -> Any:
        return yaml.safe_load((root / name).read_text("utf-8"))

    image = load("image/parameters.yaml")
    return {
        "image": {**image, **profile.parameters(root)} if kind is Profile.DEBUG else image,
        "runtime": load("policies/runtime/llama-server.yaml"),
        "front": load("policies/front.yaml"),
        "fuse": load("policies/fuse.yaml"),
    }


def suite(root: Path) -> str:
    """The suite that the image is made of."""
    return str(_parameter(root, "suite"))


def image_id(root: Path) -> str:
    """The id of the image that a release is built of."""
    return str(_parameter(root, "id"))


def epoch(root: Path) -> int:
    """The epoch of the image: raised when a release withdraws those before it."""
    return int(_parameter(root, "epoch"))


def _parameter(root: Path, name: str) -> Any:
    return yaml.safe_load((root / "image" / "parameters.yaml").read_text("utf-8"))[name]


def version(root: Path, kind: Profile = Profile.RELEASE) -> Version:
    """Take the version from the last commit that touched what enters the image, and say what is newer."""
    inputs = ["--", *kind.inputs]
    git = ["git", "-C", str(root)]
    commit = process.run(
        [*git, "log", "-1", "--format=%ct %cd", "--date=format-local:%Y%m%d.%H%M%S", *inputs],
        env={"TZ": "UTC"},
    )
    words = commit.stdout.decode().split()
    changed = process.run([*git, "status", "--porcelain", *inputs]).stdout.strip()
    if len(words) != 2:
        return Version(text="0.uncommitted", epoch=0)
    return Version(text=words[1] + (".modified" if changed else ""), epoch=int(words[0]))


def render(
    root: Path,
    target: Path,
    *,
    name: Version,
    mirror_uri: str,
    keys: KeyFolder,
    kind: Profile = Profile.RELEASE,
) -> Mapping[str, object]:
    """Render the recipes of the checkout `root` into `target`, made anew; return the image's parameters."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(root / "image", target, symlinks=True)
    shutil.rmtree(target / "debug")
    if kind is Profile.DEBUG:
        profile.lay_over(root, target)
    context = parameters(root, kind)
    context["build"] = {
        "version": name.text,
        "source_date_epoch": name.epoch,
        "mirror": mirror_uri,
        "keyring": str(KEYRING),
        "key_folder": str(keys.folder),
    }
    extra = target / "mkosi.extra"
    _place_units(root / "agent" / "units", extra)
    _render_templates(target, context)
    execution_policy.sign_all(target, keys)
    library = extra / "usr" / "lib" / "mantlet"
    _place_agent(root / "agent", library)
    for policy in ("runtime", "fuse"):
        (library / f"{policy}.json").write_bytes(strictjson.encode(context[policy]))
    keys.deployment()
    (library / "trust").mkdir()
    shutil.copyfile(keys.folder / "deployment.pem", library / "trust" / "deployment.pem")
    image = context["image"]
    if not isinstance(image, dict):
        raise TypeError("image/parameters.yaml is a mapping; its schema is tested")
    return image


def _place_units(units: Path, extra: Path) -> None:
    for unit in sorted(units.iterdir()):
        plain = unit.name.removesuffix(".j2")
        folder, suffix = _UNIT_FOLDERS[Path(plain).suffix]
        placed = f"{Path(plain).stem}{suffix}" if suffix else plain
        target = extra / folder / (placed + (".j2" if unit.suffix == ".j2" else ""))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(unit, target)


def _render_templates(target: Path, context: Mapping[str, object]) -> None:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(target),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        # systemd units, nginx and mkosi settings: nothing that a browser reads.
        autoescape=False,  # noqa: S701, see above
    )
    for template in sorted(target.rglob("*.j2")):
        text = environment.get_template(template.relative_to(target).as_posix()).render(context)
        template.with_suffix("").write_text(text, "utf-8")
        template.unlink()


def _place_agent(project: Path, library: Path) -> None:
    """Unpack the agent's wheel: its files and nothing that tells when, where or by whom it was built."""
    wheels = library.parent / "wheel"
    process.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
            *("--wheel-dir", str(wheels), str(project)),
        ]
    )
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if ".dist-info/" not in member:
                archive.extract(member, library)
    shutil.rmtree(wheels)

# SPDX-License-Identifier: Apache-2.0
"""The two images that a checkout builds, and what each has of its own: recipe, keys, link.

`release` is the sealed image. `debug` is the same with its closures taken away (image/debug): another id,
other keys, another name in `build/`. It lays the debug image's files over a copy of the recipes, and says
nothing about what they open: image/debug/openings.yaml does.
"""

import shutil
from enum import StrEnum
from pathlib import Path

import yaml

from mantlet.edge import project
from mantlet.edge.keys import KeyFolder
from mantlet_measure.errors import DecodeError

_OVERLAY = Path("image/debug")
_PROGRAMS = Path("agent/debug")
_APPENDED, _REMOVED = ".add", ".less"


class Profile(StrEnum):
    """Which image is built."""

    RELEASE = "release"
    DEBUG = "debug"

    @property
    def link(self) -> str:
        """The name in `build/` that points to its last build."""
        return "latest" if self is Profile.RELEASE else "latest-debug"

    @property
    def inputs(self) -> tuple[str, ...]:
        """What enters the image, as git names it: the version is that of the last commit there."""
        shared = ("image", "agent", "policies")
        only_debug = (f":(exclude){_OVERLAY}", f":(exclude){_PROGRAMS}")
        return shared if self is Profile.DEBUG else (*shared, *only_debug)

    def keys(self) -> KeyFolder:
        """The keys that sign for it, and for it alone."""
        folder = project.key_folder()
        return KeyFolder(folder) if self is Profile.RELEASE else KeyFolder(folder / "debug", debug=True)


def parameters(root: Path) -> dict[str, object]:
    """The parameters of the debug image that are not those of the release's."""
    loaded = yaml.safe_load((root / _OVERLAY / "parameters.yaml").read_text("utf-8"))
    if not isinstance(loaded, dict):
        raise TypeError("image/debug/parameters.yaml is a mapping; its schema is tested")
    return loaded


def lay_over(root: Path, target: Path) -> None:
    """Lay the debug image's files over a copy of image/ in `target`, before it is rendered.

    A file takes the place of the one of its path, NAME.add is put behind NAME, lines of NAME.less are taken
    out of it, absent.list names what goes.
    DecodeError when it names what is not there: then the recipe has moved on and the debug image has not.
    """
    for name in _listed(root / _OVERLAY / "absent.list"):
        path = target / name
        if not (path.is_symlink() or path.exists()):
            raise _moved_on("absent.list", expected="paths of image/", found=name)
        path.unlink()
    shutil.copytree(root / _OVERLAY / "over", target, symlinks=True, dirs_exist_ok=True)
    for more in sorted(target.rglob(f"*{_APPENDED}")):
        with more.with_suffix("").open("a", encoding="utf-8") as base:
            base.write(more.read_text("utf-8"))
        more.unlink()
    for less in sorted(target.rglob(f"*{_REMOVED}")):
        whole = less.with_suffix("")
        lines, unwanted = whole.read_text("utf-8").splitlines(), _listed(less)
        if strange := sorted(set(unwanted) - set(lines)):
            raise _moved_on(less.name, expected=f"lines of {whole.name}", found=strange[0])
        whole.write_text("".join(f"{line}\n" for line in lines if line not in unwanted), "utf-8")
        less.unlink()
    programs = target / "mkosi.extra/usr/lib/mantlet-debug"
    programs.mkdir(parents=True, exist_ok=True)
    for program in sorted((root / _PROGRAMS).glob("*.py")):
        shutil.copyfile(program, programs / program.name)


def _listed(path: Path) -> list[str]:
    lines = path.read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _moved_on(name: str, *, expected: str, found: str) -> DecodeError:
    return DecodeError(
        f"{_OVERLAY}/{name}",
        expected=expected,
        found=found,
        hint="take the line out, or name what has taken its place",
    )

# SPDX-License-Identifier: Apache-2.0
"""What an outcome depends on: the engine, the machine, the families that share its boot; no other family."""

import shutil
from pathlib import Path

import pytest

from mantlet.attack import catalogue
from mantlet.attack.catalogue import credentials
from mantlet.attack.model import Attack
from mantlet.edge.attack import kept

(ALONE,) = catalogue.chosen(only=("no-tpm",))
SHARED = next(attack for attack in catalogue.CATALOGUE if attack.group == credentials.GROUP)
PACKAGE = Path(kept.__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, which the key is made over."""
    for folder in ("attack", "edge/attack"):
        shutil.copytree(PACKAGE / folder, tmp_path / folder)
    for path in (PACKAGE / "edge").glob("*.py"):
        shutil.copy(path, tmp_path / "edge")
    monkeypatch.setattr(kept, "_PACKAGE", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        pytest.param("attack/signs.py", {"alone", "shared"}, id="engine"),
        pytest.param("edge/attack/boot.py", {"alone", "shared"}, id="engine-edge"),
        pytest.param("edge/accelerator.py", {"alone", "shared"}, id="machine"),
        pytest.param("edge/audited.py", set(), id="no-part-of-it"),
        pytest.param("attack/catalogue/tpm.py", {"alone"}, id="own-family"),
        pytest.param("attack/catalogue/inputs.py", {"shared"}, id="family-in-the-same-boot"),
        pytest.param("attack/catalogue/runtime.py", set(), id="other-family"),
    ],
)
def test_an_edit_makes_stale_what_depends_on_it(package: Path, changed: str, stale: set[str]) -> None:
    attacks: dict[str, Attack] = {"alone": ALONE, "shared": SHARED}
    before = {name: kept.source_sha256(attack) for name, attack in attacks.items()}
    with (package / changed).open("a") as file:
        file.write("# An edit.\n")
    assert {name for name, attack in attacks.items() if kept.source_sha256(attack) != before[name]} == stale


def test_an_edit_of_the_catalogue_is_not_taken_for_one_of_the_engine(package: Path) -> None:
    before = kept.source_sha256(ALONE)
    (package / "attack/catalogue/another.py").write_text("")
    assert kept.source_sha256(ALONE) == before


def test_what_shares_a_boot_is_found_by_its_group() -> None:
    assert catalogue.beside(ALONE) == (ALONE,)
    together = catalogue.beside(SHARED)
    assert SHARED in together
    assert {attack.group for attack in together} == {credentials.GROUP}


def test_the_family_of_every_attack_is_a_module_of_the_catalogue() -> None:
    folder = PACKAGE / "attack" / "catalogue"
    assert [
        each.id for each in catalogue.CATALOGUE if not (folder / f"{catalogue.family(each)}.py").exists()
    ] == []

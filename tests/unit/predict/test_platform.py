# SPDX-License-Identifier: Apache-2.0
"""Tests of the platform files: shape, and that what others published agrees with what is computed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mantlet.edge import prediction
from mantlet.predict import platform, predict_boot
from mantlet.predict.boot import SecureBootState
from mantlet.predict.platform import Constant, Machine, When
from mantlet.release.manifest import Proof
from mantlet_measure.errors import DecodeError, MantletError
from mantlet_measure.pcr import ENFORCED, Bank, replay
from tests.unit.predict.boots import NO_KEYS, boot

FILES = sorted((Path(__file__).parents[3] / "policies" / "platforms").glob("*.yaml"))
MACHINES = [platform.decode(yaml.safe_load(path.read_bytes())) for path in FILES]
CONSTANTS = [(machine.name, constant) for machine in MACHINES for constant in machine.constants]


def test_each_platform_stands_in_the_file_of_its_name() -> None:
    assert [machine.name for machine in MACHINES] == [path.stem for path in FILES]
    assert {machine.name for machine in MACHINES} == {
        "azure-trusted-launch",
        "ec2-nitrotpm",
        "gce",
        "qemu-ovmf",
    }


def test_only_the_platform_that_the_tests_boot_says_so() -> None:
    assert [machine.name for machine in MACHINES if machine.tested is Proof.BOOTED] == ["qemu-ovmf"]
    assert next(machine for machine in MACHINES if machine.name == "qemu-ovmf").enforced == ENFORCED


def test_every_value_and_difference_has_a_source() -> None:
    assert all(constant.source for _, constant in CONSTANTS)
    assert all(item.source for machine in MACHINES for item in machine.differences)


@pytest.mark.parametrize(
    "constant",
    [constant for _, constant in CONSTANTS if constant.when is When.SETUP_MODE],
    ids=lambda constant: f"{constant.register}-{constant.bank}",
)
def test_register_7_in_setup_mode_is_the_one_that_others_published(constant: Constant) -> None:
    state = SecureBootState(enabled=False, keys=NO_KEYS)
    predicted = predict_boot(boot(secure_boot=state))[constant.register]
    assert (
        replay(constant.bank, (event.digests[constant.bank] for event in predicted.events)) == constant.value
    )


@pytest.mark.parametrize(
    "constant", [constant for _, constant in CONSTANTS if constant.when is When.BEFORE_OS_SEPARATOR]
)
def test_register_that_holds_the_separator_alone_is_the_one_that_others_published(constant: Constant) -> None:
    assert replay(constant.bank, [constant.bank.digest(bytes(4))]) == constant.value


def _document() -> dict[str, Any]:
    value = yaml.safe_load(FILES[-1].read_bytes())
    assert isinstance(value, dict)
    return value


SHORT = {"register": 0, "bank": "sha256", "value": "00", "when": "always", "source": "x"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": "mantlet-platform/v2"}, "mantlet-platform/v1"),
        ({"name": "Bad Name"}, "a string like"),
        ({"tested": "believed"}, "booted"),
        ({"banks": ["sha384", "sha256"]}, "in this order"),
        ({"banks": ["md5"]}, "in this order"),
        ({"enforced": [16]}, "registers from 0 to 15"),
        ({"enforced": [7, 4]}, "in order"),
        ({"enforced": [True, 4]}, "in order"),
        ({"recorded": [0, 4]}, "no register both"),
        (
            {
                "constants": [
                    {"register": 0, "bank": "sha256", "value": "00", "when": "always", "source": "x"}
                ]
            },
            "32",
        ),
        ({"constants": [{"register": 0}]}, "bank"),
        ({"differences": [{"register": 99, "text": "x", "source": "y"}]}, "from 0 to 15"),
        ({"unknown": 1}, "no other member"),
    ],
)
def test_platform_out_of_shape_is_refused(change: dict[str, object], expected: str) -> None:
    with pytest.raises(DecodeError, match=expected):
        platform.decode(_document() | change)


def test_platform_is_named_or_given_as_a_file(tmp_path: Path) -> None:
    named = prediction.read_platform("gce")
    assert isinstance(named, Machine)
    assert Bank.SHA384 in named.banks
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(_document() | {"name": "own"}))
    assert prediction.read_platform(str(own)).name == "own"


@pytest.mark.parametrize("name", ["mainframe", "../platforms/gce", ""])
def test_unknown_platform_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(MantletError, match="azure-trusted-launch, ec2-nitrotpm, gce, qemu-ovmf"):
        prediction.read_platform(name)

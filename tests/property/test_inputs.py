# SPDX-License-Identifier: Apache-2.0
"""One flipped bit in whatever is measured beside the UKI moves a register, and `explain` names which one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mantlet.explain import account
from mantlet.explain.explanation import explain
from mantlet.predict import pe, predict_boot
from mantlet.predict.boot import Boot, BootSecret, Loader, SecureBootState
from mantlet.predict.variables import SecureBootKeys
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import BANKS
from tests.unit.predict import boots, media, synthetic

KEYS = {name: bytes(range(number, 64 + number)) for number, name in enumerate(("pk", "kek", "db", "dbx"))}
LOADER = synthetic.uki(
    {".sdmagic": b"#### LoaderInfo: systemd-boot 257.9-1 ####\0", ".text": b"a boot loader"}
)
CONFIGURATION = b"timeout 3\ndefault mantlet*\n"
ADDON = {".sdmagic": boots.stub("257.9-1"), ".cmdline": b"quiet"}
EVENT = media.header(bytes(128 * 128), blocks=4096, first=34) + bytes(8)


def _keys(name: str) -> Callable[[bytes], dict[str, Any]]:
    return lambda data: {
        "secure_boot": SecureBootState(enabled=False, keys=SecureBootKeys(**{**KEYS, name: data}))
    }


def _loader(data: bytes, configuration: bytes) -> dict[str, Any]:
    image = pe.decode(data, what="boot loader", taken=pe.Layout.FIRMWARE)
    return {"loader": Loader(image=image, version=257, configuration=configuration)}


class Input(NamedTuple):
    """One measured input: its sound content, the boot fields that carry it, and its register."""

    content: bytes
    fields: Callable[[bytes], dict[str, Any]]
    register: int


INPUTS = {
    **{name: Input(KEYS[name], _keys(name), 7) for name in KEYS},
    "partition table": Input(EVENT, lambda data: {"gpt_event": data}, 5),
    "boot loader": Input(LOADER, lambda data: _loader(data, CONFIGURATION), 4),
    "loader.conf": Input(CONFIGURATION, lambda data: _loader(LOADER, data), 5),
    "add-on": Input(
        synthetic.uki(ADDON),
        lambda data: {
            "addons": (replace(boots.addon("a.addon.efi", ADDON), image=pe.decode(data, what="add-on")),)
        },
        4,
    ),
}


def _boot(item: Input, data: bytes) -> Boot:
    usual: dict[str, Any] = {
        "secure_boot": SecureBootState(enabled=False, keys=SecureBootKeys(**KEYS)),
        "gpt_event": EVENT,
        "boot_secret": BootSecret.ABSENT,
    }
    return boots.boot(257, **{**usual, **item.fields(data)})


def _account(boot: Boot, name: str) -> account.Account:
    return account.of_predictions(predict_boot(boot, banks=BANKS), name=name, banks=BANKS)


@pytest.mark.parametrize("name", INPUTS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_one_flipped_bit_in_a_measured_input_moves_its_register_and_is_named(
    name: str, data: st.DataObject
) -> None:
    item = INPUTS[name]
    bit = data.draw(st.integers(0, 8 * len(item.content) - 1))
    flipped = bytearray(item.content)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        other = _account(_boot(item, bytes(flipped)), "observed")
    except MantletError:
        return  # Nothing that a boot could be predicted of any more.
    expected = _account(_boot(item, item.content), "expected")
    found = explain(expected, other)
    if pe_checksum(name, bit):
        # The one field of an image that no hash covers (EDK2, MeasureBootPeCoff.c, step 4).
        return
    assert not found.equal
    named = {register for finding in found.findings for register in finding.registers}
    assert item.register in named, [finding.words for finding in found.findings]


def pe_checksum(name: str, bit: int) -> bool:
    """Whether the bit is of the checksum, or of the certificate table's directory entry."""
    if name not in ("boot loader", "add-on"):
        return False
    optional = synthetic.OPTIONAL
    unhashed = (range(optional + 64, optional + 68), range(optional + 144, optional + 152))
    return any(bit // 8 in places for places in unhashed)

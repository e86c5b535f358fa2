# SPDX-License-Identifier: Apache-2.0
"""Properties of extend, of canonical JSON, and of prediction under a flipped bit."""

from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mantlet.predict import boot_loader, extensions, initrd, kernel_boot, kernel_config, uki
from mantlet.predict.boot import ExtraKind
from mantlet.predict.uki import UnpredictableError
from mantlet_measure import strictjson, volume
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import BANKS, Bank, Event, extend, replay, zero
from tests.unit.predict import synthetic
from tests.unit.predict.boots import boot, extra

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="ascii")), inner, max_size=4)
    ),
    max_leaves=12,
)
DIGESTS = {bank: st.lists(st.binary(min_size=bank.size, max_size=bank.size), max_size=6) for bank in BANKS}


@pytest.mark.parametrize("bank", BANKS)
@given(data=st.data())
def test_replay_is_the_fold_of_extend(bank: Bank, data: st.DataObject) -> None:
    digests = data.draw(DIGESTS[bank])
    assert replay(bank, digests) == reduce(
        lambda value, digest: extend(bank, value, digest), digests, zero(bank)
    )


@pytest.mark.parametrize("bank", BANKS)
@given(data=st.data())
def test_replay_continues_where_another_stopped(bank: Bank, data: st.DataObject) -> None:
    first, second = data.draw(DIGESTS[bank]), data.draw(DIGESTS[bank])
    assert replay(bank, second, start=replay(bank, first)) == replay(bank, first + second)


@given(value=JSON)
def test_canonical_json_survives_a_round_trip(value: object) -> None:
    encoded = strictjson.encode(value)
    decoded = strictjson.decode(encoded, what="sample")
    assert decoded == value
    assert strictjson.encode(decoded) == encoded


@given(payload=st.binary(min_size=1, max_size=300), behind=st.binary(max_size=40))
def test_slot_survives_a_round_trip(payload: bytes, behind: bytes) -> None:
    assert volume.decode_slot(volume.encode_slot(payload) + behind) == payload


UKI = synthetic.uki()
MEASURED = (".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat")


def _events(data: bytes) -> tuple[tuple[Event, ...], ...]:
    started = boot(uki.decode(data))
    return tuple(module.events(started).events for module in (boot_loader, initrd, kernel_boot))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_one_flipped_bit_in_any_measured_section_changes_the_registers(data: st.DataObject) -> None:
    image = uki.decode(UKI).image
    section = image.section(data.draw(st.sampled_from(MEASURED)))
    assert section is not None
    bit = data.draw(st.integers(0, 8 * section.virtual_size - 1))
    flipped = bytearray(UKI)
    flipped[section.raw_offset + bit // 8] ^= 1 << bit % 8
    try:
        loader, _, kernel = _events(bytes(flipped))
    except (DecodeError, UnpredictableError):
        return  # No longer a UKI whose boot anybody predicts.
    assert loader != _events(UKI)[0]
    assert kernel != _events(UKI)[2]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_flipped_bit_in_the_initrd_changes_register_9_too(data: st.DataObject) -> None:
    section = uki.decode(UKI).image.section(".initrd")
    assert section is not None
    bit = data.draw(st.integers(0, 8 * section.virtual_size - 1))
    flipped = bytearray(UKI)
    flipped[section.raw_offset + bit // 8] ^= 1 << bit % 8
    assert _events(bytes(flipped))[1] != _events(UKI)[1]


FILES = {
    ExtraKind.CREDENTIAL: ("a.cred", kernel_config),
    ExtraKind.GLOBAL_CREDENTIAL: ("a.cred", kernel_config),
    ExtraKind.SYSEXT: ("a.raw", extensions),
    ExtraKind.GLOBAL_CONFEXT: ("a.confext.raw", kernel_config),
}


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(list(FILES)), content=st.binary(min_size=1, max_size=200), data=st.data())
def test_one_flipped_bit_in_a_file_beside_the_uki_changes_two_registers(
    kind: ExtraKind, content: bytes, data: st.DataObject
) -> None:
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    name, register = FILES[kind]
    plain, changed = (boot(extras=(extra(kind, name, item),)) for item in (content, bytes(flipped)))
    for module in (initrd, register):
        assert module.events(plain) != module.events(changed)

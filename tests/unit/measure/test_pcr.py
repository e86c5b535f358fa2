# SPDX-License-Identifier: Apache-2.0
"""Tests of banks, registers and extend."""

import hashlib

import pytest

from mantlet_measure.pcr import (
    ALL_BANKS,
    BANKS,
    ENFORCED,
    Bank,
    Register,
    extend,
    measured,
    replay,
    replay_events,
    zero,
)


@pytest.mark.parametrize("bank", ALL_BANKS)
def test_extend_is_the_hash_of_value_and_digest(bank: Bank) -> None:
    digest = hashlib.new(bank.value, b"word").digest()
    assert extend(bank, zero(bank), digest) == hashlib.new(bank.value, bytes(bank.size) + digest).digest()


def test_the_separated_register_has_the_value_that_a_real_boot_showed() -> None:
    # Quoted by a TPM after a boot of systemd 262 whose registers 12 to 14 held nothing but the os-separator.
    event = measured(12, b"os-separator", type="os-separator", description="os-separator")
    value = replay(Bank.SHA256, [event.digests[Bank.SHA256]])
    assert value.hex() == "3345a4e7857aa5ae65e97702ade84a3755fd6144724779536b5773128676c99c"


def test_banks_have_the_identifiers_of_the_tcg_registry() -> None:
    # TCG Algorithm Registry 1.34, table 3.
    assert [(bank.value, bank.size, bank.tpm_alg) for bank in ALL_BANKS] == [
        ("sha1", 20, 0x4),
        ("sha256", 32, 0xB),
        ("sha384", 48, 0xC),
        ("sha512", 64, 0xD),
    ]


def test_the_quoted_banks_are_two_of_all() -> None:
    assert BANKS == (Bank.SHA256, Bank.SHA384)


@pytest.mark.parametrize("bank", ALL_BANKS)
def test_digest_is_the_hash_that_the_bank_is_named_after(bank: Bank) -> None:
    assert bank.digest(b"word") == hashlib.new(bank.value, b"word").digest()
    assert len(bank.digest(b"")) == bank.size


def test_measuring_hashes_into_the_banks_that_are_asked_for() -> None:
    assert set(measured(9, b"x", type="t", description="d").digests) == set(BANKS)
    event = measured(9, b"x", type="t", description="d", banks=ALL_BANKS)
    assert event.digests == {bank: bank.digest(b"x") for bank in ALL_BANKS}


def test_event_without_a_digest_of_the_bank_cannot_be_replayed() -> None:
    event = measured(9, b"x", type="t", description="d", banks=(Bank.SHA256,))
    with pytest.raises(ValueError, match="register 9 has no digest of bank sha384"):
        replay_events(Bank.SHA384, (event,))


def test_digest_of_the_other_bank_is_refused() -> None:
    with pytest.raises(ValueError, match="sha384 extends 48 bytes"):
        extend(Bank.SHA384, bytes(48), bytes(32))


def test_enforced_registers_are_quoted_registers() -> None:
    assert set(ENFORCED) < {int(register) for register in Register}


def test_locality_of_startup_is_the_last_byte_of_register_zero() -> None:
    assert replay_events(Bank.SHA256, (), locality=3)[0] == bytes(31) + b"\x03"
    assert replay_events(Bank.SHA256, (), locality=3)[1] == bytes(32)


def test_events_extend_only_their_own_register() -> None:
    event = measured(9, b"x", type="t", description="d")
    values = replay_events(Bank.SHA384, (event, event))
    assert values[9] == replay(Bank.SHA384, [event.digests[Bank.SHA384]] * 2)
    assert all(value == bytes(48) for register, value in values.items() if register != 9)

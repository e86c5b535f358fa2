# SPDX-License-Identifier: Apache-2.0
"""The epoch counter on a software TPM: defined once, raised by signature alone, lowered by nobody.

What an attacker does here he does with the TPM in his hands: between two boots, with every hierarchy that has
no password, and with the platform's, which a hypervisor has.
"""

import dataclasses
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import (
    ESYS_TR,
    TPM2B_NV_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_NV,
    TPMS_NV_PUBLIC,
    TSS2_Exception,
)

from mantlet.weights.approve import policy_key_public, sign_policy
from mantlet_agent import epoch, ownership
from mantlet_agent.attest import Attester
from mantlet_agent.stages import Code, StageError
from mantlet_agent.tpm import SRK_HANDLE, Tpm
from mantlet_agent.unseal import SealedRelease
from mantlet_measure.epoch import EpochStatement, encode
from mantlet_measure.epoch_counter import EpochCounter
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import ENFORCED
from mantlet_measure.words import CAP
from tests.sealing import WORDS, Owner, with_words
from tests.tpm.conftest import Chip


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def counter(owner: Owner) -> EpochCounter:
    return EpochCounter(policy_key=policy_key_public(owner.policy_key.public_key()))


def provided(tpm: Tpm, owner: Owner, *, epoch: int) -> Handover:
    return owner.provide(tpm.storage_root()[1].marshal(), with_words(tpm.read(ENFORCED)), epoch=epoch)


def boot(tpm: Tpm, given: Handover) -> bytearray:
    """Do what a boot does up to the cap."""
    for _, word in WORDS:
        tpm.extend(15, word.encode())
    return SealedRelease(tpm, given.sealed_key, given.approvals).data_key()


def refusal(tpm: Tpm, given: Handover) -> Code:
    with pytest.raises(StageError) as error:
        boot(tpm, given)
    return error.value.code


def apply(tpm: Tpm, counter: EpochCounter, statement: EpochStatement) -> tuple[Code, int]:
    """Apply a statement; return what came of it and where the counter stands."""
    index = tpm.esapi.tr_from_tpmpublic(counter.handle)
    try:
        code = epoch.apply(tpm, counter, index, encode(statement))
    except StageError as refused:
        code = refused.code
    return code, epoch.value(tpm, index)


def test_name_and_public_area_are_those_that_the_tpm_reports(tpm: Tpm, counter: EpochCounter) -> None:
    area, _ = TPMS_NV_PUBLIC.unmarshal(counter.public(written=False))
    index = tpm.esapi.nv_define_space(None, TPM2B_NV_PUBLIC(nvPublic=area))
    public, name = tpm.esapi.nv_read_public(index)
    assert public.nvPublic.marshal() == counter.public(written=False)
    assert bytes(name) == counter.name(written=False)
    index = ownership.take(tpm, counter)
    public, name = tpm.esapi.nv_read_public(index)
    assert public.nvPublic.marshal() == counter.public(written=True)
    assert bytes(name) == counter.name(written=True)
    assert public.nvPublic.attributes & TPMA_NV.WRITTEN


def test_a_new_tpm_starts_at_epoch_one(tpm: Tpm, counter: EpochCounter) -> None:
    assert epoch.value(tpm, ownership.take(tpm, counter)) == 1


def test_every_boot_after_the_first_finds_what_the_first_has_left(chip: Chip, owner: Owner) -> None:
    with chip.on() as tpm:
        given = provided(tpm, owner, epoch=1)
        assert boot(tpm, given) == owner.data_key
    for _ in range(2):
        with chip.on() as tpm:
            assert boot(tpm, given) == owner.data_key
            assert tpm.storage_root_is_persistent()


def test_an_older_epoch_gets_no_key_and_a_newer_one_does(
    chip: Chip, owner: Owner, counter: EpochCounter
) -> None:
    with chip.on() as tpm:
        old, new = (provided(tpm, owner, epoch=number) for number in (2, 3))
        assert boot(tpm, old) == owner.data_key
        assert apply(tpm, counter, owner.raise_epoch(3)) == (Code.EPOCH_RAISED, 3)
    with chip.on() as tpm:
        assert refusal(tpm, old) is Code.EPOCH_PAST
    with chip.on() as tpm:
        assert boot(tpm, new) == owner.data_key


def test_a_statement_counts_up_once_and_a_replayed_or_lower_one_does_nothing(
    tpm: Tpm, owner: Owner, counter: EpochCounter
) -> None:
    ownership.take(tpm, counter)
    fifth, third = owner.raise_epoch(5), owner.raise_epoch(3)
    assert apply(tpm, counter, fifth) == (Code.EPOCH_RAISED, 5)
    assert apply(tpm, counter, fifth) == (Code.OK, 5)
    assert apply(tpm, counter, third) == (Code.OK, 5)


def test_a_statement_can_go_up_hundreds_of_epochs_and_not_thousands(
    tpm: Tpm, owner: Owner, counter: EpochCounter
) -> None:
    ownership.take(tpm, counter)
    assert apply(tpm, counter, owner.raise_epoch(1 + 4097)) == (Code.EPOCH_REFUSED, 1)
    assert apply(tpm, counter, owner.raise_epoch(300)) == (Code.EPOCH_RAISED, 300)


def forged_by_another_key(owner: Owner) -> EpochStatement:
    statement = owner.raise_epoch(9)
    signature = sign_policy(
        statement.policy,
        policy_ref="mantlet/epoch",
        policy_key=ec.generate_private_key(ec.SECP256R1()),
    )
    return dataclasses.replace(statement, signature=signature)


def of_another_policy_key(owner: Owner) -> EpochStatement:
    return Owner().raise_epoch(9)


def with_a_higher_number(owner: Owner) -> EpochStatement:
    statement = owner.raise_epoch(2)
    return dataclasses.replace(statement, epoch=9)


def with_a_higher_number_and_its_policy(owner: Owner) -> EpochStatement:
    return dataclasses.replace(owner.raise_epoch(9), signature=owner.raise_epoch(2).signature)


def signed_for_another_purpose(owner: Owner) -> EpochStatement:
    statement = owner.raise_epoch(9)
    signature = sign_policy(statement.policy, policy_ref="mantlet/weights/tiny", policy_key=owner.policy_key)
    return dataclasses.replace(statement, signature=signature)


def without_a_signature(owner: Owner) -> EpochStatement:
    return dataclasses.replace(owner.raise_epoch(9), signature=b"")


@pytest.mark.parametrize(
    "forge",
    [
        forged_by_another_key,
        of_another_policy_key,
        with_a_higher_number,
        with_a_higher_number_and_its_policy,
        signed_for_another_purpose,
        without_a_signature,
    ],
)
def test_a_forged_statement_is_refused_and_does_nothing(
    tpm: Tpm, owner: Owner, counter: EpochCounter, forge: Callable[[Owner], EpochStatement]
) -> None:
    ownership.take(tpm, counter)
    assert apply(tpm, counter, forge(owner)) == (Code.EPOCH_REFUSED, 1)


def test_what_is_no_statement_is_refused(tpm: Tpm, counter: EpochCounter) -> None:
    index = ownership.take(tpm, counter)
    with pytest.raises(StageError) as error:
        epoch.apply(tpm, counter, index, b"{}")
    assert error.value.code is Code.EPOCH_REFUSED


def test_nobody_increments_the_counter_without_a_statement(tpm: Tpm, counter: EpochCounter) -> None:
    index = ownership.take(tpm, counter)
    with pytest.raises(StageError):
        # What set the start: its policy holds for an index that was never written, and for no other.
        ownership._start(tpm, counter, index)
    with pytest.raises(TSS2_Exception):
        tpm.esapi.nv_increment(index)
    with pytest.raises(TSS2_Exception):
        tpm.esapi.nv_increment(index, auth_handle=ESYS_TR.OWNER)
    assert epoch.value(tpm, index) == 1


def test_a_first_boot_that_was_cut_short_is_finished_by_the_next(
    chip: Chip, owner: Owner, counter: EpochCounter
) -> None:
    with chip.on() as tpm:
        given = provided(tpm, owner, epoch=1)
        ownership._keep_storage_root(tpm)
        ownership._define(tpm, counter)
    with chip.on() as tpm:
        index = tpm.esapi.tr_from_tpmpublic(counter.handle)
        ownership._start(tpm, counter, index)
    with chip.on() as tpm:
        tpm.esapi.clear_control(ESYS_TR.LOCKOUT, True)
        tpm.esapi.hierarchy_change_auth(ESYS_TR.LOCKOUT, secrets.token_bytes(32))
    with chip.on() as tpm:
        assert boot(tpm, given) == owner.data_key
        assert epoch.value(tpm, tpm.esapi.tr_from_tpmpublic(counter.handle)) == 1
        assert closed(tpm)


def closed(tpm: Tpm) -> bool:
    wanted = ownership._OWNER_AUTH_SET | ownership._LOCKOUT_AUTH_SET | ownership._DISABLE_CLEAR
    return ownership._permanent(tpm) & wanted == wanted


def undefine(tpm: Tpm, counter: EpochCounter) -> None:
    """Remove the index with the platform's authorization, which the agent cannot take."""
    index = tpm.esapi.tr_from_tpmpublic(counter.handle)
    tpm.esapi.nv_undefine_space(index, auth_handle=ESYS_TR.PLATFORM)


def test_a_deleted_counter_is_missed(chip: Chip, owner: Owner, counter: EpochCounter) -> None:
    with chip.on() as tpm:
        given = provided(tpm, owner, epoch=1)
        boot(tpm, given)
        undefine(tpm, counter)
    with chip.on() as tpm:
        assert refusal(tpm, given) is Code.EPOCH_COUNTER_ABSENT


def test_a_counter_that_the_platform_created_again_is_foreign(
    chip: Chip, owner: Owner, counter: EpochCounter
) -> None:
    with chip.on() as tpm:
        given = provided(tpm, owner, epoch=1)
        boot(tpm, given)
        undefine(tpm, counter)
        area, _ = TPMS_NV_PUBLIC.unmarshal(counter.public(written=False))
        area.attributes |= TPMA_NV.PLATFORMCREATE
        index = tpm.esapi.nv_define_space(None, TPM2B_NV_PUBLIC(nvPublic=area), auth_handle=ESYS_TR.PLATFORM)
        ownership._start(tpm, counter, index)
    with chip.on() as tpm:
        assert refusal(tpm, given) is Code.EPOCH_COUNTER_FOREIGN


@pytest.mark.parametrize(
    "change",
    [
        lambda area: setattr(area, "attributes", area.attributes | TPMA_NV.AUTHWRITE),
        lambda area: setattr(area, "attributes", area.attributes | TPMA_NV.OWNERWRITE),
        lambda area: setattr(area, "authPolicy", bytes(32)),
    ],
    ids=["a password may write", "the owner may write", "another policy"],
)
def test_a_counter_that_stood_there_before_the_first_boot_is_foreign(
    chip: Chip, owner: Owner, counter: EpochCounter, change: Callable[[Any], None]
) -> None:
    with chip.on() as tpm:
        given = provided(tpm, owner, epoch=1)
        area, _ = TPMS_NV_PUBLIC.unmarshal(counter.public(written=False))
        change(area)
        tpm.esapi.nv_define_space(None, TPM2B_NV_PUBLIC(nvPublic=area))
    with chip.on() as tpm:
        assert refusal(tpm, given) is Code.EPOCH_COUNTER_FOREIGN
        assert not closed(tpm)


def test_a_counter_that_is_created_again_before_there_is_an_owner_is_never_lower(
    chip: Chip, owner: Owner, counter: EpochCounter
) -> None:
    with chip.on() as tpm:
        old = provided(tpm, owner, epoch=3)
        index = ownership._define(tpm, counter)
        ownership._start(tpm, counter, index)
        assert apply(tpm, counter, owner.raise_epoch(4)) == (Code.EPOCH_RAISED, 4)
        tpm.esapi.nv_undefine_space(tpm.esapi.tr_from_tpmpublic(counter.handle))
    with chip.on() as tpm:
        # Part 1, *NV Counters*: a new counter starts above every value that a counter of this TPM ever had.
        assert refusal(tpm, old) is Code.EPOCH_PAST
        assert epoch.value(tpm, tpm.esapi.tr_from_tpmpublic(counter.handle)) > 4


def test_a_cleared_tpm_opens_nothing_any_more(chip: Chip, owner: Owner) -> None:
    with chip.on() as tpm:
        given = provided(tpm, owner, epoch=1)
        boot(tpm, given)
        # The platform can allow again what the agent has disabled.
        tpm.esapi.clear_control(ESYS_TR.PLATFORM, False)
        tpm.esapi.clear(ESYS_TR.PLATFORM)
    with chip.on() as tpm:
        assert refusal(tpm, given) is Code.SEALED_KEY_FOREIGN


def test_the_tpm_of_another_machine_opens_nothing(new_chip: Callable[[], Chip], owner: Owner) -> None:
    with new_chip().on() as tpm:
        tpm.esapi.clear(ESYS_TR.LOCKOUT)
        given = provided(tpm, owner, epoch=1)
    with new_chip().on() as other:
        assert refusal(other, given) is Code.SEALED_KEY_FOREIGN
        assert not closed(other)


def test_a_second_policy_key_finds_the_tpm_owned(chip: Chip, owner: Owner) -> None:
    with chip.on() as tpm:
        boot(tpm, provided(tpm, owner, epoch=1))
    with chip.on() as tpm:
        assert refusal(tpm, provided(tpm, Owner(), epoch=1)) is Code.EPOCH_COUNTER_ABSENT


def test_another_key_in_the_place_of_the_storage_root_key_is_refused(tpm: Tpm, owner: Owner) -> None:
    handle, *_ = tpm.esapi.create_primary(TPM2B_SENSITIVE_CREATE(), "rsa2048:aes128cfb")
    tpm.esapi.evict_control(ESYS_TR.OWNER, handle, SRK_HANDLE)
    tpm.esapi.flush_context(handle)
    assert refusal(tpm, provided(tpm, owner, epoch=1)) is Code.STORAGE_KEY_FOREIGN
    assert not closed(tpm)


@pytest.mark.parametrize("again", [False, True], ids=["in the same boot", "in the next boot"])
def test_after_the_first_boot_nobody_commands_the_hierarchies(
    chip: Chip, owner: Owner, counter: EpochCounter, again: bool
) -> None:
    with chip.on() as tpm:
        given = provided(tpm, owner, epoch=1)
        boot(tpm, given)
        if not again:
            assert_closed(Tpm(tpm.esapi), counter)
    with chip.on() as tpm:
        if again:
            boot(tpm, given)
            assert_closed(tpm, counter)


def test_after_the_cap_the_tpm_still_extends_quotes_and_certifies(chip: Chip, owner: Owner) -> None:
    with chip.on() as tpm:
        given = provided(tpm, owner, epoch=1)
        boot(tpm, given)
    with chip.on() as tpm:
        boot(tpm, given)
        tpm.extend(15, CAP.encode())
        # What `serve` does, through a door of its own. Activation is tested in every boot that is verified.
        attester = Attester(Tpm(tpm.esapi))
        quote, quoted = attester._quote(bytes(32))
        assert quote.signature
        assert len(quoted) == 32
        assert attester._certify(bytes(32)).public == tpm.storage_root()[1].marshal()


def assert_closed(tpm: Tpm, counter: EpochCounter) -> None:
    esapi = tpm.esapi
    for handle in (ESYS_TR.OWNER, ESYS_TR.LOCKOUT):
        # This context knows the password that the agent has just made up; another one does not.
        esapi.tr_set_auth(handle, b"")
    index = esapi.tr_from_tpmpublic(counter.handle)
    persistent = esapi.tr_from_tpmpublic(SRK_HANDLE)
    area, _ = TPMS_NV_PUBLIC.unmarshal(counter.public(written=False))
    area.nvIndex += 1
    attempts: list[Callable[[], object]] = [
        lambda: esapi.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc:aes128cfb"),
        lambda: esapi.evict_control(ESYS_TR.OWNER, persistent, SRK_HANDLE),
        lambda: esapi.nv_define_space(None, TPM2B_NV_PUBLIC(nvPublic=area)),
        lambda: esapi.nv_undefine_space(index),
        lambda: esapi.hierarchy_change_auth(ESYS_TR.OWNER, b""),
        lambda: esapi.clear(ESYS_TR.LOCKOUT),
        lambda: esapi.clear_control(ESYS_TR.LOCKOUT, False),
        lambda: esapi.dictionary_attack_lock_reset(ESYS_TR.LOCKOUT),
    ]
    for attempt in attempts:
        with pytest.raises(TSS2_Exception):
            attempt()
    assert closed(tpm)

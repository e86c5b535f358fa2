# SPDX-License-Identifier: Apache-2.0
"""The agent's unsealing against a software TPM: released in the approved state, to nobody after the cap."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mantlet.weights.approve import merged, sign_policy
from mantlet.weights.seal import SealedModel
from mantlet_agent.stages import Code, StageError
from mantlet_agent.tpm import Tpm
from mantlet_agent.unseal import SealedRelease
from mantlet_measure.approvals import Approvals
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import BANKS, ENFORCED, Bank
from mantlet_measure.words import CAP
from tests.sealing import WORDS, Owner, with_words
from tests.tpm.conftest import Chip, running

# The kernel's own, of IMA.
UNENFORCED = 10


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def given(tpm: Tpm, owner: Owner) -> Handover:
    """A key sealed for the state in which the agent will be, computed before it is there."""
    return provided(tpm, owner)


def provided(tpm: Tpm, owner: Owner, *, epoch: int = 1) -> Handover:
    return owner.provide(srk(tpm), with_words(tpm.read(ENFORCED)), epoch=epoch)


def srk(tpm: Tpm) -> bytes:
    return tpm.storage_root()[1].marshal()


def extend_words(tpm: Tpm) -> None:
    for _, word in WORDS:
        tpm.extend(15, word.encode())


def released(tpm: Tpm, given: Handover) -> SealedRelease:
    return SealedRelease(tpm, given.sealed_key, given.approvals)


def refusal(tpm: Tpm, given: Handover) -> Code:
    with pytest.raises(StageError) as error:
        released(tpm, given).data_key()
    return error.value.code


def with_key(given: Handover, **changes: object) -> Handover:
    return dataclasses.replace(
        given,
        # Each test changes other members.
        sealed_key=dataclasses.replace(given.sealed_key, **changes),  # type: ignore[arg-type]  # any member
    )


def with_approval(given: Handover, **changes: object) -> Handover:
    (approval,) = given.approvals.approvals
    changed = dataclasses.replace(approval, **changes)  # type: ignore[arg-type]  # as above
    return dataclasses.replace(given, approvals=dataclasses.replace(given.approvals, approvals=(changed,)))


def test_the_key_is_released_in_the_approved_state(tpm: Tpm, given: Handover, owner: Owner) -> None:
    extend_words(tpm)
    assert released(tpm, given).data_key() == owner.data_key


def test_where_the_library_held_the_key_there_are_zeros(
    tpm: Tpm, given: Handover, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend_words(tpm)
    held: list[Any] = []
    unseal = tpm.esapi.unseal

    def watched(*arguments: Any, **options: Any) -> Any:
        held.append(unseal(*arguments, **options))
        return held[-1]

    monkeypatch.setattr(tpm.esapi, "unseal", watched)
    assert released(tpm, given).data_key() == owner.data_key
    assert bytes(held[0]) == bytes(len(owner.data_key))


def test_the_key_is_released_again_on_the_same_machine_as_long_as_there_is_no_cap(
    tpm: Tpm, given: Handover
) -> None:
    extend_words(tpm)
    assert released(tpm, given).data_key() == released(tpm, given).data_key()


def test_nothing_is_released_after_the_cap(tpm: Tpm, given: Handover) -> None:
    extend_words(tpm)
    release = released(tpm, given)
    release.data_key()
    tpm.extend(15, CAP.encode())
    release.prove_closed()
    # An agent that is started again in the same boot is where it was: behind the cap.
    assert refusal(tpm, given) is Code.SEALED_KEY_UNAPPROVED


def test_a_cap_that_was_not_extended_is_noticed(tpm: Tpm, given: Handover) -> None:
    extend_words(tpm)
    release = released(tpm, given)
    release.data_key()
    with pytest.raises(StageError) as error:
        release.prove_closed()
    assert error.value.code is Code.CAP_NOT_EFFECTIVE


class Restless:
    """Somebody extends a register between the look at all of them and the question."""

    def __init__(self, tpm: Tpm, monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
        self.left = times
        authorize = SealedRelease._authorize

        def extended_meanwhile(release: SealedRelease, *words: Any) -> None:
            if self.left:
                self.left -= 1
                tpm.extend(UNENFORCED, b"meanwhile")
            authorize(release, *words)

        monkeypatch.setattr(SealedRelease, "_authorize", extended_meanwhile)


def test_a_register_that_is_extended_meanwhile_is_no_refusal(
    tpm: Tpm, given: Handover, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend_words(tpm)
    restless = Restless(tpm, monkeypatch, times=3)
    release = released(tpm, given)
    assert release.data_key() == owner.data_key
    assert restless.left == 0


def test_a_machine_whose_registers_never_rest_gets_no_key(
    tpm: Tpm, given: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend_words(tpm)
    Restless(tpm, monkeypatch, times=1000)
    assert refusal(tpm, given) is Code.SEALED_KEY_REFUSED


def test_an_enforced_register_that_is_extended_meanwhile_keeps_the_key_closed(
    tpm: Tpm, given: Handover, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend_words(tpm)
    monkeypatch.setattr(f"{__name__}.UNENFORCED", 12)
    Restless(tpm, monkeypatch, times=1)
    assert refusal(tpm, given) is Code.SEALED_KEY_UNAPPROVED


@pytest.mark.parametrize("register", ENFORCED)
def test_one_more_event_in_an_enforced_register_keeps_the_key_closed(
    tpm: Tpm, given: Handover, register: int
) -> None:
    extend_words(tpm)
    tpm.extend(register, b"something else was measured")
    assert refusal(tpm, given) is Code.SEALED_KEY_UNAPPROVED


@pytest.mark.parametrize("register", ENFORCED)
@pytest.mark.parametrize("bank", BANKS)
def test_an_approval_of_registers_with_one_flipped_bit_keeps_the_key_closed(
    tpm: Tpm, owner: Owner, bank: Bank, register: int
) -> None:
    registers = {key: dict(values) for key, values in with_words(tpm.read(ENFORCED)).items()}
    value = bytearray(registers[bank][register])
    value[-1] ^= 1
    registers[bank][register] = bytes(value)
    given = owner.provide(srk(tpm), registers)
    extend_words(tpm)
    assert refusal(tpm, given) is Code.SEALED_KEY_UNAPPROVED


def test_a_boot_without_the_agents_words_keeps_the_key_closed(tpm: Tpm, given: Handover) -> None:
    assert refusal(tpm, given) is Code.SEALED_KEY_UNAPPROVED


def test_the_approval_of_this_boot_is_found_among_those_of_other_releases(
    tpm: Tpm, given: Handover, owner: Owner
) -> None:
    others = owner.approve(tpm.read(ENFORCED))
    extend_words(tpm)
    assert released(tpm, dataclasses.replace(given, approvals=merged(given.approvals, others))).data_key()


def test_an_approval_of_this_state_by_another_key_is_refused(tpm: Tpm, given: Handover) -> None:
    extend_words(tpm)
    (approval,) = given.approvals.approvals
    signature = sign_policy(
        approval.policy,
        policy_ref=given.approvals.policy_ref,
        policy_key=ec.generate_private_key(ec.SECP256R1()),
    )
    assert refusal(tpm, with_approval(given, signature=signature)) is Code.SEALED_KEY_REFUSED


def test_a_forged_epoch_is_no_approval_of_this_boot(tpm: Tpm, given: Handover) -> None:
    extend_words(tpm)
    assert refusal(tpm, with_approval(given, epoch=7)) is Code.SEALED_KEY_UNAPPROVED


def test_the_tpm_refuses_an_approval_of_another_state_by_itself(tpm: Tpm, given: Handover) -> None:
    extend_words(tpm)
    release = released(tpm, given)
    release.data_key()
    tpm.extend(11, b"another phase")
    # Silence is the TPM's double refusal: PolicyAuthorize with TPM_RC_VALUE, Unseal with TPM_RC_POLICY_FAIL.
    release.prove_closed()


def test_an_approval_of_another_policy_reference_is_foreign(tpm: Tpm, given: Handover) -> None:
    extend_words(tpm)
    owner = Owner(SealedModel(id="other", root_hash=bytes(32)))
    owner.policy_key = ec.generate_private_key(ec.SECP256R1())
    approvals = owner.approve(with_words(tpm.read(ENFORCED)))
    for swapped in (approvals, dataclasses.replace(approvals, policy_key=given.approvals.policy_key)):
        assert refusal(tpm, dataclasses.replace(given, approvals=swapped)) is Code.APPROVALS_FOREIGN


def test_a_swapped_policy_reference_is_refused_by_the_tpm_as_well(
    tpm: Tpm, given: Handover, owner: Owner
) -> None:
    extend_words(tpm)
    other = "mantlet/weights/other"
    (approval,) = given.approvals.approvals
    signature = sign_policy(approval.policy, policy_ref=other, policy_key=owner.policy_key)
    swapped = with_key(with_approval(given, signature=signature), policy_ref=other)
    swapped = dataclasses.replace(swapped, approvals=dataclasses.replace(swapped.approvals, policy_ref=other))
    assert refusal(tpm, swapped) is Code.SEALED_KEY_REFUSED


def test_approvals_that_name_another_policy_key_are_foreign(tpm: Tpm, given: Handover) -> None:
    stranger: Approvals = Owner().approve(with_words(tpm.read(ENFORCED)))
    extend_words(tpm)
    assert refusal(tpm, dataclasses.replace(given, approvals=stranger)) is Code.APPROVALS_FOREIGN


def test_blob_and_approvals_of_two_owners_swapped_are_refused_by_the_tpm_as_well(
    tpm: Tpm, given: Handover
) -> None:
    registers = with_words(tpm.read(ENFORCED))
    stranger = Owner()
    extend_words(tpm)
    # The blob's own policy names the key that may approve; what the document says of it changes nothing.
    theirs = with_key(given, policy_key=stranger.approve(registers).policy_key)
    assert refusal(tpm, dataclasses.replace(theirs, approvals=stranger.approve(registers))) in (
        Code.SEALED_KEY_REFUSED,
        Code.EPOCH_COUNTER_ABSENT,
    )


def test_a_key_under_another_name_is_foreign(tpm: Tpm, given: Handover) -> None:
    extend_words(tpm)
    assert refusal(tpm, with_key(given, key_id=bytes(16))) is Code.SEALED_KEY_FOREIGN


def test_a_blob_for_another_tpm_is_foreign(
    tpm: Tpm, owner: Owner, new_chip: Callable[[], Chip], given: Handover
) -> None:
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    stranger = srk(tpm)[:-68] + b"\x00\x20" + point.x.to_bytes(32) + b"\x00\x20" + point.y.to_bytes(32)
    extend_words(tpm)
    theirs = dataclasses.replace(given, sealed_key=owner.seal(stranger))
    assert refusal(tpm, theirs) is Code.SEALED_KEY_FOREIGN
    # And when its document claims to be for this one.
    claimed = with_key(theirs, srk_name=given.sealed_key.srk_name)
    assert refusal(tpm, claimed) is Code.SEALED_KEY_FOREIGN


@pytest.mark.parametrize("part", ["duplicate", "encrypted_seed"])
@pytest.mark.parametrize("position", [0, 20, -1])
def test_a_flipped_bit_in_the_wrapped_key_is_refused(
    tpm: Tpm, given: Handover, part: str, position: int
) -> None:
    extend_words(tpm)
    content = bytearray(getattr(given.sealed_key, part))
    content[position] ^= 1
    code = refusal(tpm, with_key(given, **{part: bytes(content)}))
    assert code in (Code.SEALED_KEY_FOREIGN, Code.SEALED_KEY_MALFORMED)


def test_a_structure_with_bytes_behind_it_is_malformed(tpm: Tpm, given: Handover) -> None:
    content = given.sealed_key.object_public + b"\0"
    assert refusal(tpm, with_key(given, object_public=content)) is Code.SEALED_KEY_MALFORMED


@pytest.mark.parametrize("part", ["object_public", "duplicate", "encrypted_seed"])
@pytest.mark.parametrize("content", [b"", bytes(1024), b"\xff" * 1024], ids=["empty", "zeros", "ones"])
def test_a_structure_of_other_bytes_is_refused(tpm: Tpm, given: Handover, part: str, content: bytes) -> None:
    code = refusal(tpm, with_key(given, **{part: content}))
    assert code in (Code.SEALED_KEY_FOREIGN, Code.SEALED_KEY_MALFORMED)


@pytest.mark.parametrize("content", [b"", bytes(100), b"\xff" * 100], ids=["empty", "zeros", "ones"])
def test_a_policy_key_of_other_bytes_is_refused_and_takes_no_ownership(
    tpm: Tpm, given: Handover, content: bytes
) -> None:
    both = dataclasses.replace(
        with_key(given, policy_key=content),
        approvals=dataclasses.replace(given.approvals, policy_key=content),
    )
    assert refusal(tpm, both) in (Code.SEALED_KEY_FOREIGN, Code.SEALED_KEY_MALFORMED)
    assert not tpm.storage_root_is_persistent()


@pytest.mark.parametrize("signature", [b"", bytes(64), b"\xff" * 1024], ids=["empty", "zeros", "ones"])
def test_bytes_that_are_no_signature_are_refused(tpm: Tpm, given: Handover, signature: bytes) -> None:
    extend_words(tpm)
    code = refusal(tpm, with_approval(given, signature=signature))
    assert code in (Code.SEALED_KEY_MALFORMED, Code.SEALED_KEY_REFUSED)


def test_two_hundred_refusals_leave_nothing_behind_in_the_tpm(
    tpm: Tpm, given: Handover, owner: Owner
) -> None:
    signature = given.approvals.approvals[0].signature
    broken = with_approval(given, signature=signature[:-1] + bytes([signature[-1] ^ 1]))
    for _ in range(100):
        assert refusal(tpm, given) is Code.SEALED_KEY_UNAPPROVED
    extend_words(tpm)
    for _ in range(100):
        assert refusal(tpm, broken) is Code.SEALED_KEY_REFUSED
    assert released(tpm, given).data_key() == owner.data_key


def test_who_listens_on_the_bus_sees_no_key(chip: Chip, owner: Owner, tmp_path: Path) -> None:
    trace = tmp_path / "bus.log"
    with running(chip.state, trace=trace) as name, Tpm.open(name) as tpm:
        given = provided(tpm, owner)
        extend_words(tpm)
        assert released(tpm, given).data_key() == owner.data_key
    words = trace.read_text("ascii", "replace").split()
    dumped = bytes.fromhex("".join(word for word in words if len(word) == 2 and set(word) <= HEX))
    # The listener does hear: the name of the storage key, which every session and the import go through.
    assert given.sealed_key.duplicate in dumped
    assert owner.data_key not in dumped


HEX = set("0123456789ABCDEF")

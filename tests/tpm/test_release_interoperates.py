# SPDX-License-Identifier: Apache-2.0
"""The agent's release of a key, and the same commands of the TPM written out with tpm2-pytss alone.

The second are what `mantlet bench` times the first against.
"""

from typing import Any

import pytest
from tpm2_pytss import TPM2_RC, TSS2_Exception

from mantlet.edge.bench import raw_release
from mantlet_agent.tpm import Tpm
from mantlet_agent.unseal import SealedRelease
from mantlet_measure import words
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import ENFORCED
from tests.sealing import WORDS, Owner, with_words


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def given(tpm: Tpm, owner: Owner) -> Handover:
    """A key sealed to this TPM, whose registers then become the approved ones."""
    handover = owner.provide(tpm.storage_root()[1].marshal(), with_words(tpm.read(ENFORCED)))
    for _, word in WORDS:
        tpm.extend(15, word.encode())
    return handover


@pytest.fixture
def index(tpm: Tpm, owner: Owner, given: Handover) -> Any:
    """The epoch counter, which the agent's first release defines."""
    release = SealedRelease(tpm, given.sealed_key, given.approvals)
    assert release.data_key() == owner.data_key
    return release.index


def test_the_commands_alone_release_the_same_key_as_the_agent(
    tpm: Tpm, owner: Owner, given: Handover, index: Any
) -> None:
    parent, _ = tpm.storage_root()
    assert raw_release.data_key(tpm.esapi, parent, index, given) == owner.data_key


def test_the_tpm_refuses_the_commands_alone_after_the_cap(tpm: Tpm, given: Handover, index: Any) -> None:
    parent, _ = tpm.storage_root()
    tpm.extend(15, words.CAP.encode())
    with pytest.raises(TSS2_Exception) as refused:
        raw_release.data_key(tpm.esapi, parent, index, given)
    # Part 3, 23.16: PolicyAuthorize compares the session's digest with the approved one.
    assert refused.value.error == TPM2_RC.VALUE

# SPDX-License-Identifier: Apache-2.0
"""Attacks on the evidence of a live machine with a TPM that was not written for the test.

The same attacks on simulated machines, and many more, are in tests/attacks.
"""

import os
from dataclasses import replace

import pytest

from mantlet.client.attest import activate, fetch_evidence
from mantlet.verifier.quote import Session
from mantlet.verifier.steps import Step, VerificationError
from mantlet.verifier.verify import Request, verify
from mantlet_measure import evidence as evidence_format
from mantlet_measure.evidence import State
from tests.vm.watch import Boot, Watch

pytestmark = pytest.mark.vm


def refused_at(second: Watch, data: bytes, *, nonce: bytes, spki_sha256: bytes | None = None) -> Step:
    """Verify evidence against the live machine and return the step that refuses it."""
    question = second.rig.question()
    with second.rig.connect(second.machine) as connection:
        request = Request(
            session=Session(nonce=nonce, tls_spki_sha256=spki_sha256 or connection.tls_spki_sha256),
            manifest=question.manifest,
            trust=question.trust,
            expected_state=State.SERVING,
            entropy=question.entropy,
            now=question.now,
        )
        with pytest.raises(VerificationError) as caught:
            verify(data, request, activate=lambda credential: activate(connection, credential))
    return Step(caught.value.step)


def fetch(second: Watch, nonce: bytes) -> bytes:
    with second.rig.connect(second.machine) as connection:
        return fetch_evidence(connection, nonce)


def test_evidence_for_an_old_nonce_is_refused(second: Watch) -> None:
    old, fresh = os.urandom(32), os.urandom(32)
    assert refused_at(second, fetch(second, old), nonce=fresh) is Step.EVIDENCE


def test_evidence_for_an_old_nonce_that_echoes_the_new_one_is_refused(second: Watch) -> None:
    old, fresh = os.urandom(32), os.urandom(32)
    forged = fetch(second, old).replace(old.hex().encode(), fresh.hex().encode())
    assert refused_at(second, forged, nonce=fresh) is Step.FRESHNESS


def test_evidence_relayed_over_a_connection_with_another_key_is_refused(second: Watch) -> None:
    nonce = os.urandom(32)
    assert refused_at(second, fetch(second, nonce), nonce=nonce, spki_sha256=os.urandom(32)) is Step.FRESHNESS


def test_evidence_relayed_with_the_name_of_the_other_key_is_refused(second: Watch) -> None:
    nonce, other = os.urandom(32), os.urandom(32)
    forged = fetch(second, nonce).replace(
        second.evidence[State.SERVING].tls_spki_sha256.hex().encode(), other.hex().encode()
    )
    assert refused_at(second, forged, nonce=nonce, spki_sha256=other) is Step.FRESHNESS


def test_evidence_of_the_boot_before_is_refused(first: Boot, second: Watch) -> None:
    old = first.evidence[State.SERVING]
    assert refused_at(second, evidence_format.encode(old), nonce=old.nonce) is Step.FRESHNESS


def test_a_log_that_lacks_its_last_word_is_refused(second: Watch) -> None:
    nonce = os.urandom(32)
    genuine = evidence_format.decode(fetch(second, nonce))
    cut = replace(genuine, agent_log=genuine.agent_log[:-1])
    assert refused_at(second, evidence_format.encode(cut), nonce=nonce) is Step.LOGS


def test_a_machine_that_serves_is_not_taken_for_one_that_awaits_its_key(second: Watch) -> None:
    said = second.rig.run(
        "verify",
        f"https://127.0.0.1:{second.machine.port}",
        "--state",
        "awaiting-key",
        *second.rig.trust(),
    )
    assert said.code == 1
    assert "REFUSED   at step 11" in said.story + said.result

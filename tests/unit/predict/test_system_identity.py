# SPDX-License-Identifier: Apache-2.0
"""Tests of register 15 under a deployment document."""

import hashlib

import pytest

from mantlet.predict import system_identity
from mantlet_measure import deployment
from mantlet_measure.pcr import Bank
from tests.unit.measure.samples import DEPLOYMENT


@pytest.mark.parametrize("capped", [True, False])
def test_register_15_holds_the_words_of_the_deployment(capped: bool) -> None:
    payload = deployment.encode(DEPLOYMENT)
    runtime = hashlib.sha256(b"runtime").digest()
    # docs/formats.md, *Agent words*.
    words = [
        f"mantlet:deployment:{hashlib.sha256(payload).hexdigest()}",
        f"mantlet:runtime:{runtime.hex()}",
        f"mantlet:weights:{'11' * 32}",
        *(["mantlet:cap"] if capped else []),
    ]
    made = system_identity.events(payload, DEPLOYMENT, runtime_sha256=runtime, capped=capped)
    assert [event.digests[Bank.SHA384] for event in made.events] == [
        hashlib.sha384(word.encode()).digest() for word in words
    ]

# SPDX-License-Identifier: Apache-2.0
"""The hostile models: each differs from the tiny one, is the same at each call, and lies where it says."""

import struct

import pytest

from mantlet.attack.catalogue import runtime
from mantlet.attack.changes import HostileModel
from mantlet.edge.attack.hostile_models import LIES, hostile
from mantlet.edge.attack.tiny_gguf import tiny_gguf

TINY = tiny_gguf()


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_always_the_same_and_no_other_model_has_it(lie: str) -> None:
    assert hostile(lie) == hostile(lie)
    assert hostile(lie) not in [TINY, *(hostile(other) for other in LIES if other != lie)]


@pytest.mark.parametrize("lie", [each for each in LIES if each.startswith("a template")])
def test_a_template_leaves_the_tensors_where_they_are(lie: str) -> None:
    model = hostile(lie)
    (at,) = [place for place in [TINY.index(struct.pack("<f", 1.0) * 64)] if place]
    body = TINY[at:]
    assert model.endswith(body)
    assert (len(model) - len(body)) % 32 == at % 32


def test_the_catalogue_names_lies_that_are_told() -> None:
    named = {
        change.lie for each in runtime.ATTACKS for change in each.changes if isinstance(change, HostileModel)
    }
    assert named
    assert named <= LIES.keys()

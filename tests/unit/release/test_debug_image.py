# SPDX-License-Identifier: Apache-2.0
"""Which manifest is taken, with the option that says that it is a debug image's, and without."""

from dataclasses import replace

import pytest

from mantlet.release import debug_image, manifest
from mantlet.release.debug_image import DebugImageError
from tests.unit.release.samples import MANIFEST


def named(image_id: str) -> bytes:
    return manifest.encode(replace(MANIFEST, image=replace(MANIFEST.image, id=image_id)))


@pytest.mark.parametrize(
    ("image_id", "debug"), [("mantlet", False), ("debug", False), ("mantlet-debug", True)]
)
def test_a_manifest_is_taken_as_what_it_is(image_id: str, debug: bool) -> None:
    debug_image.require_manifest(named(image_id), debug=debug)


def test_a_debug_image_that_was_not_asked_for_is_refused() -> None:
    with pytest.raises(
        DebugImageError, match="expected a sealed image, found the debug image mantlet-debug"
    ) as refusal:
        debug_image.require_manifest(named("mantlet-debug"), debug=False)
    assert debug_image.OPTION in refusal.value.hint


def test_a_sealed_image_where_a_debug_image_was_asked_for_is_refused() -> None:
    with pytest.raises(DebugImageError, match="expected a debug image, found mantlet "):
        debug_image.require_manifest(named("mantlet"), debug=True)


def test_what_is_no_manifest_is_left_to_the_one_who_appraises_with_it() -> None:
    debug_image.require_manifest(b"{}", debug=False)

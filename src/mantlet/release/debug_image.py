# SPDX-License-Identifier: Apache-2.0
"""Which images are debug images, and the refusal of them.

A debug image is open on purpose. Its id says so, and so does the subject of the certificate that signs it:
the build sees to both. Whoever approves, deploys or trusts an image refuses one here unless he asked for it.
"""

from mantlet.release import manifest
from mantlet.release.reference_values import ImageIdentity
from mantlet_measure.errors import DecodeError, MantletError

SUFFIX = "-debug"
OPTION = "--debug-image"


class DebugImageError(MantletError):
    """A debug image where a sealed one was expected, or the other way round."""


def is_debug(image_id: str) -> bool:
    """Whether an image id is a debug image's."""
    return image_id.endswith(SUFFIX)


def require_kind(image: ImageIdentity, *, debug: bool) -> None:
    """Refuse a debug image that nobody asked for, and a sealed one in its place. DebugImageError."""
    if is_debug(image.id) == debug:
        return
    if debug:
        raise DebugImageError(
            f"manifest: expected a debug image, found {image.id} {image.version}",
            hint=f"leave {OPTION} out: it is for images that anybody can enter",
        )
    raise DebugImageError(
        f"manifest: expected a sealed image, found the debug image {image.id} {image.version}, "
        "which anybody can enter",
        hint=f"build the image with `mantlet build`; to use a debug image all the same, say {OPTION}",
    )


def require_manifest(data: bytes, *, debug: bool) -> None:
    """Do the same for the bytes of a manifest; those that do not decode are left to who appraises them."""
    try:
        image = manifest.decode(data).image
    except DecodeError:
        return
    require_kind(image, debug=debug)

# SPDX-License-Identifier: Apache-2.0
"""Which build a report and a statement are about: in words, and by its digests.

Owns both types and their JSON, which the two documents share.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mantlet_measure.deployment import EPOCH_LIMIT, ID_PATTERN, VERSION_PATTERN
from mantlet_measure.strictjson import Fields

# One line, without anything that a terminal would obey.
LINE = r"[^\x00-\x1f\x7f-\x9f]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedImage:
    """Which image it is, in words."""

    id: str
    version: str
    epoch: int

    @property
    def line(self) -> str:
        """It in a line of text."""
        return f"{self.id} {self.version}, epoch {self.epoch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """SHA-256 of the manifest, the UKI and the disk of a build, and its root hash."""

    manifest_sha256: bytes
    uki_sha256: bytes
    roothash: bytes
    disk_sha256: bytes


def image_from_fields(fields: Fields) -> ReleasedImage:
    """Decode which image it is, all of it."""
    image = ReleasedImage(
        id=fields.text("id", pattern=ID_PATTERN),
        version=fields.text("version", pattern=VERSION_PATTERN),
        epoch=fields.integer("epoch", 1, EPOCH_LIMIT),
    )
    fields.done()
    return image


def image_to_value(image: ReleasedImage) -> Mapping[str, object]:
    """Return which image it is as JSON has it."""
    return {"id": image.id, "version": image.version, "epoch": image.epoch}


def build_from_fields(fields: Fields) -> Build:
    """Decode the digests of a build, all of them."""
    build = Build(
        manifest_sha256=fields.hex("manifest_sha256", 32),
        uki_sha256=fields.hex("uki_sha256", 32),
        roothash=fields.hex("roothash", 32),
        disk_sha256=fields.hex("disk_sha256", 32),
    )
    fields.done()
    return build


def build_to_value(build: Build) -> Mapping[str, str]:
    """Return the digests of a build as JSON has them."""
    return {
        "manifest_sha256": build.manifest_sha256.hex(),
        "uki_sha256": build.uki_sha256.hex(),
        "roothash": build.roothash.hex(),
        "disk_sha256": build.disk_sha256.hex(),
    }

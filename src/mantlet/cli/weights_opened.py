# SPDX-License-Identifier: Apache-2.0
"""What the verbs over a finished pack share: its descriptor, its body, who may have signed it.

A pack is named by its descriptor. The body of a disk pack is a file; that of a stream may be an https URL.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import owner, pack_disk
from mantlet.edge.range_source import Source, open_source
from mantlet.weights.descriptor import Descriptor
from mantlet_measure.errors import DecodeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A pack whose descriptor was authenticated; `where`: its image, a file or an https URL."""

    descriptor: Descriptor
    where: str

    @property
    def image(self) -> Path:
        """The image as a file. DecodeError when it is a URL: only a stream is read from afar."""
        if "://" in self.where:
            raise DecodeError(
                f"image {self.where}",
                expected="a file",
                found="a URL",
                hint="download the image first; only a pack made with --body stream is read from afar",
            )
        return Path(self.where)

    @contextmanager
    def source(self) -> Iterator[Source]:
        """Lend the image of a stream pack."""
        with open_source(self.where, size=pack_disk.image_size(self.descriptor.model)) as source:
            yield source


def add_options(parser: argparse.ArgumentParser, *, body: bool) -> None:
    """Add the descriptor and its owner; body: the image too."""
    parser.add_argument("pack", type=Path, metavar="PACK", help="the descriptor of the pack, ID.json")
    if body:
        parser.add_argument(
            "--image", metavar="FILE", help="the image; of a stream an https URL too (default: ID.raw beside)"
        )
    parser.add_argument(
        "--owner-key", type=Path, metavar="FILE", help="PEM: who may sign the descriptor (keys/owner.pem)"
    )


def opened(arguments: argparse.Namespace) -> Opened:
    """Read and authenticate the descriptor that the options name."""
    descriptor = owner.read_descriptor(arguments.pack, owner_key=arguments.owner_key)
    where = getattr(arguments, "image", None) or str(arguments.pack.with_suffix(".raw"))
    return Opened(descriptor=descriptor, where=where)

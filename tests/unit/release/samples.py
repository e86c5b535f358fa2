# SPDX-License-Identifier: Apache-2.0
"""A small, valid manifest."""

from mantlet.release.manifest import Expected, ImageIdentity, Manifest, ManifestEvent, Platform
from mantlet_measure.pcr import BANKS, Bank, replay


def expected(bank: Bank, *words: bytes) -> Expected:
    """A register that measured these words."""
    events = tuple(
        ManifestEvent(digest=bank.digest(word), type="phase", description=word.decode()) for word in words
    )
    return Expected(value=replay(bank, (event.digest for event in events)), events=events)


MANIFEST = Manifest(
    image=ImageIdentity(
        id="mantlet",
        version="0.1.0",
        architecture="x86-64",
        uki_sha256=b"\x01" * 32,
        roothash=b"\x02" * 32,
        cmdline="console=null",
        stub="262",
        epoch=1,
    ),
    platforms={
        "qemu-ovmf": Platform(
            enforced=(11, 15),
            banks={bank: {11: expected(bank, b"a", b"b"), 15: expected(bank)} for bank in BANKS},
        )
    },
)

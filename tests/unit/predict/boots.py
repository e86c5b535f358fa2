# SPDX-License-Identifier: Apache-2.0
"""Boots put together by hand: a small UKI around the stub of any release, and what lies beside it."""

from collections.abc import Iterable, Mapping
from typing import Any

from mantlet.predict import pe, uki
from mantlet.predict.boot import (
    Addon,
    Boot,
    BootSecret,
    Extra,
    ExtraKind,
    RegisterPrediction,
    SecureBootState,
    UserSpace,
)
from mantlet.predict.variables import SecureBootKeys
from mantlet_measure.pcr import Bank
from tests.unit.predict import synthetic
from tests.unit.predict.synthetic import OPTIONAL, patched

RELEASES = tuple(range(uki.FIRST_STUB, uki.LAST_STUB + 1))
NO_KEYS = SecureBootKeys(pk=b"", kek=b"", db=b"", dbx=b"")
QUIET = UserSpace(os_separator=False, phases=())
# A PE with a Linux EFI stub of version 3.0: MajorImageVersion is at 44 of the optional header.
KERNEL = patched(synthetic.uki({".text": b"the kernel"}), OPTIONAL + 44, 3, 2)


def stub(release: str) -> bytes:
    """The section .sdmagic of this release."""
    return f"#### LoaderInfo: systemd-stub {release} ####\0".encode()


def image(release: int | str, **changes: bytes | None) -> uki.Uki:
    """A UKI around the stub of `release` with the sections of synthetic.sections, some replaced.

    252 is 252.39, the one of Debian bookworm.
    """
    named = "252.39" if release == 252 else str(release)
    return uki.decode(
        synthetic.uki(synthetic.sections(**{"sdmagic": stub(named), "linux": KERNEL, **changes}))
    )


def boot(release: int | str | uki.Uki = 262, *, secure: bool = True, **changes: Any) -> Boot:
    """A boot of such a UKI, with Secure Boot on and without a boot secret, some fields replaced."""
    fields: dict[str, Any] = {
        "uki": release if isinstance(release, uki.Uki) else image(release),
        "secure_boot": SecureBootState(enabled=secure, keys=NO_KEYS),
        "user_space": QUIET,
        "boot_secret": BootSecret.ABSENT,
        **changes,
    }
    return Boot(**fields)


def addon(
    name: str,
    contents: Mapping[str, bytes] | Iterable[tuple[str, bytes]],
    *,
    is_global: bool = False,
) -> Addon:
    """An add-on with these sections."""
    return Addon(name=name, image=pe.decode(synthetic.uki(contents), what="add-on"), is_global=is_global)


def extra(kind: ExtraKind, name: str, content: bytes = b"content") -> Extra:
    """A file beside the UKI."""
    return Extra(kind=kind, name=name, content=content)


def described(prediction: RegisterPrediction) -> list[str]:
    """The descriptions of the events, in order."""
    return [event.description for event in prediction.events]


def sha256(prediction: RegisterPrediction) -> list[bytes]:
    """The SHA-256 digests of the events, in order."""
    return [event.digests[Bank.SHA256] for event in prediction.events]


def utf16(line: str) -> bytes:
    """A string as firmware holds it, with its NUL."""
    return line.encode("utf-16-le") + b"\0\0"

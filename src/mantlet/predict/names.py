# SPDX-License-Identifier: Apache-2.0
"""Names of the files beside a UKI that systemd's stub picks up (src/boot/cpio.c, `pack_cpio`; stub.c).

Owns the rule and the order. It opens no folder.
"""

from collections.abc import Iterable

from mantlet_measure.errors import DecodeError, shown

_LONGEST = 255


def in_order(names: Iterable[str], suffix: str, what: str) -> tuple[str, ...]:
    """Return `names` in the order in which the stub takes them.

    DecodeError on a name that the stub would pass over: it ends otherwise than in `suffix` (in any case),
    starts with a dot, is not ASCII, or is longer than 255 characters.
    """
    listed = sorted(names)
    for name in listed:
        if (
            not name.isascii()
            or not name.lower().endswith(suffix)
            or not 0 < len(name) <= _LONGEST
            or name.startswith(".")
            or any(char in name for char in "\0/\\")
        ):
            raise DecodeError(
                f"{what} {shown(name)}",
                expected=f"an ASCII file name that ends in {suffix}",
                found="one that the stub passes over",
                hint=f"name the file as systemd-stub(7) asks for: NAME{suffix}",
            )
    # strcmp16 on ASCII: by code point.
    return tuple(listed)

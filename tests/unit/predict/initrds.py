# SPDX-License-Identifier: Apache-2.0
"""Initrds put together by hand: newc archives with the units that measure."""

from collections.abc import Mapping

from mantlet.predict import initrd_content as content

UNITS = "usr/lib/systemd/system"
WANTS = f"{UNITS}/sysinit.target.wants"
FILE, LINK = 0o100644, 0o120777


def record(path: str, data: bytes, mode: int = FILE) -> bytes:
    """One newc entry."""
    name = path.encode() + b"\0"
    numbers = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + "".join(f"{number:08X}" for number in numbers).encode() + name
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


TRAILER = record("TRAILER!!!", b"")


def cpio_of(files: Mapping[str, bytes | str]) -> bytes:
    """A newc archive; text is the target of a link."""
    entries = (
        record(path, data.encode(), LINK) if isinstance(data, str) else record(path, data)
        for path, data in files.items()
    )
    return b"".join(entries) + TRAILER


SEPARATOR = {
    f"{UNITS}/{content.PCROSSEPARATOR}": b"[Unit]",
    f"{WANTS}/{content.PCROSSEPARATOR}": f"../{content.PCROSSEPARATOR}",
}
PHASE = {
    f"{UNITS}/{content.PCRPHASE_INITRD}": b"[Unit]",
    f"{WANTS}/{content.PCRPHASE_INITRD}": f"../{content.PCRPHASE_INITRD}",
}

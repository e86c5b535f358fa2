# SPDX-License-Identifier: Apache-2.0
"""A UKI put together by hand: small, well-formed, unsigned, with every byte under the test's control."""

from collections.abc import Iterable, Mapping

ROOTHASH = "ab" * 32
CMDLINE = f"console=null quiet roothash={ROOTHASH}"
OS_RELEASE = "ID=debian\nIMAGE_ID=mantlet\nIMAGE_VERSION=0.1.0\n"
HEADERS = 1024
_FILE_ALIGNMENT = 512
_SECTION_ALIGNMENT = 4096
_PE = 64
OPTIONAL = _PE + 24
TABLE = OPTIONAL + 112 + 8 * 16


def sections(**changes: bytes | None) -> dict[str, bytes]:
    """Contents of the usual sections; `linux=b"…"` replaces one, `osrel=None` leaves one out."""
    usual = {
        ".sbat": b"sbat,1,SBAT Version\n",
        ".sdmagic": b"#### LoaderInfo: systemd-stub 262-1 ####\0",
        ".osrel": OS_RELEASE.encode(),
        ".cmdline": CMDLINE.encode(),
        ".uname": b"7.2.12",
        ".linux": b"MZ the kernel",
        ".initrd": b"an initrd of nineteen",
    }
    named = {f".{name}": content for name, content in changes.items()}
    return {name: content for name, content in {**usual, **named}.items() if content is not None}


def uki(contents: Mapping[str, bytes] | Iterable[tuple[str, bytes]] | None = None) -> bytes:
    """Lay the sections out behind 1024 bytes of headers: PE32+, x86-64, EFI application, 16 directories.

    Pairs instead of a mapping may name a section more than once, as a UKI with profiles does.
    """
    given = sections() if contents is None else contents
    parts = list(given.items() if isinstance(given, Mapping) else given)
    headers = bytearray(HEADERS)
    headers[0:2] = b"MZ"
    headers[0x3C:0x40] = _PE.to_bytes(4, "little")
    headers[_PE : _PE + 8] = b"PE\0\0" + (0x8664).to_bytes(2, "little") + len(parts).to_bytes(2, "little")
    headers[_PE + 20 : _PE + 22] = (TABLE - OPTIONAL).to_bytes(2, "little")
    table, body, address = bytearray(), bytearray(), _SECTION_ALIGNMENT
    for name, content in parts:
        raw = content + bytes(-len(content) % _FILE_ALIGNMENT)
        table += name.encode().ljust(8, b"\0")
        for number in (len(content), address, len(raw), HEADERS + len(body)):
            table += number.to_bytes(4, "little")
        table += bytes(16)
        body += raw
        address += len(raw) + -len(raw) % _SECTION_ALIGNMENT
    headers[TABLE : TABLE + len(table)] = table
    put(headers, OPTIONAL, 0x20B, 2)
    put(headers, OPTIONAL + 56, address, 4)
    put(headers, OPTIONAL + 60, HEADERS, 4)
    put(headers, OPTIONAL + 68, 10, 2)
    put(headers, OPTIONAL + 108, 16, 4)
    return bytes(headers + body)


def put(data: bytearray, offset: int, value: int, size: int) -> None:
    """Write a little-endian integer."""
    data[offset : offset + size] = value.to_bytes(size, "little")


def patched(data: bytes, offset: int, value: int, size: int) -> bytes:
    """The image with one integer changed."""
    changed = bytearray(data)
    put(changed, offset, value, size)
    return bytes(changed)

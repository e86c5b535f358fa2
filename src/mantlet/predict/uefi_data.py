# SPDX-License-Identifier: Apache-2.0
"""The UefiData blob of an EC2 image: the UEFI variables that its firmware starts with.

Follows the format that AWS publishes with python-uefivars: base64 of magic, CRC-32C, version 0, and a zlib
stream with a preset dictionary. The dictionary belongs to the format and is not part of this project: the
caller brings it, and the stream itself names the one that it needs. Everything but the variables' names,
vendors and contents is read and dropped.
"""

import base64
import binascii
import zlib
from functools import cache
from uuid import UUID

from mantlet.predict.variables import Variables
from mantlet_measure.errors import DecodeError, shown
from mantlet_measure.reader import Reader

WHAT = "UefiData"
LIMIT = 1 << 20
_MAGIC = b"AMZNUEFI"
_HEADER = 16
_VERSION = 0
_CONTENT_LIMIT = 4 << 20
_COUNT_LIMIT = 1024
_AUTHENTICATED = 0x20  # EFI_VARIABLE_TIME_BASED_AUTHENTICATED_WRITE_ACCESS
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected


def decode(data: bytes, *, dictionary: bytes) -> Variables:
    """Return {(vendor GUID, name): data} of a blob of at most 1 MiB. DecodeError on anything else."""
    if len(data) > LIMIT:
        raise DecodeError(WHAT, expected=f"at most {LIMIT} bytes", found=str(len(data)))
    try:
        blob = base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error as error:
        raise DecodeError(WHAT, expected="base64", found=str(error)) from None
    if blob[: len(_MAGIC)] != _MAGIC:
        raise DecodeError(WHAT, expected=_MAGIC.decode(), found=shown(blob[: len(_MAGIC)]), offset=0)
    if len(blob) < _HEADER:
        raise DecodeError(WHAT, expected=f"a header of {_HEADER} bytes", found="the end", offset=len(blob))
    stored, computed = int.from_bytes(blob[8:12], "little"), crc32c(blob[12:])
    if stored != computed:
        raise DecodeError(WHAT, expected=f"CRC-32C {computed:08x}, computed", found=f"{stored:08x}", offset=8)
    if (version := int.from_bytes(blob[12:16], "little")) != _VERSION:
        raise DecodeError(WHAT, expected=f"version {_VERSION}", found=str(version), offset=12)
    return _variables(Reader(_inflate(blob[_HEADER:], dictionary), f"{WHAT}, inflated"))


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data` (RFC 3720, appendix B.4)."""
    table = _table()
    value = 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    def shifted(value: int) -> int:
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        return value

    return tuple(shifted(value) for value in range(256))


def _inflate(stream: bytes, dictionary: bytes) -> bytes:
    inflater = zlib.decompressobj(zdict=dictionary)
    try:
        content = inflater.decompress(stream, _CONTENT_LIMIT)
    except zlib.error as error:
        raise DecodeError(
            WHAT, expected="a zlib stream with this dictionary", found=str(error), offset=_HEADER
        ) from None
    if not inflater.eof or inflater.unused_data:
        raise DecodeError(
            WHAT,
            expected=f"one whole stream of at most {_CONTENT_LIMIT} bytes",
            found="a longer or a shorter one",
            offset=_HEADER,
        )
    return content


def _variables(reader: Reader) -> Variables:
    count = reader.u64le()
    if count > _COUNT_LIMIT:
        reader.refuse(expected=f"at most {_COUNT_LIMIT} variables", found=str(count), offset=0)
    variables: dict[tuple[UUID, str], bytes] = {}
    for _ in range(count):
        start = reader.offset
        name = reader.take(reader.u64le()).decode("utf-8", "replace")
        content = reader.take(reader.u64le())
        vendor = UUID(bytes_le=reader.take(16))
        if reader.u32le() & _AUTHENTICATED:
            reader.take(16)  # EFI_TIME
            reader.take(reader.u64le())  # digest of the certificate
        if (vendor, name) in variables:
            reader.refuse(expected="each variable once", found=f"{shown(name)} again", offset=start)
        variables[vendor, name] = content
    reader.end()
    return variables

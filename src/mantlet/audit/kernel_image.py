# SPDX-License-Identifier: Apache-2.0
"""What a Linux kernel for x86 carries inside: its configuration, and the certificates that it trusts.

Follows Linux, Documentation/arch/x86/boot.rst (the place of the compressed kernel), kernel/configs.c (the
configuration between two marks, where CONFIG_IKCONFIG is set) and certs/system_certificates.S (X.509
certificates one after the other). Other architectures carry them too; there they are not looked for.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509

from mantlet.predict.compressed import Stream
from mantlet.predict.signature import UNREADABLE
from mantlet_measure.errors import DecodeError

WHAT = "kernel"
# Unpacked; larger ones are refused, for somebody could have made them so.
_LIMIT = 160 << 20
_CONFIG_LIMIT = 4 << 20
_SECTOR, _HEADER = 512, 0x250
_CONFIG_MARK = b"IKCFG_ST"
# X.690: a SEQUENCE in a SEQUENCE, both of 256 bytes and more, that begins with version 3 of X.509.
_CERTIFICATE = re.compile(rb"\x30\x82(?P<size>..)\x30\x82..\xa0\x03\x02\x01\x02", re.DOTALL)
_CERTIFICATES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelImage:
    """What was found: the text of the configuration, or nothing; certificates, each once."""

    configuration: str = ""
    certificates: tuple[x509.Certificate, ...] = ()


def decode(linux: memoryview) -> KernelImage:
    """Look into a bzImage; one of another form has nothing. DecodeError on damage and past the limits."""
    payload = _payload(linux)
    if payload is None:
        return KernelImage()
    unpacked = bytearray()
    for piece in Stream(payload, 0, WHAT):
        unpacked += piece
        if len(unpacked) > _LIMIT:
            raise DecodeError(WHAT, expected=f"at most {_LIMIT:,} bytes unpacked", found="more")
    found = dict.fromkeys(_certificates(unpacked))
    return KernelImage(configuration=_configuration(unpacked), certificates=tuple(found))


def _payload(linux: memoryview) -> memoryview | None:
    # boot.rst, *The Real-Mode Kernel Header*: setup_sects, header, payload_offset, payload_length
    if len(linux) < _HEADER or bytes(linux[0x202:0x206]) != b"HdrS":
        return None
    setup = (linux[0x1F1] or 4) + 1
    start = setup * _SECTOR + int.from_bytes(linux[0x248:0x24C], "little")
    size = int.from_bytes(linux[0x24C:0x250], "little")
    payload = linux[start : start + size]
    try:
        Stream(payload, 0, WHAT)
    except DecodeError:
        # lzo, or none: nothing that is unpacked here.
        return None
    return payload


def _configuration(unpacked: bytearray) -> str:
    start = unpacked.find(_CONFIG_MARK + b"\x1f\x8b")
    if start < 0:
        return ""
    try:
        inflate = zlib.decompressobj(31)
        text = inflate.decompress(bytes(unpacked[start + len(_CONFIG_MARK) :][:_CONFIG_LIMIT]), _CONFIG_LIMIT)
    except zlib.error as error:
        raise DecodeError(WHAT, expected="its configuration, whole", found=str(error)) from None
    return text.decode("utf-8", "replace")


def _certificates(unpacked: bytearray) -> Iterator[x509.Certificate]:
    for number, match in enumerate(_CERTIFICATE.finditer(unpacked)):
        if number == _CERTIFICATES:
            raise DecodeError(WHAT, expected=f"at most {_CERTIFICATES} certificates", found="more")
        size = 4 + int.from_bytes(match["size"], "big")
        try:
            yield x509.load_der_x509_certificate(bytes(unpacked[match.start() : match.start() + size]))
        except UNREADABLE:
            continue

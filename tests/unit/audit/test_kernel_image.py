# SPDX-License-Identifier: Apache-2.0
"""A kernel is unpacked and asked what it carries, within bounds; one of another form has nothing known."""

import gzip
import lzma
from collections.abc import Callable

import pytest
from backports import zstd
from cryptography.hazmat.primitives.serialization import Encoding

from mantlet.audit import kernel_image
from mantlet.audit.kernel_image import KernelImage
from mantlet_measure.errors import DecodeError
from tests.unit.audit import signed

CONFIG = "CONFIG_IKCONFIG=y\nCONFIG_VT=y\n"
# A P-384 certificate may be shorter than the 256 bytes that DER's long form begins with; this one is RSA.
CERTIFICATE = signed.certificate(signed.FIRMWARE)
INSIDE = (
    b"\x7fELF code" + b"\x30\x82\x01\x00\x30\x82\x00\xf0\xa0\x03\x02\x01\x02 no certificate"
    + CERTIFICATE.public_bytes(Encoding.DER) * 2
    + b"IKCFG_ST" + gzip.compress(CONFIG.encode()) + b"IKCFG_ED"
)  # fmt: skip


def bzimage(payload: bytes) -> memoryview:
    """A bzImage around a compressed kernel (Linux, Documentation/arch/x86/boot.rst)."""
    header = bytearray(2048)
    header[0x1F1] = 3
    header[0x202:0x206] = b"HdrS"
    header[0x248:0x24C] = (64).to_bytes(4, "little")
    header[0x24C:0x250] = len(payload).to_bytes(4, "little")
    return memoryview(bytes(header) + bytes(64) + payload)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstd.compress])
def test_configuration_and_certificates_are_found_however_the_kernel_is_compressed(
    compress: Callable[[bytes], bytes],
) -> None:
    # The kernel's build puts the size behind the stream.
    found = kernel_image.decode(bzimage(compress(INSIDE) + b"\0\0\1\0"))
    assert found == KernelImage(configuration=CONFIG, certificates=(CERTIFICATE,))


@pytest.mark.parametrize("content", [b"", b"MZ", bytes(4096), bytes(bzimage(b"lzo, or nothing"))], ids=len)
def test_a_kernel_of_another_form_has_nothing_that_is_known(content: bytes) -> None:
    assert kernel_image.decode(memoryview(content)) == KernelImage()


def test_a_kernel_that_is_cut_off_is_refused() -> None:
    with pytest.raises(DecodeError, match="kernel"):
        kernel_image.decode(bzimage(gzip.compress(INSIDE)[:-20]))


def test_attack_by_a_kernel_that_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_image, "_LIMIT", 1 << 20)
    with pytest.raises(DecodeError, match="unpacked"):
        kernel_image.decode(bzimage(zstd.compress(bytes(4 << 20))))


def test_attack_by_a_kernel_full_of_what_looks_like_certificates_is_refused() -> None:
    with pytest.raises(DecodeError, match="certificates"):
        kernel_image.decode(bzimage(zstd.compress(CERTIFICATE.public_bytes(Encoding.DER) * 300)))


def test_attack_by_a_configuration_that_is_damaged_is_refused() -> None:
    broken = b"IKCFG_ST" + b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 40
    with pytest.raises(DecodeError, match="configuration"):
        kernel_image.decode(bzimage(zstd.compress(broken)))

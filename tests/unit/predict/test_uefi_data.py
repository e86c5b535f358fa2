# SPDX-License-Identifier: Apache-2.0
"""Tests of EC2's UefiData blob against the one that virt-fw-vars writes of the same variables."""

import base64
import zlib
from typing import Any

import pytest

from mantlet.predict import uefi_data
from mantlet.predict.variables import decode_store
from mantlet_measure.errors import DecodeError

DICTIONARY = b"a dictionary of the test"
GUID = bytes(range(16))


@pytest.fixture(scope="module")
def dictionary(artefacts: Any) -> bytes:
    content = artefacts.run("cat", "/usr/lib/python3/dist-packages/virt/firmware/aws/dict.v0")
    assert isinstance(content, bytes)
    return content


def test_variables_are_those_that_virt_firmware_wrote(artefacts: Any, dictionary: bytes) -> None:
    store, blob = artefacts.path("OVMF_VARS.fd"), artefacts.path("uefi-data.aws")
    artefacts.run("virt-fw-vars", "--input", store, "--output-aws", blob)
    found = uefi_data.decode(artefacts.read("uefi-data.aws"), dictionary=dictionary)
    assert found == decode_store(artefacts.read("OVMF_VARS.fd"))
    assert len(found) >= 5


def test_checksum_is_the_one_of_the_standard() -> None:
    # RFC 3720, B.4: 32 bytes of zeros, of ones, and ascending.
    assert uefi_data.crc32c(bytes(32)).to_bytes(4, "little").hex() == "aa36918a"
    assert uefi_data.crc32c(b"\xff" * 32).to_bytes(4, "little").hex() == "43aba862"
    assert uefi_data.crc32c(bytes(range(32))).to_bytes(4, "little").hex() == "4e79dd46"


def _variable(name: bytes = b"PK", data: bytes = b"key", *, authenticated: bool = False) -> bytes:
    def sized(content: bytes) -> bytes:
        return len(content).to_bytes(8, "little") + content

    attributes = (0x27 if authenticated else 7).to_bytes(4, "little")
    return (
        sized(name)
        + sized(data)
        + GUID
        + attributes
        + (bytes(16) + sized(b"digest") if authenticated else b"")
    )


def _stream(content: bytes, dictionary: bytes = DICTIONARY) -> bytes:
    deflater = zlib.compressobj(9, zdict=dictionary)
    return deflater.compress(content) + deflater.flush()


def _blob(stream: bytes, *, magic: bytes = b"AMZNUEFI", version: int = 0) -> bytes:
    body = version.to_bytes(4, "little") + stream
    return base64.b64encode(magic + uefi_data.crc32c(body).to_bytes(4, "little") + body)


def _content(*variables: bytes, count: int | None = None) -> bytes:
    return (len(variables) if count is None else count).to_bytes(8, "little") + b"".join(variables)


def test_times_and_digests_of_authenticated_variables_are_passed_over() -> None:
    blob = _blob(_stream(_content(_variable(authenticated=True), _variable(b"db", b"list"))))
    found = uefi_data.decode(blob, dictionary=DICTIONARY)
    assert {name: data for (_, name), data in found.items()} == {"PK": b"key", "db": b"list"}


@pytest.mark.parametrize(
    ("blob", "expected"),
    [
        (b"not base64!", "base64"),
        (base64.b64encode(b"AMZNUEFX" + bytes(20)), "AMZNUEFI"),
        (base64.b64encode(b"AMZNUEFI"), "a header of 16 bytes"),
        (base64.b64encode(b"AMZNUEFI" + bytes(20)), "CRC-32C"),
        (_blob(_stream(_content(_variable())), version=1), "version 0"),
        (_blob(b"no stream"), "a zlib stream"),
        (_blob(_stream(_content(_variable()), b"another dictionary")), "a zlib stream"),
        (_blob(_stream(_content(_variable()))[:-5]), "one whole stream"),
        (_blob(_stream(_content(_variable())) + b"behind"), "one whole stream"),
        (_blob(_stream(_content(_variable(), count=2))), "more bytes"),
        (_blob(_stream(_content(_variable(), _variable()))), "each variable once"),
        (_blob(_stream(_content(count=1 << 40))), "at most 1024 variables"),
        (_blob(_stream((1).to_bytes(8, "little") + b"\xff" * 8)), "more bytes"),
        (_blob(_stream(_content(_variable()) + b"x")), "the end"),
        (b"A" * ((1 << 20) + 4), "at most"),
    ],
)
def test_blob_that_lies_is_refused(blob: bytes, expected: str) -> None:
    with pytest.raises(DecodeError, match=expected):
        uefi_data.decode(blob, dictionary=DICTIONARY)


def test_blob_that_inflates_without_end_is_refused() -> None:
    with pytest.raises(DecodeError, match="one whole stream"):
        uefi_data.decode(_blob(_stream(bytes(5 << 20))), dictionary=DICTIONARY)

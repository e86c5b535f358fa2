# SPDX-License-Identifier: Apache-2.0
"""Places of functions in shared libraries, against what LIEF reads of the same files."""

from pathlib import Path

import lief
import pytest

from mantlet.edge.attack.payload_place import function_offset
from mantlet_measure.errors import DecodeError


def _libraries() -> list[Path]:
    import cryptography

    assert cryptography.__file__ is not None
    folder = Path(cryptography.__file__).parent
    return sorted(folder.rglob("*.so"))


@pytest.mark.parametrize("path", _libraries(), ids=lambda path: path.name)
def test_a_function_lies_where_lief_says(path: Path) -> None:
    parsed = lief.ELF.parse(path)
    assert parsed is not None
    functions = [each for each in parsed.exported_symbols if each.is_function]
    assert functions
    for each in functions:
        assert function_offset(path.read_bytes(), str(each.name)) == parsed.virtual_address_to_offset(
            each.value
        )


def test_a_function_that_is_not_exported_is_not_found() -> None:
    assert function_offset(_libraries()[0].read_bytes(), "llama_process") is None


@pytest.mark.parametrize("library", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(58), b"MZ" + bytes(500)])
def test_what_is_no_library_is_refused(library: bytes) -> None:
    with pytest.raises(DecodeError):
        function_offset(library, "llama_process")

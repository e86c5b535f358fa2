# SPDX-License-Identifier: Apache-2.0
"""Strict and canonical JSON (docs/formats.md, first paragraph; RFC 8785 restricted to integers).

`decode` refuses duplicate members, floats, integers beyond 2^53, lone surrogates and anything that is not
UTF-8; `Fields` refuses missing, mistyped and unknown members. `encode` writes the one canonical form. It
knows no document.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import NoReturn

from mantlet_measure.errors import DecodeError, shown

_LARGEST = 1 << 53
_TEXT_LIMIT = 4096


class _RefusedError(Exception):
    """Carries (expected, found) out of the JSON scanner's hooks."""


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RefusedError("each member once", f"member {shown(twice)} twice")
    return members


def _whole(text: str) -> int:
    # RFC 8785, 3.2.2.3: integers beyond 2^53 do not survive a reader that holds numbers as IEEE doubles.
    if len(text) > 17 or abs(int(text)) > _LARGEST:
        raise _RefusedError("an integer within ±2^53", shown(text))
    return int(text)


def _no_float(text: str) -> NoReturn:
    raise _RefusedError("integers only", shown(text))


def decode(data: bytes, *, what: str, limit: int = 1 << 20) -> object:
    """Decode one strict JSON document of at most `limit` bytes; `what` names it in the DecodeError."""
    if len(data) > limit:
        raise DecodeError(what, expected=f"at most {limit} bytes", found=f"{len(data)}")
    try:
        text = data.decode("utf-8")
        value: object = json.loads(
            text,
            object_pairs_hook=_members,
            parse_int=_whole,
            parse_float=_no_float,
            parse_constant=_no_float,
        )
        if "\\u" in text:
            # Only an escape can make a lone surrogate, which no UTF-8 can carry (RFC 8785, 3.2.2.2).
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _RefusedError as refused:
        expected, found = refused.args
        raise DecodeError(what, expected=str(expected), found=str(found)) from None
    except json.JSONDecodeError as error:
        # The scanner counts characters; errors count bytes.
        offset = len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
        raise DecodeError(what, expected="JSON", found=error.msg, offset=offset) from None
    except UnicodeDecodeError as error:
        raise DecodeError(what, expected="UTF-8", found=error.reason, offset=error.start) from None
    except UnicodeEncodeError:
        raise DecodeError(what, expected="text", found="a lone surrogate") from None
    except RecursionError:
        raise DecodeError(what, expected="a flat document", found="nesting without end") from None
    return value


def _check(value: object) -> None:
    match value:
        case None | bool() | str():
            return
        case int():
            if abs(value) > _LARGEST:
                raise ValueError("canonical JSON holds integers within ±2^53")
        case Mapping():
            for name, member in value.items():
                if not isinstance(name, str) or not name.isascii():
                    raise TypeError("canonical JSON has ASCII member names")
                _check(member)
        case list() | tuple():
            for item in value:
                _check(item)
        case _:
            raise TypeError(f"canonical JSON has no {type(value).__name__}")


def encode(value: object) -> bytes:
    """Encode in canonical form. TypeError or ValueError on what the form cannot carry."""
    _check(value)
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()


def base64_text(data: bytes) -> str:
    """Return standard base64 with padding, as the documents write byte strings."""
    return base64.b64encode(data).decode("ascii")


class Fields:
    """Typed access to the members of one JSON object; `done()` refuses those that nobody asked for."""

    __slots__ = ("_left", "_members", "what")

    def __init__(self, value: object, what: str) -> None:
        """Wrap a decoded value, which must be an object."""
        if not isinstance(value, Mapping):
            raise DecodeError(what, expected="an object", found=shown(value))
        self._members: Mapping[str, object] = value
        self._left = set(value)
        self.what = what

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Raise the DecodeError of member `name`, which is there."""
        raise DecodeError(f"{self.what}: {name}", expected=expected, found=shown(self._members[name]))

    def has(self, name: str) -> bool:
        """Say whether an optional member is there."""
        return name in self._members

    def value(self, name: str) -> object:
        """Return a member of any type."""
        if name not in self._members:
            raise DecodeError(self.what, expected=f"member {shown(name)}", found="none")
        self._left.discard(name)
        return self._members[name]

    def text(self, name: str, *, pattern: str | None = None, limit: int = _TEXT_LIMIT) -> str:
        """Return a string of at most `limit` characters that matches `pattern` as a whole."""
        value = self.value(name)
        if not isinstance(value, str) or len(value) > limit:
            self.refuse(name, f"a string of at most {limit} characters")
        if pattern is not None and re.fullmatch(pattern, value) is None:
            self.refuse(name, f"a string like {pattern}")
        return value

    def constant(self, name: str, expected: str) -> None:
        """Refuse a member that is not exactly `expected`."""
        if self.value(name) != expected:
            self.refuse(name, shown(expected))

    def integer(self, name: str, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.refuse(name, f"an integer from {low} to {high}")
        return value

    def hex(self, name: str, size: int) -> bytes:
        """Return `size` bytes out of lower-case hexadecimal."""
        value = self.value(name)
        if not isinstance(value, str) or re.fullmatch(f"[0-9a-f]{{{2 * size}}}", value) is None:
            self.refuse(name, f"{size} bytes in lower-case hexadecimal")
        return bytes.fromhex(value)

    def base64(self, name: str, limit: int) -> bytes:
        """Return at most `limit` bytes out of standard base64 with padding, in its one canonical spelling."""
        value = self.value(name)
        if not isinstance(value, str) or len(value) > (limit + 2) // 3 * 4:
            self.refuse(name, f"base64 of at most {limit} bytes")
        try:
            data = base64.b64decode(value.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            self.refuse(name, "base64 with padding")
        if len(data) > limit or base64_text(data) != value:
            self.refuse(name, f"canonical base64 of at most {limit} bytes")
        return data

    def mapping(self, name: str) -> Mapping[str, object]:
        """Return a member that is an object."""
        value = self.value(name)
        if not isinstance(value, Mapping):
            self.refuse(name, "an object")
        return value

    def fields(self, name: str) -> "Fields":
        """Return a member that is an object, as Fields of its own."""
        return Fields(self.value(name), f"{self.what}: {name}")

    def sequence(self, name: str, *, limit: int = _TEXT_LIMIT) -> Sequence[object]:
        """Return a member that is an array of at most `limit` items."""
        value = self.value(name)
        if not isinstance(value, list) or len(value) > limit:
            self.refuse(name, f"an array of at most {limit} items")
        return value

    def done(self) -> None:
        """Refuse members that nobody asked for."""
        if self._left:
            raise DecodeError(self.what, expected="no other member", found=shown(min(self._left)))

# SPDX-License-Identifier: Apache-2.0
"""The order of versions (UAPI.10, *Version Format Specification*), in which systemd-boot sorts its entries.

Owns the comparison of two strings, as systemd's src/fundamental/string-util.c (`strverscmp_improved`) makes
it. It knows no boot entries.
"""

import string

_DIGITS = frozenset(string.digits)
_LETTERS = frozenset(string.ascii_letters)
_VALID = _DIGITS | _LETTERS | frozenset("~-^.")
# In this order; a string that has the separator where the other has not is the older one.
_SEPARATORS = ("-", "^", ".")


def compare(a: str, b: str) -> int:
    """Return a negative number when `a` is older than `b`, 0 when neither is, a positive one when newer."""
    while True:
        a, b = _skip(a), _skip(b)
        # Pre-releases: the string with a tilde is older, even than one that ends here.
        if a[:1] == "~" or b[:1] == "~":
            if a[:1] != b[:1]:
                return -1 if a[:1] == "~" else 1
            a, b = a[1:], b[1:]
        if not a or not b:
            return bool(a) - bool(b)
        for separator in _SEPARATORS:
            if a[:1] == separator or b[:1] == separator:
                if a[:1] != b[:1]:
                    return -1 if a[:1] == separator else 1
                a, b = a[1:], b[1:]
        numeric = a[:1] in _DIGITS or b[:1] in _DIGITS
        (left, a), (right, b) = (_segment(text, _DIGITS if numeric else _LETTERS) for text in (a, b))
        if (result := _number(left, right) if numeric else _order(left, right)) != 0:
            return result


def _skip(text: str) -> str:
    start = next((index for index, char in enumerate(text) if char in _VALID), len(text))
    return text[start:]


def _segment(text: str, kind: frozenset[str]) -> tuple[str, str]:
    end = next((index for index, char in enumerate(text) if char not in kind), len(text))
    return text[:end], text[end:]


def _number(left: str, right: str) -> int:
    # A segment without digits is older; without leading zeros, the longer number is the greater one.
    if not left or not right:
        return bool(left) - bool(right)
    left, right = left.lstrip("0"), right.lstrip("0")
    return (len(left) - len(right)) or _order(left, right)


def _order(left: str, right: str) -> int:
    return (left > right) - (left < right)

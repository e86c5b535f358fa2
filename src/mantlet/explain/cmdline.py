# SPDX-License-Identifier: Apache-2.0
"""Kernel command lines compared word by word, and found again from their digest.

Follows the kernel's documentation, *The kernel's command-line parameters*: words are separated by spaces,
double quotes protect spaces, order matters. A log holds no `.cmdline`; a changed one is found by trying known
small changes until one hashes to the digest. What is found so is proven, what is not stays unknown.
"""

from collections.abc import Callable, Iterator, Mapping
from difflib import SequenceMatcher

from mantlet_measure.pcr import Bank

_WORDS = 512
# What somebody would set who wants in, or who debugs a boot.
ADDED: tuple[str, ...] = (
    "systemd.debug_shell=1",
    "rd.systemd.debug_shell=1",
    "systemd.debug_shell",
    "rd.break",
    "init=/bin/sh",
    "rd.shell",
    "single",
    "emergency",
    "rescue",
    "debug",
    "systemd.unit=rescue.target",
    "systemd.unit=emergency.target",
    "console=ttyS0",
    "console=ttyS0,115200",
    "console=tty0",
    "console=hvc0",
    "mitigations=off",
    "systemd.log_level=debug",
)
_VALUES: Mapping[str, tuple[str, ...]] = {
    "lockdown": ("none", "integrity", "confidentiality"),
    "console": ("null", "ttyS0", "ttyS0,115200", "tty0", "hvc0"),
}
_SWITCHES: tuple[tuple[str, str], ...] = (("1", "0"), ("yes", "no"), ("on", "off"), ("true", "false"))


def words(text: str) -> list[str]:
    """Split a command line at spaces outside double quotes."""
    found: list[str] = []
    current, quoted = "", False
    for char in text.rstrip("\0\n"):
        quoted ^= char == '"'
        if char.isspace() and not quoted:
            if current:
                found.append(current)
            current = ""
        else:
            current += char
    return [*found, current] if current else found


def difference(old: str, new: str) -> tuple[str, ...]:
    """Say in words how `old` became `new`; nothing when both have the same words in the same order."""
    before, after = words(old), words(new)
    if len(before) > _WORDS or len(after) > _WORDS:
        return ("the command line differs, and is too long to be compared word by word",)
    sentences: list[str] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            sentences.extend(_replaced(before[i1:i2], after[j1:j2]))
    return tuple(sentences)


def _replaced(gone: list[str], come: list[str]) -> Iterator[str]:
    """Pair words of the same name, then say what is left."""
    left = list(come)
    for word in gone:
        name = word.split("=", 1)[0]
        partner = next((other for other in left if other.split("=", 1)[0] == name), None)
        if partner is None:
            yield f"`{word}` is gone"
        else:
            left.remove(partner)
            yield f"`{word}` became `{partner}`"
    yield from (f"`{word}` was added" for word in left)


def recovered(old: bytes, digests: Mapping[Bank, bytes], additions: tuple[str, ...] = ()) -> str | None:
    """Return the command line whose measurement has these digests, if a known small change of `old` does.

    old: the measured bytes (a section's, or UTF-16 load options); additions: texts that the machine says it
    appended.
    """
    text, spell = _spelling(old)
    for candidate in _variants(text, additions) if digests else ():
        data = spell(candidate)
        if all(bank.digest(data) == digest for bank, digest in digests.items()):
            return candidate
    return None


def alternatives(old: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each known small change of a measured command line: its text, and the bytes measured of it."""
    text, spell = _spelling(old)
    for candidate in _variants(text, ()):
        yield candidate, spell(candidate)


def text_of(data: bytes) -> str:
    """Return the command line in measured bytes."""
    return _spelling(data)[0]


def _spelling(data: bytes) -> tuple[str, Callable[[str], bytes]]:
    """Return the text in measured bytes, and how another text would be measured in its place."""
    if data[1:2] == b"\0":
        return data.decode("utf-16-le", "replace").rstrip("\0"), lambda text: f"{text}\0".encode("utf-16-le")
    text = data.rstrip(b"\0\n")
    end = data[len(text) :]
    return text.decode("utf-8", "replace"), lambda other: other.encode() + end


def _variants(text: str, additions: tuple[str, ...]) -> Iterator[str]:
    yield text
    if additions:
        yield f"{text} {' '.join(additions)}"
    for addition in (*additions, *ADDED):
        yield f"{text} {addition}"
    known = words(text)[:_WORDS]
    for index, word in enumerate(known):
        before, after = known[:index], known[index + 1 :]
        yield " ".join([*before, *after])
        name, _, value = word.partition("=")
        others = set(_VALUES.get(name, ()))
        for pair in _SWITCHES:
            if value in pair:
                others |= set(pair)
        for other in sorted(others - {value}):
            yield " ".join([*before, f"{name}={other}", *after])

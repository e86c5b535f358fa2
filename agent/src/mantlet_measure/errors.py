# SPDX-License-Identifier: Apache-2.0
"""The one family of errors that Mantlet raises on purpose.

Owns the base class and its three meanings: refused bytes, an answer that could not be had, and (in the rooms
that raise them) refusals of their own. It prints nothing: the command line and the agent do, each in its own
words.
"""

_SHOWN = 72


class MantletError(Exception):
    """A refusal that says what is wrong and, in `hint`, what mends it."""

    def __init__(self, message: str, *, hint: str) -> None:
        """Take the refusal in one line, and the mend in one line."""
        super().__init__(message)
        self.message = message
        self.hint = hint


class DecodeError(MantletError):
    """Bytes that are not what they should be: the only thing a decoder raises, on any input."""

    def __init__(
        self,
        what: str,
        *,
        expected: str,
        found: str,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        """Name the document (`what`), the rule, what broke it, and the byte offset where that is known."""
        place = "" if offset is None else f" at byte {offset}"
        super().__init__(
            f"{what}{place}: expected {expected}, found {found}",
            hint=hint
            or f"get {what.split(':', 1)[0]} again from whoever made it: "
            "it is damaged, or of another version of its format",
        )
        self.what = what
        self.expected = expected
        self.found = found
        self.offset = offset


class UnavailableError(MantletError):
    """A question that could not be asked: no TPM, no network, a tool is missing. It is not a refusal."""


def shown(value: object) -> str:
    """Return `value` for an error message: printable ASCII, at most 72 characters."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}… ({len(text)} characters)"

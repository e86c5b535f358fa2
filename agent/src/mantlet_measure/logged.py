# SPDX-License-Identifier: Apache-2.0
"""One event as a log tells of it: what replay proves, and what it does not.

Owns the type that all logs decode to. A log that folds to quoted registers proves `register` and `digests`
of its events, and their order within a register. All else is claimed, and is named so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mantlet_measure.pcr import Bank

REGISTERS = 24
"""A PC's TPM has that many (TCG PC Client Platform TPM Profile)."""
_CHARACTERS = 160


def printable(text: str, limit: int = _CHARACTERS) -> str:
    """Return at most `limit` characters of `text`; what a terminal would act on is U+FFFD."""
    cut = text[:limit]
    if cut.isprintable():
        return cut
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cut)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """One extend of one register, as a log tells of it.

    number: the record's place in its log, counted from zero with those that extend nothing.
    claimed_type: an `EV_…` name or what user space calls it. claimed_text: printable. claimed_data: the
    event data, which may be what was measured, or a description of it: see `proven_data`.
    """

    number: int
    register: int
    digests: Mapping[Bank, bytes]
    claimed_type: str
    claimed_text: str
    claimed_data: bytes

    def proven_data(self, bank: Bank) -> bytes | None:
        """Return the bytes that were measured, if the log carries them: their hash in `bank` is the digest.

        Those are the event data, the content of a variable or behind a tag, or the name of a section. None
        when the log only describes what was measured. It proves as much as the digest does: once the log is
        replayed.
        """
        digest = self.digests.get(bank)
        return next((data for data in self._candidates() if bank.digest(data) == digest), None)

    def _candidates(self) -> Iterator[bytes]:
        # Imported here: the agent reads logs and never asks this, and each import delays a boot.
        from mantlet_measure import event_data

        yield self.claimed_data
        if self.claimed_type == "EV_IPL":
            # systemd, src/boot/measure.c: names of sections are measured in ASCII and logged in UTF-16.
            yield self.claimed_text.encode("ascii", "replace") + b"\0"
        if self.claimed_type.startswith("EV_EFI_VARIABLE_"):
            # EDK2, Tcg2Dxe.c, `MeasureVariable`: of boot variables it measures the content alone.
            if (variable := event_data.variable(self.claimed_data)) is not None:
                yield variable.data
        elif (
            self.claimed_type == "EV_EVENT_TAG" and (tag := event_data.tagged(self.claimed_data)) is not None
        ):
            yield tag.data

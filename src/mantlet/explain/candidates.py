# SPDX-License-Identifier: Apache-2.0
"""The known single changes of a boot, as lists of events, for a value whose history nobody wrote down.

Owns what is worth trying, register by register. Each candidate is complete: fold it and compare. The number
of candidates is linear in the events, times the few ways in which a boot may have ended.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mantlet.explain import cmdline, keys
from mantlet.explain.account import Entry
from mantlet.explain.finding import Cause
from mantlet.explain.subject import Kind, Subject
from mantlet.predict.secure_boot import variable_data
from mantlet.predict.user_space import OS_SEPARATOR, SEPARATED
from mantlet.predict.variables import GLOBAL, IMAGE_SECURITY
from mantlet_measure.pcr import Bank, Register
from mantlet_measure.words import CAP

Step = Mapping[Bank, bytes] | bytes
"""Digests by bank, or the data that is measured."""

# systemd's systemd-pcrphase-*.service, in the order of a boot and its end.
PHASES: tuple[str, ...] = ("enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown", "final")
_RETURNING = b"Returning from EFI Application from Boot Option"
_CALLING = b"Calling EFI Application from Boot Option"
_EXIT = b"Exit Boot Services Invocation"
_FAILED = b"Exit Boot Services Returned with Failure"
_RETRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Insertion:
    """An event that is known to be possible, with its words: for example an inner kernel in register 4."""

    register: int
    words: str
    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A list of events that a register may have been extended by, and what it would mean."""

    cause: Cause
    words: str
    steps: tuple[Step, ...]


def candidates(
    register: int, events: Sequence[Entry], insertions: Sequence[Insertion]
) -> Iterator[Candidate]:
    """Yield single changes of `events`, the likely ones first, then each with another end of the boot."""
    ends = tuple(_ends(register, events))
    for words, cause, entries in ends:
        yield Candidate(cause=cause, words=words, steps=tuple(entry_steps(entries)))
    own = tuple(item for item in insertions if item.register == register)
    for ending, _, entries in (("", Cause.UNKNOWN, tuple(events)), *ends):
        suffix = f", and {ending}" if ending else ""
        for change in (*_CHANGES.get(register, ()), _dropped):
            for words, cause, steps in change(entries):
                yield Candidate(cause=cause, words=words + suffix, steps=steps)
        for item in own:
            for place in range(len(entries), -1, -1):
                steps = (*entry_steps(entries[:place]), item.step, *entry_steps(entries[place:]))
                yield Candidate(cause=Cause.IMAGES, words=item.words + suffix, steps=steps)


def entry_steps(entries: Sequence[Entry | bytes]) -> Iterator[Step]:
    """Yield the digests of entries; bytes stay the data that they are."""
    for entry in entries:
        yield entry if isinstance(entry, bytes) else entry.digests


_Found = tuple[str, Cause, tuple[Step, ...]]
_End = tuple[str, Cause, tuple[Entry, ...]]


def _ends(register: int, events: Sequence[Entry]) -> Iterator[_End]:
    """Yield the other ways in which the same boot may end: with or without os-separator, earlier, later."""
    if register in SEPARATED:
        without = tuple(entry for entry in events if entry.subject.kind is not Kind.OS_SEPARATOR)
        if len(without) < len(events):
            yield "the os-separator is absent", Cause.OS_SEPARATOR, without
        else:
            added = _word(OS_SEPARATOR, Kind.OS_SEPARATOR)
            yield "the os-separator was measured", Cause.OS_SEPARATOR, (*events, added)
    if register == Register.KERNEL_BOOT:
        yield from _phases(events)
    if register == Register.SYSTEM_IDENTITY and all(entry.subject.name != CAP for entry in events):
        yield "the machine is capped", Cause.AGENT, (*events, _word(CAP, Kind.AGENT_WORD))
    for length in range(len(events) - 1, 0, -1):
        entry = events[length]
        yield f"the boot stopped before {entry.subject.words}", Cause.PHASE, tuple(events[:length])


def _phases(events: Sequence[Entry]) -> Iterator[_End]:
    sections = tuple(entry for entry in events if entry.subject.kind is not Kind.PHASE)
    reached = tuple(entry.subject.name for entry in events if entry.subject.kind is Kind.PHASE)
    for mask in range(1 << len(PHASES)):
        words = tuple(word for bit, word in enumerate(PHASES) if mask >> bit & 1)
        if words == reached:
            continue
        missing = [word for word in reached if word not in words]
        extra = [word for word in words if word not in reached]
        said = [f"the boot phase “{word}” was not reached" for word in missing]
        said += [f"the boot went on to phase “{word}”" for word in extra]
        yield (
            " and ".join(said),
            Cause.PHASE,
            (*sections, *(_word(word, Kind.PHASE) for word in words)),
        )


def _word(word: str, kind: Kind) -> Entry:
    digests = {bank: bank.digest(word.encode("ascii")) for bank in Bank}
    return Entry(digests=digests, subject=Subject(kind=kind, name=word), type=kind.value, text=word)


def _dropped(events: Sequence[Entry]) -> Iterator[_Found]:
    for index, entry in enumerate(events):
        steps = tuple(entry_steps((*events[:index], *events[index + 1 :])))
        yield f"{entry.subject.words} was never measured", Cause.UNKNOWN, steps


def _replaced(events: Sequence[Entry], index: int, data: bytes) -> tuple[Step, ...]:
    return tuple(entry_steps((*events[:index], data, *events[index + 1 :])))


def _retries(events: Sequence[Entry]) -> Iterator[_Found]:
    """The firmware tried boot options that failed: before, or after, the separator."""
    for count in range(1, _RETRIES + 1):
        retry = (_RETURNING, _CALLING) * count
        for place in (2, 1):
            steps = tuple(entry_steps((*events[:place], *retry, *events[place:])))
            yield f"the firmware tried {count} boot option(s) that failed first", Cause.RETRY, steps


def _secure_boot(events: Sequence[Entry]) -> Iterator[_Found]:
    """Secure Boot off with the same keys, in setup mode, or unknown to the firmware."""
    off = variable_data(GLOBAL, keys.SECURE_BOOT, b"\0")
    empty = {
        name: variable_data(GLOBAL if name in ("PK", "KEK") else IMAGE_SECURITY, name, b"")
        for name in ("PK", "KEK", "db", "dbx")
    }
    loaded = [entry for entry in events if entry.subject.kind is not Kind.AUTHORITY]
    states = (
        ("Secure Boot is off, with the same keys", off, False),
        ("Secure Boot is off: the firmware is in setup mode, without keys", off, True),
        (
            "the firmware has no Secure Boot",
            variable_data(GLOBAL, keys.SECURE_BOOT, b""),
            True,
        ),
    )
    for words, state, keyless in states:
        steps = tuple(
            _variable(entry, state, empty if keyless else {})
            if entry.subject.kind is Kind.VARIABLE
            else entry
            for entry in loaded
        )
        yield words, Cause.SECURE_BOOT, tuple(entry_steps(steps))


def _variable(entry: Entry, state: bytes, others: Mapping[str, bytes]) -> Entry | bytes:
    name = entry.subject.name
    return state if name == keys.SECURE_BOOT else others.get(name, entry)


def _command_lines(events: Sequence[Entry]) -> Iterator[_Found]:
    """One word of the command line is another, where the predicted text is known."""
    for index, entry in enumerate(events):
        section = entry.subject.kind is Kind.SECTION and entry.subject.name == ".cmdline"
        if entry.data is None or not (section or entry.subject.kind is Kind.LOAD_OPTIONS):
            continue
        old = cmdline.text_of(entry.data)
        for new, data in cmdline.alternatives(entry.data):
            said = ", ".join(cmdline.difference(old, new)) or "its spacing differs"
            cause = Cause.SECTIONS if section else Cause.KERNEL_COMMAND_LINE
            yield f"{entry.subject.words} differs: {said}", cause, _replaced(events, index, data)


def _additions(events: Sequence[Entry]) -> Iterator[_Found]:
    """A command line from outside, of those that somebody who wants in would set."""
    for text in cmdline.ADDED:
        data = f"{text}\0".encode("utf-16-le")
        words = f"an event that a clean boot does not have: command line “{text}” from outside the UKI"
        yield words, Cause.COMMAND_LINE, (data, *entry_steps(events))


def _exits(events: Sequence[Entry]) -> Iterator[_Found]:
    """The kernel had to leave the boot services more than once."""
    place = next((at for at, entry in enumerate(events) if entry.text.startswith("Exit Boot Services")), None)
    if place is not None:
        for count in range(1, _RETRIES + 1):
            again = (_EXIT, _FAILED) * count
            steps = tuple(entry_steps((*events[:place], *again, *events[place:])))
            yield f"the kernel failed {count} time(s) to leave the boot services", Cause.FIRMWARE, steps


_CHANGES: Mapping[int, tuple[Callable[[Sequence[Entry]], Iterator[_Found]], ...]] = {
    int(Register.BOOT_LOADER_CODE): (_retries,),
    int(Register.BOOT_LOADER_CONFIG): (_exits,),
    int(Register.SECURE_BOOT_POLICY): (_secure_boot,),
    int(Register.KERNEL_INITRD): (_command_lines,),
    int(Register.KERNEL_BOOT): (_command_lines,),
    int(Register.KERNEL_CONFIG): (_additions,),
}

# SPDX-License-Identifier: Apache-2.0
"""The table of registers, scenarios and banks: for a terminal, and as docs/agreement.md."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mantlet.explain.finding import Finding
from mantlet_measure.pcr import BANKS
from tests.crosscheck.second_sources import KNOWN
from tests.vm.agreement.outcomes import REGISTERS, State
from tests.vm.agreement.run import Result

BEGIN, END = "<!-- begin: table -->", "<!-- end: table -->"
_INTRODUCTION = """# Agreement: predicted and booted

Written by `just agreement`, never by hand. Each row is one boot of a virtual machine and one bank; each
number is a register. What is predicted is computed from disk image and firmware variables before the
machine is on. What is observed is rebuilt from the commands that its TPM was given. Every boot but the first
two ends where the kernel takes over: it shows what firmware, boot loader, stub and the kernel's EFI stub
measured.
"""


def text_lines(results: Sequence[Result]) -> Iterator[str]:
    """Yield the table for a terminal, then what it means."""
    width = max(len(result.outcome.scenario.name) for result in results)
    yield f"{'':{width}}  bank    " + " ".join(f"{register:>2}" for register in REGISTERS)
    for result in results:
        outcome = result.outcome
        for bank in BANKS:
            name = outcome.scenario.name if bank is BANKS[0] else ""
            states = " ".join(f"{outcome.states[register, bank]:>2}" for register in REGISTERS)
            yield f"{name:{width}}  {bank}  {states}"
    yield from (f"{state}  {state.meaning}" for state in _seen(results))
    for result in results:
        for finding in explained(result):
            yield f"{result.outcome.scenario.name}: {finding.words}"


def table(results: Sequence[Result]) -> str:
    """Return the table as Markdown, between its marks."""
    heads = " | ".join(str(register) for register in REGISTERS)
    lines = [f"| boot | bank | {heads} |", "|---|---|" + "---|" * len(REGISTERS)]
    for result in results:
        outcome = result.outcome
        for bank in BANKS:
            name = outcome.scenario.name if bank is BANKS[0] else ""
            states = " | ".join(outcome.states[register, bank] for register in REGISTERS)
            lines.append(f"| {name} | {bank} | {states} |")
    return "\n".join((BEGIN, *lines, END))


def markdown(results: Sequence[Result], versions: Mapping[str, str]) -> str:
    """Return the whole document. versions: what made the boots, by name."""
    parts = [_INTRODUCTION]
    parts.append("\n".join(f"- {name}: {version}" for name, version in versions.items()))
    parts.append(table(results))
    parts.append("\n".join(f"- `{state}` {state.meaning}" for state in _seen(results)))
    parts.append("## What differs on purpose, in the words of `mantlet explain`")
    parts.append("Expected is a clean boot of the same image with Secure Boot on, as far as it is computed.")
    said = (
        (result.outcome.scenario.name, ", ".join(map(str, finding.registers)), finding.words)
        for result in results
        for finding in explained(result)
    )
    parts.append(_rows(("boot", "moves", "said"), said))
    parts.append("## What is not predicted, and why")
    reasons: dict[tuple[int, str], list[str]] = {}
    for result in results:
        for register, reason in result.outcome.reasons.items():
            reasons.setdefault((register, reason), []).append(result.outcome.scenario.name)
    rows = (
        (str(register), reason, "every boot" if len(names) == len(results) else "; ".join(names))
        for (register, reason), names in sorted(reasons.items())
    )
    parts.append(_rows(("register", "reason", "in"), rows))
    parts.append(_other_programs())
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _other_programs() -> str:
    rows = ((program, subject, reason) for (program, subject), reason in KNOWN.items())
    return f"""## What other programs compute of the same bytes

tpm2_eventlog replays the log of each of these boots to the same registers. systemd-measure (register 11),
virt-fw-measure (register 7 up to its separator), lief and pesign (Authenticode) compute the same values from
our image and from those made of the other stubs, but for what is known:

{_rows(("program", "of", "why it says something else"), rows)}"""


def explained(result: Result) -> tuple[Finding, ...]:
    """The findings of a boot that differs on purpose."""
    return () if result.explanation is None else result.explanation.findings


def _seen(results: Iterable[Result]) -> tuple[State, ...]:
    seen = {state for result in results for state in result.outcome.states.values()}
    return tuple(state for state in State if state in seen)


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)

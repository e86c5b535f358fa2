# SPDX-License-Identifier: Apache-2.0
"""Where a command line in register 12 came from: an add-on, SMBIOS, or the boot option.

Follows systemd's src/boot/stub.c: load options replace the built-in command line and are refused under Secure
Boot; add-ons are appended as one event and leave their image in register 4; SMBIOS type 11 is appended last,
also under Secure Boot. All three are logged alike, so the other registers decide, and where they do not, it
is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mantlet.explain import cmdline
from mantlet.explain.account import Entry
from mantlet.explain.align import Change
from mantlet.explain.finding import Cause, Remark
from mantlet.explain.registers import Pair, RegisterResult
from mantlet.explain.subject import Kind
from mantlet.predict.secure_boot import variable_data
from mantlet.predict.variables import GLOBAL
from mantlet_measure.pcr import Register

_SMBIOS = "SMBIOS type 11"
_ON = variable_data(GLOBAL, "SecureBoot", b"\x01")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What other registers show: new images (4), Secure Boot (7), the kernel's command line (9)."""

    new_images: int
    secure_boot: bool
    options: Pair | None


def additions(results: Sequence[RegisterResult]) -> tuple[str, ...]:
    """Return the texts that register 12 has and should not have, in order."""
    return tuple(_text(pair.entry) for pair in _new(results))


def remarks(results: Sequence[RegisterResult]) -> tuple[Remark, ...]:
    """Return a remark for each command line that register 12 has and should not have."""
    new = _new(results)
    scene = _scene(results)
    texts = [_text(pair.entry) for pair in new]
    found: list[Remark] = []
    for index, (pair, text) in enumerate(zip(new, texts, strict=True)):
        cause, source = _source(index, texts, scene)
        found.append(
            Remark(
                register=int(Register.KERNEL_CONFIG),
                cause=cause,
                key=text,
                text=f"an event that a clean boot does not have: command line from {source}: “{text}”",
                asides=() if pair.entry.data is not None else ("the text is what the log says of it",),
            )
        )
    return tuple(found)


def _source(index: int, texts: Sequence[str], scene: _Scene) -> tuple[Cause, str]:
    options = scene.options
    if options is not None and len(texts) == 1 and _hashes(options, texts[0]):
        return Cause.COMMAND_LINE, "the boot option, in place of the built-in one"
    if index == 0 and scene.new_images:
        return Cause.ADDON, "an add-on"
    appended = options is not None and _hashes(options, f"{_built_in(options)} {' '.join(texts)}")
    if scene.secure_boot or appended:
        return Cause.COMMAND_LINE, _SMBIOS
    return Cause.COMMAND_LINE, f"{_SMBIOS} or the boot option (the log does not tell which)"


def _new(results: Sequence[RegisterResult]) -> tuple[Pair, ...]:
    return tuple(
        pair
        for result in results
        if result.register == Register.KERNEL_CONFIG
        for pair in result.changes
        if pair.change is Change.EXTRA and pair.kind is Kind.COMMAND_LINE
    )


def _scene(results: Sequence[RegisterResult]) -> _Scene:
    by_register: Mapping[int, RegisterResult] = {result.register: result for result in results}

    def pairs(register: Register) -> tuple[Pair, ...]:
        found = by_register.get(int(register))
        return () if found is None else found.pairs

    return _Scene(
        new_images=sum(
            pair.change is Change.EXTRA and pair.kind is Kind.APPLICATION
            for pair in pairs(Register.BOOT_LOADER_CODE)
        ),
        secure_boot=any(
            pair.observed is not None
            and all(bank.digest(_ON) == digest for bank, digest in pair.observed.digests.items())
            for pair in pairs(Register.SECURE_BOOT_POLICY)
            if pair.kind is Kind.VARIABLE
        ),
        options=next(
            (
                pair
                for pair in pairs(Register.KERNEL_INITRD)
                if pair.kind is Kind.LOAD_OPTIONS and pair.observed
            ),
            None,
        ),
    )


def _hashes(options: Pair, text: str) -> bool:
    """Say whether the kernel measured exactly this command line."""
    if options.observed is None:
        return False
    data = f"{text}\0".encode("utf-16-le", "replace")
    return all(bank.digest(data) == digest for bank, digest in options.observed.digests.items())


def _built_in(options: Pair) -> str:
    data = None if options.expected is None else options.expected.data
    return "" if data is None else cmdline.text_of(data)


def _text(entry: Entry) -> str:
    return entry.subject.name if entry.data is None else cmdline.text_of(entry.data)

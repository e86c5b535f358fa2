# SPDX-License-Identifier: Apache-2.0
"""One changed event in words that a person can act on.

Owns the sentence for each kind of thing and each way to differ. What several registers say of one cause is
put together by `causes`; where a command line came from is found by `origin`.
"""

from collections.abc import Callable, Mapping

from mantlet.explain import cmdline, keys, partitions
from mantlet.explain.align import Change
from mantlet.explain.finding import Cause, Remark
from mantlet.explain.registers import Pair
from mantlet.explain.subject import Kind
from mantlet_measure.pcr import Register

_CHANGED: Mapping[Change, str] = {
    Change.ALTERED: "{} differs",
    Change.MISSING: "{} was never measured",
    Change.EXTRA: "an event that a clean boot does not have: {}",
    Change.MOVED: "{} was measured at another place in the order",
}
# systemd, src/boot/linux.c, before 258: the device path under which the stub loads .linux.
_INNER_KERNEL = "55c5d1f8-04cd-46b5-8a20-e56cbb3052d0"
# UAPI.7: registers that the firmware alone extends.
_FIRMWARES = (0, 1, 2, 3, 6)
_RETURNING = "Returning from EFI Application"
_CALLING = "Calling EFI Application"


def remark(register: int, pair: Pair, additions: tuple[str, ...]) -> Remark:
    """Return what there is to say of a pair that is not the same on both sides.

    additions: texts that the machine says it appended to the command line.
    """
    special = _SPECIAL.get(pair.kind)
    found = None if special is None else special(register, pair, additions)
    if found is not None:
        return found
    cause = Cause.FIRMWARE if register in _FIRMWARES else Cause.UNKNOWN
    return _plain(register, pair, cause, key=f"register {register}")


def _plain(
    register: int,
    pair: Pair,
    cause: Cause,
    *,
    key: str = "",
    details: tuple[str, ...] = (),
    consequence: bool = False,
) -> Remark:
    text = _CHANGED[pair.change].format(pair.entry.subject.words)
    return Remark(
        register=register,
        cause=cause,
        text=text,
        key=key,
        details=details,
        asides=_provenance(pair),
        consequence=consequence,
    )


def _provenance(pair: Pair) -> tuple[str, ...]:
    """Say what the description of an observed event rests on, unless its data proves it."""
    entry = pair.observed
    if entry is None or entry.data is not None or not entry.place:
        return ()
    digest = next(iter(entry.digests.values())).hex()[:16]
    return (f"{entry.place} measures {digest}…; that it is this is what the log says, not what it proves",)


def _section(register: int, pair: Pair, additions: tuple[str, ...]) -> Remark:
    name = pair.entry.subject.name
    if pair.change is not Change.ALTERED or pair.expected is None or pair.observed is None:
        gone = pair.change is Change.MISSING
        text = (
            f"section {name} is {'gone' if gone else 'new' if pair.change is Change.EXTRA else 'elsewhere'}"
        )
        return Remark(register=register, cause=Cause.SECTIONS, key=name, text=text)
    details: tuple[str, ...] = ()
    if name == ".cmdline":
        details = command_line_change(pair, additions)
    elif pair.expected.data is not None and pair.observed.data is not None:
        details = _lines(pair.expected.data, pair.observed.data)
    return Remark(
        register=register, cause=Cause.SECTIONS, key=name, text=f"section {name} differs", details=details
    )


def _section_name(register: int, pair: Pair, _additions: tuple[str, ...]) -> Remark:
    name = pair.entry.subject.name
    moved = pair.change is Change.MOVED
    text = (
        f"section {name} {'stands elsewhere' if moved else 'is new' if pair.expected is None else 'is gone'}"
    )
    return Remark(register=register, cause=Cause.SECTIONS, key=name, text=text)


def _lines(old: bytes, new: bytes) -> tuple[str, ...]:
    """Name the lines of a small text section that came and went."""
    before = old.rstrip(b"\0").decode("utf-8", "replace").splitlines()
    after = new.rstrip(b"\0").decode("utf-8", "replace").splitlines()
    gone = [f"`{line}` is gone" for line in before if line not in after]
    come = [f"`{line}` is new" for line in after if line not in before]
    return tuple((gone + come)[:8])


def command_line_change(pair: Pair, additions: tuple[str, ...]) -> tuple[str, ...]:
    """Say which words of a measured command line changed, as far as that is known."""
    if pair.expected is None or pair.observed is None or pair.expected.data is None:
        return ()
    old = cmdline.text_of(pair.expected.data)
    if pair.observed.data is not None:
        return cmdline.difference(old, cmdline.text_of(pair.observed.data)) or ("only its spacing differs",)
    new = cmdline.recovered(pair.expected.data, pair.observed.digests, additions)
    if new is None:
        return ("no known change of one word explains it; the log does not hold the new text",)
    return cmdline.difference(old, new)


def _load_options(register: int, pair: Pair, additions: tuple[str, ...]) -> Remark:
    details = command_line_change(pair, additions)
    text = "the kernel got another command line"
    return Remark(
        register=register, cause=Cause.KERNEL_COMMAND_LINE, text=text, details=details, consequence=True
    )


def _initrd(register: int, pair: Pair, _additions: tuple[str, ...]) -> Remark | None:
    if pair.change is not Change.ALTERED:
        return None
    text = "the kernel got another initrd"
    asides = (
        "if .initrd is unchanged, something was put beside it: an initrd that was registered before the stub "
        "ran, a boot secret, or a file on the EFI system partition",
    )
    return Remark(register=register, cause=Cause.INITRD, text=text, asides=asides, consequence=True)


def _application(register: int, pair: Pair, _additions: tuple[str, ...]) -> Remark:
    if pair.change is Change.ALTERED:
        text = "another EFI image was started"
        return Remark(register=register, cause=Cause.IMAGES, text=text, consequence=True)
    if pair.change is not Change.EXTRA:
        return _plain(register, pair, Cause.IMAGES)
    path = pair.entry.subject.name
    text = "one more EFI image was started"
    if _INNER_KERNEL in path.lower():
        text = "the inner kernel was measured too, as stubs up to 257 do while Secure Boot is off"
    elif path:
        text = f"one more EFI image was started: {path}"
    return Remark(register=register, cause=Cause.IMAGES, key="extra", text=text, asides=_provenance(pair))


def _action(register: int, pair: Pair, _additions: tuple[str, ...]) -> Remark:
    name = pair.entry.subject.name
    retried = pair.change is not Change.MISSING and name.startswith((_RETURNING, _CALLING))
    if register == Register.BOOT_LOADER_CODE and retried:
        text = "the firmware tried a boot option that failed, before the one that worked"
        return Remark(register=register, cause=Cause.RETRY, text=text)
    return _plain(register, pair, Cause.LOADER if register == 5 else Cause.FIRMWARE)


def _variable(register: int, pair: Pair, _additions: tuple[str, ...]) -> Remark:
    old = None if pair.expected is None else pair.expected.data
    new = None if pair.observed is None else pair.observed.data
    details = keys.difference(old, new)
    name = pair.entry.subject.name
    if name == keys.SECURE_BOOT and details:
        return Remark(register=register, cause=Cause.SECURE_BOOT, key=name, text=details[0])
    return _plain(register, pair, Cause.SECURE_BOOT, key=name, details=details)


def _authority(register: int, pair: Pair, _additions: tuple[str, ...]) -> Remark:
    sides = (
        ("should have been", None if pair.expected is None else keys.authority(pair.expected.data)),
        ("was", None if pair.observed is None else keys.authority(pair.observed.data)),
    )
    details = tuple(f"the db entry {verb} {name}" for verb, name in sides if name)
    return _plain(register, pair, Cause.SECURE_BOOT, key="authority", details=details, consequence=True)


def _partitions(register: int, pair: Pair, _additions: tuple[str, ...]) -> Remark:
    old = None if pair.expected is None else pair.expected.data
    new = None if pair.observed is None else pair.observed.data
    return _plain(register, pair, Cause.DISK, details=partitions.difference(old, new))


def _phase(register: int, pair: Pair, _additions: tuple[str, ...]) -> Remark:
    name = pair.entry.subject.name
    text = {
        Change.MISSING: f"the boot phase “{name}” was not reached",
        Change.EXTRA: f"the boot went on to phase “{name}”",
    }.get(pair.change, f"{pair.entry.subject.words} differs")
    return Remark(register=register, cause=Cause.PHASE, text=text, key=name)


def _agent(register: int, pair: Pair, _additions: tuple[str, ...]) -> Remark:
    event = pair.entry.subject.name.split(":")[1]
    text = {
        Change.ALTERED: f"another {event}: {_short(pair.expected)} became {_short(pair.observed)}",
        Change.MISSING: f"the word `{event}` was not extended"
        + (": the machine is not capped, and still waits for its key" if event == "cap" else ""),
        Change.EXTRA: f"the word `{event}` was extended"
        + (": the machine is capped, and its key is out of reach" if event == "cap" else ""),
    }.get(pair.change, f"the word `{event}` was extended at another place in the order")
    return Remark(register=register, cause=Cause.AGENT, key=event, text=text)


def _short(entry: object) -> str:
    name = str(getattr(getattr(entry, "subject", None), "name", ""))
    return name.rsplit(":", 1)[-1][:16] + "…"


def _as(cause: Cause) -> Callable[[int, Pair, tuple[str, ...]], Remark]:
    return lambda register, pair, _additions: _plain(register, pair, cause, key=pair.entry.subject.name)


_SPECIAL: Mapping[Kind, Callable[[int, Pair, tuple[str, ...]], Remark | None]] = {
    Kind.SECTION: _section,
    Kind.SECTION_NAME: _section_name,
    Kind.LOAD_OPTIONS: _load_options,
    Kind.INITRD: _initrd,
    Kind.APPLICATION: _application,
    Kind.ACTION: _action,
    Kind.VARIABLE: _variable,
    Kind.AUTHORITY: _authority,
    Kind.PARTITIONS: _partitions,
    Kind.PHASE: _phase,
    Kind.AGENT_WORD: _agent,
    Kind.LOADER_CONFIGURATION: _as(Cause.LOADER),
    Kind.OS_SEPARATOR: _as(Cause.OS_SEPARATOR),
    Kind.CREDENTIALS: _as(Cause.CREDENTIALS),
    Kind.CONFEXTS: _as(Cause.EXTENSIONS),
    Kind.SYSEXTS: _as(Cause.EXTENSIONS),
    Kind.PROFILE: _as(Cause.PROFILE),
    Kind.ADDON_DATA: _as(Cause.ADDON),
    Kind.COMMAND_LINE: _as(Cause.COMMAND_LINE),
}

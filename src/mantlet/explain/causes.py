# SPDX-License-Identifier: Apache-2.0
"""From remarks about single events to findings: one a cause, with all the registers that it moved.

A changed command line shows in register 11, in 9 where the kernel gets it, and in 4 where the whole image is
measured: that is one thing to say, not three. Owns the rules of what follows from what.
"""

from collections.abc import Mapping, Sequence

from mantlet.explain import origin, words
from mantlet.explain.finding import Cause, Finding, Remark
from mantlet.explain.registers import Outcome, RegisterResult
from mantlet.explain.subject import Kind

# A consequence belongs to the first of these causes that was found.
_FOLLOWS: Mapping[Cause, tuple[Cause, ...]] = {
    Cause.KERNEL_COMMAND_LINE: (Cause.COMMAND_LINE, Cause.ADDON, Cause.SECTIONS, Cause.PROFILE),
    Cause.INITRD: (
        Cause.SECTIONS,
        Cause.CREDENTIALS,
        Cause.EXTENSIONS,
        Cause.ADDON,
        Cause.PROFILE,
        Cause.IMAGES,
    ),
    Cause.IMAGES: (Cause.SECTIONS, Cause.ADDON),
    Cause.SECURE_BOOT: (Cause.SECURE_BOOT,),
}
# Causes whose remarks are one finding; of the others, each key is one of its own.
_TOGETHER = (Cause.SECTIONS, Cause.SECURE_BOOT, Cause.OS_SEPARATOR, Cause.RETRY, Cause.PHASE, Cause.IMAGES)
_ORDER = tuple(Cause)
_DETAILS = 16


def gather(results: Sequence[RegisterResult]) -> tuple[Finding, ...]:
    """Return the findings of all registers that differ and whose events are known on both sides."""
    added = origin.additions(results)
    remarks = [*origin.remarks(results)]
    for result in results:
        if result.outcome is not Outcome.DIFFERS:
            continue
        for pair in result.changes:
            if pair.kind is Kind.COMMAND_LINE and pair.expected is None:
                continue
            remarks.append(words.remark(result.register, pair, added))
    return _grouped(remarks)


def _grouped(remarks: Sequence[Remark]) -> tuple[Finding, ...]:
    groups: dict[tuple[Cause, str], list[Remark]] = {}
    for remark in remarks:
        if not remark.consequence:
            key = "" if remark.cause in _TOGETHER else remark.key
            groups.setdefault((remark.cause, key), []).append(remark)
    followers: dict[tuple[Cause, str], list[Remark]] = {}
    for remark in remarks:
        if remark.consequence:
            target = _target(remark, groups)
            if target is None:
                target = (remark.cause, "")
                groups[target] = [remark]
            else:
                followers.setdefault(target, []).append(remark)
    _merge_images(groups, followers)
    _merge_profile(groups, followers)
    found = [_finding(cause, own, followers.get((cause, key), [])) for (cause, key), own in groups.items()]
    return tuple(sorted(found, key=lambda item: (_ORDER.index(item.cause), item.registers)))


def _target(remark: Remark, groups: Mapping[tuple[Cause, str], Sequence[Remark]]) -> tuple[Cause, str] | None:
    for cause in (*_FOLLOWS.get(remark.cause, ()), remark.cause):
        found = next((key for key in groups if key[0] is cause), None)
        if found is not None:
            return found
    return None


def _merge_images(
    groups: dict[tuple[Cause, str], list[Remark]], followers: dict[tuple[Cause, str], list[Remark]]
) -> None:
    """Let the image that an add-on is follow from what the add-on brought."""
    addon = next((key for key in groups if key[0] is Cause.ADDON), None)
    images = (Cause.IMAGES, "")
    if addon is None or images not in groups:
        return
    extra = [remark for remark in groups[images] if remark.key == "extra"]
    others = [remark for remark in groups[images] if remark.key != "extra"]
    followers.setdefault(addon, []).extend(extra)
    if others:
        groups[images] = others
    else:
        del groups[images]
        followers[addon].extend(followers.pop(images, []))


def _merge_profile(
    groups: dict[tuple[Cause, str], list[Remark]], followers: dict[tuple[Cause, str], list[Remark]]
) -> None:
    """Let the sections that another profile brings follow from the profile."""
    profile = next((key for key in groups if key[0] is Cause.PROFILE), None)
    sections = (Cause.SECTIONS, "")
    if profile is not None and sections in groups:
        followers.setdefault(profile, []).extend(groups.pop(sections))
        followers[profile].extend(followers.pop(sections, []))


def _finding(cause: Cause, own: Sequence[Remark], follows: Sequence[Remark]) -> Finding:
    headline, details = _headline(cause, own)
    first = own[0].register
    others = {remark.register for remark in (*own, *follows)} - {first}
    said = [*details]
    for remark in follows:
        line = f"PCR {remark.register} follows: {remark.text}"
        if line not in said:
            said.append(line)
    if len(said) > _DETAILS:
        said = [*said[: _DETAILS - 1], f"and {len(said) - _DETAILS + 1} lines more"]
    return Finding(cause=cause, registers=(first, *sorted(others)), headline=headline, details=tuple(said))


def _headline(cause: Cause, own: Sequence[Remark]) -> tuple[str, tuple[str, ...]]:
    match cause:
        case Cause.SECTIONS:
            return _sections(own)
        case Cause.SECURE_BOOT:
            return _secure_boot(own)
        case Cause.RETRY:
            return own[0].text, (f"{len(own)} such events of the firmware",)
        case Cause.OS_SEPARATOR:
            registers = ", ".join(str(remark.register) for remark in own)
            return own[0].text, (f"in registers {registers}: systemd-pcrosseparator.service decides",)
    texts = tuple(dict.fromkeys(remark.text for remark in own))
    details = tuple(detail for remark in own for detail in remark.details)
    asides = tuple(dict.fromkeys(aside for remark in own for aside in remark.asides))
    if len(texts) == 1 and len(details) == 1:
        return f"{texts[0]}: {details[0]}", asides
    return texts[0], (*texts[1:], *details, *asides)


def _sections(own: Sequence[Remark]) -> tuple[str, tuple[str, ...]]:
    """Name the sections that differ; one of several remarks about a section is enough."""
    by_name: dict[str, Remark] = {}
    for remark in own:
        if remark.key not in by_name or not by_name[remark.key].details:
            by_name[remark.key] = remark
    if len(by_name) == 1:
        remark = next(iter(by_name.values()))
        if not remark.details:
            return remark.text, ()
        if len(remark.details) <= 2:
            return f"{remark.text}: {', '.join(remark.details)}", ()
        return f"{remark.text}: {remark.details[0]}, and more", remark.details
    lines = tuple(
        f"{remark.text}: {', '.join(remark.details)}" if remark.details else remark.text
        for remark in by_name.values()
    )
    return f"another UKI was started: {_joined(list(by_name))} differ", lines


def _secure_boot(own: Sequence[Remark]) -> tuple[str, tuple[str, ...]]:
    state = next((remark for remark in own if remark.key == "SecureBoot"), None)
    others = [remark for remark in own if remark is not state]
    details = tuple(detail for remark in others for detail in remark.details or (remark.text,))
    if state is not None:
        return state.text, details
    if len(others) == 1 and others[0].consequence:
        return others[0].text, details
    if len(details) == 1:
        return f"the Secure Boot keys differ: {details[0]}", ()
    return "the Secure Boot keys differ", details


def _joined(names: list[str]) -> str:
    return f"sections {', '.join(names[:-1])} and {names[-1]}"

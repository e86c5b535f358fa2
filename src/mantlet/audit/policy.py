# SPDX-License-Identifier: Apache-2.0
"""The audit's policy, decoded: which image it is about, its exceptions, units, exposures and login fuse.

Owns the form of policies/audit.yaml (policies/schema/audit.json); the caller has read the YAML.
"""

from collections.abc import Iterator, Mapping
from typing import NoReturn

from mantlet.audit.allowed import Allowed
from mantlet.audit.checks import CHECKS
from mantlet.audit.finding import Exemption, Policy
from mantlet.audit.tree import INITRD, ROOT
from mantlet_measure.errors import DecodeError, shown

FORMAT = "mantlet-audit/v1"
WHAT = "audit policy"
_EXCEPTIONS, _UNITS, _TEXT = 256, 4096, 400


def decode(value: object, allowed: Allowed | None = None) -> Policy:
    """Decode a policy. DecodeError on unknown members, unknown rules, and exceptions without a reason.

    allowed: the lists of the same image, if it has any; lists of another are refused.
    """
    fields = _object(value, ("format", "image", "exceptions", "exposures", "fuse", "units"), WHAT)
    if fields["format"] != FORMAT:
        _refuse("format", FORMAT, fields["format"])
    image = _text(fields["image"], "image")
    if allowed is not None and allowed.image != image:
        _refuse("image", f"{allowed.image}, whose lists were read", image)
    return Policy(
        image=image,
        exceptions=tuple(_exception(item) for item in _list(fields["exceptions"], "exceptions", _EXCEPTIONS)),
        units={
            tree: frozenset(_text(name, f"units.{tree}") for name in _list(names, f"units.{tree}", _UNITS))
            for tree, names in _object(fields["units"], (ROOT, INITRD), "units").items()
        },
        exposures=dict(_exposures(fields["exposures"])),
        fuse="" if fields["fuse"] is None else _text(fields["fuse"], "fuse"),
        allowed=allowed or Allowed(),
    )


def _exposures(value: object) -> Iterator[tuple[str, float]]:
    if not isinstance(value, dict) or len(value) > _UNITS:
        _refuse("exposures", f"an object of at most {_UNITS}", value)
    for unit, exposure in value.items():
        if not isinstance(exposure, int | float) or isinstance(exposure, bool) or not 0 <= exposure <= 10:
            _refuse(f"exposures.{shown(unit)}", "a number from 0 to 10", exposure)
        yield _text(unit, "exposures"), float(exposure)


def _exception(value: object) -> Exemption:
    fields = _object(value, ("rule", "subject", "reason"), "exception")
    rule = _text(fields["rule"], "exception.rule")
    if rule not in CHECKS:
        _refuse("exception.rule", "the id of a check", rule)
    return Exemption(
        rule=rule,
        subject=_text(fields["subject"], "exception.subject"),
        reason=_text(fields["reason"], "exception.reason"),
    )


def _object(value: object, names: tuple[str, ...], what: str) -> Mapping[str, object]:
    if not isinstance(value, dict) or set(value) != set(names):
        _refuse(what, f"an object of {', '.join(names)}", value)
    return value


def _list(value: object, what: str, limit: int) -> list[object]:
    if not isinstance(value, list) or len(value) > limit:
        _refuse(what, f"a list of at most {limit}", value)
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT:
        _refuse(what, f"text of 1 to {_TEXT} characters", value)
    return value


def _refuse(what: str, expected: str, found: object) -> NoReturn:
    raise DecodeError(f"{WHAT}: {what}", expected=expected, found=shown(found), hint="mend the policy")

# SPDX-License-Identifier: Apache-2.0
"""What an attack is: its name among the rules, what it changes, what it tries, its sign, and its control.

Owns the types. Attacks themselves are in `catalogue`; what a boot showed is in `observation`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from mantlet.attack.changes import Change
from mantlet.attack.observation import Observation


@dataclass(frozen=True, slots=True)
class Sign:
    """What an attack's success looks like from outside: in words, and how it is seen, a phrase each."""

    words: str
    seen: Callable[[Observation], Iterable[str]]


class Control(StrEnum):
    """How it is shown that the attack would be seen: the same attack where one thing is weaker."""

    # The image without its closures, with keys of its own.
    WEAKENED_BUILD = "weakened-build"
    # The production image; the policy key has signed whatever the attacked machine measured.
    APPROVED_ANYTHING = "approved-anything"
    # Both: the weakened build, and a policy key that has signed whatever it measured under attack.
    WEAKENED_APPROVED = "weakened-approved"
    # The production image with one closure taken away from outside, by the attack's `opening`.
    OPENED = "opened"
    # The production image, without the withdrawal that the attack runs into.
    NOT_WITHDRAWN = "not-withdrawn"
    # A stated limit: the attack itself must succeed, else what is stated is out of date.
    LIMIT = "limit"

    @property
    def meaning(self) -> str:
        """What is weaker."""
        return _MEANINGS[self]


_MEANINGS = {
    Control.WEAKENED_BUILD: "the weakened build",
    Control.APPROVED_ANYTHING: "a policy key that signed what the attacked machine measured",
    Control.WEAKENED_APPROVED: "the weakened build, and a policy key that signed what it measured",
    Control.OPENED: "the same image with one closure taken away from outside",
    Control.NOT_WITHDRAWN: "a release that was not withdrawn",
    Control.LIMIT: "none: a stated limit, shown to be one",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack.

    id: its own; name: what the rules call it (`attack:` in policies/operator-access.yaml), which several
    attacks may share; changes: before power-on; opening: the control's further changes; probes: names of what
    is tried while it serves, or looked at when it is off, in order;
    group: attacks of one group share a boot, None has its own; sign: how its success looks;
    releases: whether the TPM may have released the key, because the attack comes later or has no effect on
    it; stands: whether the machine may stand still where others power off, because nothing runs yet that
    could; fast: whether it is in the quick subset.
    """

    id: str
    name: str
    title: str
    sign: Sign
    control: Control
    changes: tuple[Change, ...] = ()
    opening: tuple[Change, ...] = ()
    probes: tuple[str, ...] = ()
    group: str | None = None
    releases: bool = True
    stands: bool = False
    fast: bool = False

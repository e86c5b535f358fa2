# SPDX-License-Identifier: Apache-2.0
"""All attacks, by family. A rule of operator access names them; none is here without a rule.

Owns the list and the choice among it. A family is a module of its own; order is the order of running.
"""

from collections.abc import Collection

from mantlet.attack.catalogue import credentials, inputs, limits, measured, ports, runtime, storage, tpm
from mantlet.attack.model import Attack

_FAMILIES = (credentials, inputs, ports, storage, measured, tpm, runtime, limits)

CATALOGUE: tuple[Attack, ...] = tuple(attack for family in _FAMILIES for attack in family.ATTACKS)
"""Every attack, each id once."""


def chosen(*, only: Collection[str] = (), fast: bool = False) -> tuple[Attack, ...]:
    """Choose by id or by the rules' name for it; all when nothing is asked for."""
    return tuple(
        attack
        for attack in CATALOGUE
        if (not only or attack.id in only or attack.name in only) and (attack.fast or not fast)
    )


def boots(attacks: Collection[Attack]) -> tuple[tuple[Attack, ...], ...]:
    """Gather attacks that share a boot, in the order of the first of each."""
    gathered: dict[str, list[Attack]] = {}
    for attack in attacks:
        gathered.setdefault(attack.group or f"/{attack.id}", []).append(attack)
    return tuple(tuple(group) for group in gathered.values())


def beside(attack: Attack) -> tuple[Attack, ...]:
    """Return the attacks that share a boot with one, itself among them."""
    return tuple(
        each for each in CATALOGUE if each is attack or (attack.group and each.group == attack.group)
    )


def family(attack: Attack) -> str:
    """Return the name of the module that defines an attack."""
    return next(each.__name__.rpartition(".")[2] for each in _FAMILIES if attack in each.ATTACKS)

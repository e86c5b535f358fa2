# SPDX-License-Identifier: Apache-2.0
"""Units that a device starts when it comes: by udev's rules or by its own unit, and what these start.

Follows systemd.device(5). Whoever gives the machine its devices decides whether they start, and so they count
where a unit should not be started, and do not where one has to be. What a device names itself is in nobody's
list of units, and is for `mantlet.audit.checks.devices`.
"""

from mantlet.audit import udev, units
from mantlet.audit.units import Units

# Its instances are the managers that start users' units.
_MANAGER = "user@.service"


def by_devices(found: Units) -> dict[str, str]:
    """Return the system's units that devices start beside a boot's, each with the file that says so."""
    started = found.started()
    return {name: rules for name, rules in _following(found, user=False).items() if name not in started}


def by_devices_of_users(found: Units) -> dict[str, str]:
    """Return the units that devices start in users' managers; none where no such manager can be started.

    found: the system's units.
    """
    if found.file(_MANAGER) is None:
        return {}
    return _following(units.of(found.tree, units.USER_FOLDERS), user=True)


def said(rules: str) -> str:
    """Say of a unit that devices start, in a finding, which file has them do so."""
    return f"which {rules} has a device want"


def _following(found: Units, *, user: bool) -> dict[str, str]:
    ruled = ((want.unit, want.rules) for want in udev.wants(found.tree) if want.known and want.user == user)
    first: dict[str, str] = {}
    for unit, rules in (*ruled, *found.of_devices()):
        first.setdefault(unit, rules)
    wanted: dict[str, str] = {}
    for unit, rules in first.items():
        for name in sorted(found.following(unit, *_instances(found, unit))):
            wanted.setdefault(name, rules)
    return wanted


def _instances(found: Units, unit: str) -> list[str]:
    """Return the instances of a template that have a file of their own: a device may be one of them."""
    if "@." not in unit:
        return []
    return [name for name in found.files if name != unit and units.template(name) == unit]

# SPDX-License-Identifier: Apache-2.0
"""The login fuse: a service that watches the running machine, without which nothing may answer.

What it is, by what it does and in anybody's image: a service of the root that has to say again and again that
it lives (`WatchdogSec=`), and whose end ends the machine (`FailureAction=` or `SuccessAction=`,
systemd.unit(5)). systemd ships none. The policy of an image may name its fuse besides, so that one that is
gone is missed. An image with neither has no findings. That it sees what it should is shown by machines.

What has to wait for it: each service that stays and is started after basic.target, as is the default, and so
is not part of what was there before; it must require the fuse and come after it, itself or by another
service. One that begins earlier must only come after it, and only when it may use a network.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mantlet.audit import units
from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import INITRD
from mantlet.audit.units import Units

RULE = "login-fuse"
_ACTIONS = ("FailureAction", "SuccessAction")
# systemd.unit(5): what ends the machine. A new boot has a new fuse, and registers that begin anew.
_ENDS = ("poweroff", "reboot", "halt")
_REQUIRING = ("Requires", "Requisite", "BindsTo")
# systemd.unit(5): an empty word takes nothing back of these.
_DEPENDENCIES = frozenset({*_REQUIRING, "After", "Before"})
_NO = ("", "no", "false", "off", "0", "n", "f")
_NETWORKS = frozenset({"AF_INET", "AF_INET6", "AF_VSOCK", "AF_PACKET"})
_finding = Remedy(
    "let the fuse's end power the machine off, let a boot start it, and let what answers have Requires= and "
    "After= of it"
).finding


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """A service's settings: of a name that may stand once the last one, of a list all words."""

    single: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]

    def says(self, name: str, *, default: bool) -> bool:
        """Whether a switch is on."""
        return default if name not in self.single else self.single[name].lower() not in _NO

    @property
    def ends(self) -> tuple[str, ...]:
        """Those of its actions that end the machine, however quickly."""
        return tuple(name for name in _ACTIONS if self.single.get(name, "").split("-")[0] in _ENDS)

    @property
    def is_watched(self) -> bool:
        """Whether systemd ends it when it does not say that it lives."""
        return re.search("[1-9]", self.single.get("WatchdogSec", "")) is not None

    def words(self, *names: str) -> frozenset[str]:
        """Return all words of these lists."""
        return frozenset(word for name in names for word in self.lists.get(name, ()))

    @property
    def stays(self) -> bool:
        """Whether it runs on: it starts a program, and not to wait for its end."""
        return "ExecStart" in self.single and self.single.get("Type") != "oneshot"

    @property
    def has_network(self) -> bool:
        """Whether its sandbox leaves it a network."""
        words = self.lists.get("RestrictAddressFamilies", ())
        families = not words or words[0].startswith("~") or bool(_NETWORKS & set(words))
        closed = "any" in self.lists.get("IPAddressDeny", ()) and not self.lists.get("IPAddressAllow")
        return families and not closed and not self.says("PrivateNetwork", default=False)


def login_fuse(image: Image, policy: Policy) -> Iterator[Finding]:
    """A watch is kept for as long as the machine answers, and its end is the machine's."""
    for tree in image.trees:
        if tree.name.startswith(INITRD):
            continue
        found = units.of(tree)
        services = {name: _service(found, name) for name in found.present() if name.endswith(".service")}
        fuses = {name for name, service in services.items() if service.is_watched and service.ends}
        for fuse in sorted(fuses | {policy.fuse} - {""}):
            yield from _of_fuse(found, services, fuse)


def _of_fuse(found: Units, services: Mapping[str, _Service], fuse: str) -> Iterator[Finding]:
    subject = found.tree.subject(fuse)
    service = services.get(fuse)
    if service is None:
        yield _finding(RULE, Severity.HIGH, subject, "the unit of the login fuse", "none")
        return
    if fuse not in found.started():
        yield _finding(RULE, Severity.HIGH, subject, "a unit that a boot starts", "one that nothing starts")
    for name in _ACTIONS:
        if name not in service.ends:
            yield _finding(
                RULE,
                Severity.HIGH,
                f"{subject} {name}",
                "the end of the machine",
                service.single.get(name, ""),
            )
    if not service.is_watched:
        yield _finding(RULE, Severity.MEDIUM, f"{subject} WatchdogSec", "a time", "")
    # systemd.service(5): a service that is started again has not failed, and the action waits.
    if (restart := service.single.get("Restart", "no")) not in _NO:
        yield _finding(RULE, Severity.HIGH, f"{subject} Restart", "no", restart)
    bound = _bound(services, fuse)
    for name, other in services.items():
        if name == fuse or not other.stays:
            continue
        follows = _follows(services, name, fuse)
        if other.says("DefaultDependencies", default=True) and name not in bound:
            expected, said = f"Requires= and After= of {fuse}", "After= alone" if follows else "none"
            yield _finding(RULE, Severity.HIGH, found.tree.subject(name), expected, said)
        elif other.has_network and not follows and name not in bound:
            yield _finding(RULE, Severity.HIGH, found.tree.subject(name), f"After= of {fuse}", "none")


def _bound(services: Mapping[str, _Service], fuse: str) -> set[str]:
    """Return the services that are there while the fuse is: that require it, and come after it."""
    bound, size = {fuse}, 0
    while len(bound) > size:
        size = len(bound)
        for name, service in services.items():
            required = service.words(*_REQUIRING) & bound
            if any(_follows(services, name, other) for other in required):
                bound.add(name)
    return bound


def _follows(services: Mapping[str, _Service], name: str, other: str) -> bool:
    return other in services[name].words("After") or name in services[other].words("Before")


def _service(found: Units, name: str) -> _Service:
    single: dict[str, str] = {}
    lists: dict[str, tuple[str, ...]] = {}
    for setting in found.settings(name):
        single[setting.name] = setting.value
        kept = lists.get(setting.name, ()) if setting.value or setting.name in _DEPENDENCIES else ()
        lists[setting.name] = (*kept, *setting.value.split())
    required = (path.rsplit("/", 1)[1] for path in found.dropped.get(f"{name}.requires", ()))
    lists["Requires"] = (*lists.get("Requires", ()), *required)
    return _Service(single=single, lists=lists)

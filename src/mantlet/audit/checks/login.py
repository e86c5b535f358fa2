# SPDX-License-Identifier: Apache-2.0
"""Units that end in a prompt or a shell: gettys, the debug shell, emergency and rescue mode.

Follows systemd-getty-generator(8), systemd-debug-generator(8) and bootup(7). That a unit is there is enough:
what starts it may come from outside (a credential, a command line, a fault). A mask in /etc does not help
against units that are made at run time, and so the units have to be gone.
"""

import re
from collections.abc import Iterator

from mantlet.audit import units, wanted
from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image
from mantlet.audit.units import Units

GETTY, SERIAL_GETTY, DEBUG_SHELL, EMERGENCY = "getty", "serial-getty", "debug-shell", "emergency-shell"
PASSWORD, AUTOLOGIN = "password-prompt", "autologin"
_GETTY = re.compile(r"(getty|autovt|getty-static|console-getty|container-getty|getty-pre)@?[^/]*\.service")
_SERIAL = re.compile(r"serial-getty@[^/]*\.service")
_DEBUG = re.compile(r"(debug-shell|breakpoint-pre-[a-z-]+|systemd-bsod)\.service")
_ASK = re.compile(r"(systemd-ask-password|plymouth|systemd-(homed-)?firstboot|systemd-sysinstall).*")
_GENERATED = {GETTY: "systemd-getty-generator", DEBUG_SHELL: "systemd-debug-generator"}
_ENDS = ("poweroff.target", "reboot.target", "halt.target", "systemd-poweroff.service")
_TO_SHELL = re.compile(r"sulogin|/(ba|da|z|k)?sh\b|busybox")
_finding = Remedy(
    "remove the file from the image, and make an alias of poweroff.target of what a fault leads to"
).finding


def getty(image: Image, policy: Policy) -> Iterator[Finding]:
    """No unit asks for a login at a virtual terminal, and no generator makes one."""
    yield from _matching(image, GETTY, _GETTY, "a login prompt")


def serial_getty(image: Image, policy: Policy) -> Iterator[Finding]:
    """No unit asks for a login at a serial port or a hypervisor's console."""
    yield from _matching(image, SERIAL_GETTY, _SERIAL, "a login prompt")


def debug_shell(image: Image, policy: Policy) -> Iterator[Finding]:
    """There is no debug shell, and no generator that starts units by the command line or credentials."""
    yield from _matching(image, DEBUG_SHELL, _DEBUG, "a shell of root without a password")


def password_prompt(image: Image, policy: Policy) -> Iterator[Finding]:
    """Nothing asks questions at a console: neither for passphrases nor at a first boot."""
    yield from _matching(image, PASSWORD, _ASK, "a question at the console", severity=Severity.MEDIUM)


def emergency_shell(image: Image, policy: Policy) -> Iterator[Finding]:
    """Emergency and rescue mode, where a fault leads, end in power-off."""
    for tree in image.trees:
        found = units.of(tree)
        for mode in ("emergency", "rescue"):
            yield from _ending(found, mode)


def autologin(image: Image, policy: Policy) -> Iterator[Finding]:
    """No unit logs somebody in without a password."""
    for tree in image.trees:
        found = units.of(tree)
        for path in tree.below(*units.UNIT_FOLDERS):
            for setting in tree.settings(path):
                if setting.name.startswith("Exec") and "--autologin" in setting.value:
                    yield _finding(
                        AUTOLOGIN, Severity.HIGH, tree.subject(path), "no --autologin", setting.value
                    )
        for name in found.present():
            for setting in found.settings(name):
                if setting.name == "Environment" and "SYSTEMD_SULOGIN_FORCE" in setting.value:
                    yield _finding(
                        AUTOLOGIN,
                        Severity.HIGH,
                        tree.subject(found.files[name]),
                        "no SYSTEMD_SULOGIN_FORCE",
                        "it",
                    )


def _ending(found: Units, mode: str) -> Iterator[Finding]:
    target = found.resolved(f"{mode}.target")
    if target is not None and target not in _ENDS:
        started = [
            setting.value for setting in found.settings(target) if setting.name in ("Requires", "Wants")
        ]
        yield _finding(
            EMERGENCY,
            Severity.HIGH,
            found.tree.subject(found.files[f"{mode}.target"]),
            "an alias of poweroff.target",
            f"{target}, which starts {' '.join(started) or 'what depends on it'}",
        )
    for setting in found.settings(f"{mode}.service"):
        if setting.name == "ExecStart" and _TO_SHELL.search(setting.value):
            yield _finding(
                EMERGENCY,
                Severity.HIGH,
                found.tree.subject(found.files[f"{mode}.service"]),
                "no unit with a shell",
                setting.value,
            )


def _matching(
    image: Image, rule: str, pattern: re.Pattern[str], opens: str, *, severity: Severity = Severity.HIGH
) -> Iterator[Finding]:
    for tree in image.trees:
        found = units.of(tree)
        started = dict.fromkeys(found.started(), "which a boot starts")
        started |= {name: wanted.said(rules) for name, rules in wanted.by_devices(found).items()}
        names = {*found.present(), *started}
        for name in sorted(name for name in names if pattern.fullmatch(name)):
            yield _finding(
                rule,
                severity,
                tree.subject(found.file(name) or name),
                f"no unit that is {opens}",
                f"{name}, {started[name]}" if name in started else name,
            )
        generator = _GENERATED.get(rule)
        for path in () if generator is None else tree.by_name.get(generator, ()):
            yield _finding(rule, severity, tree.subject(path), f"no generator of {opens}", "one")

# SPDX-License-Identifier: Apache-2.0
"""The recipe of an image for mkosi, before anything is built of it: settings and files that open the image.

Follows mkosi(1), release 27. It looks at a recipe that was given beside the image; an
audit without one has no findings here. What a recipe's scripts do is not read.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from mantlet.audit.finding import Finding, Policy, Severity
from mantlet.audit.image import Image

RULE = "recipe"
_HIGH, _MEDIUM = Severity.HIGH, Severity.MEDIUM
_NO = ("no", "0", "off", "false", "never", "none", "")
_LINE = re.compile(r"^[ \t]*(?P<name>[A-Za-z0-9]+)[ \t]*=[ \t]*(?P<value>.*?)[ \t]*$", re.MULTILINE)


class Opening(NamedTuple):
    """How much a setting opens, what it does, and its values that open nothing."""

    severity: Severity
    opens: str
    harmless: tuple[str, ...] = _NO


SETTINGS: Mapping[str, Opening] = MappingProxyType(
    {
        "Autologin": Opening(_HIGH, "logs root in at each console"),
        "RootPassword": Opening(_HIGH, "gives root a password"),
        "RootShell": Opening(_HIGH, "gives root a shell", ("", "/usr/sbin/nologin", "/sbin/nologin")),
        "Ssh": Opening(_HIGH, "puts an SSH server into the image"),
        "SshKey": Opening(_MEDIUM, "is of use with an SSH server"),
        "Credentials": Opening(_HIGH, "hands credentials to the machine"),
        "KernelCommandLineExtra": Opening(_HIGH, "adds words that no register but 12 shows"),
        "UnitProperties": Opening(_MEDIUM, "changes how the machine is started"),
        "SecureBoot": Opening(_HIGH, "leaves the UKI without a signature", ("yes", "1", "on", "true")),
        "SecureBootAutoEnroll": Opening(_MEDIUM, "lets the firmware take keys from the disk"),
        "Verity": Opening(_HIGH, "leaves the root without a signed hash", ("signed",)),
        "Bootloader": Opening(_HIGH, "puts a boot loader before the UKI", ("uki", "uki-signed", "none")),
        "ShimBootloader": Opening(_HIGH, "lets keys of others start programs"),
        "UnifiedKernelImages": Opening(
            _HIGH, "leaves kernel and command line unsigned", ("unsigned", "signed", "auto", "yes")
        ),
        "RepositoryKeyCheck": Opening(_HIGH, "takes packages that nobody signed", ("yes", "1", "on", "true")),
        "WithNetwork": Opening(_MEDIUM, "lets the build fetch what no digest names"),
    }
)
_SETTINGS_FILE = re.compile(r"(^|/)(mkosi(\.local)?\.conf|mkosi\.(conf\.d|profiles|images)/[^/]+\.conf)$")
_PROFILE = re.compile(r"(^|/)mkosi\.profiles/(?P<name>[^/]*debug[^/]*?)(\.conf)?(/|$)|\.debug(/|\.conf|$)")
# By the first part of a path below the recipe.
FILES: Mapping[str, str] = MappingProxyType(
    {
        "mkosi.rootpw": "a password of root",
        "mkosi.credentials": "credentials for the machine",
        "mkosi.passphrase": "a passphrase of its volumes",
        "mkosi.local": "settings of one machine, which no commit shows",
        "mkosi.local.conf": "settings of one machine, which no commit shows",
    }
)


def recipe(image: Image, policy: Policy) -> Iterator[Finding]:
    """The recipe has no setting and no file by which somebody could log in or bring something in."""
    profiles: set[str] = set()
    for path, text in sorted(image.recipe.items()):
        what = next((FILES[part] for part in path.split("/") if part in FILES), None)
        if what is not None:
            yield _finding(path, _HIGH, "no such file", what)
        if (match := _PROFILE.search(path)) is not None:
            profiles.add(path[: match.end()].rstrip("/"))
        if _SETTINGS_FILE.search(path) is not None:
            yield from _settings(path, text)
    for path in sorted(profiles):
        yield _finding(path, _HIGH, "no profile for debugging in the recipe of a release", "one")


def _settings(path: str, text: str) -> Iterator[Finding]:
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
    for match in _LINE.finditer(lines):
        name, value = match["name"], match["value"]
        opening = SETTINGS.get(name)
        if opening is not None and value.lower() not in opening.harmless:
            yield _finding(
                f"{path} {name}", opening.severity, "no setting that opens", f"one that {opening.opens}"
            )
        if name == "Profiles" and "debug" in value:
            yield _finding(f"{path} {name}", _HIGH, "no profile for debugging", value)


def _finding(subject: str, severity: Severity, expected: str, found: str) -> Finding:
    return Finding(
        rule=RULE,
        severity=severity,
        subject=subject,
        expected=expected,
        found=found,
        hint="take it out of the recipe, and keep what debugs in a recipe of another name and key",
    )

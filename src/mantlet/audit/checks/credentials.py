# SPDX-License-Identifier: Apache-2.0
"""Ways for credentials and extensions to come in: units that import them, and folders that hold them.

Follows systemd.exec(5) (`ImportCredential=`, `LoadCredential=`), systemd-sysext(8), repart.d(5) and
sysupdate.d(5).
"""

from collections.abc import Iterator

from mantlet.audit import units
from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import Setting

IMPORT, STORES, EXTENSIONS = "credential-import", "credential-stores", "extensions"
_IMPORTING = ("ImportCredential", "ImportCredentialEx", "LoadCredential", "LoadCredentialEncrypted")
_STORES = tuple(
    f"{base}/credstore{kind}"
    for base in ("/etc", "/run", "/usr/local/lib", "/usr/lib")
    for kind in ("", ".encrypted")
)
# Where configuration lies by which systemd takes images or keys from elsewhere, or lays out disks.
_EXTENDING = (
    *(f"{base}/{kind}" for base in ("/etc", "/usr/lib") for kind in ("repart.d", "sysupdate.d", "verity.d")),
    "/etc/extensions", "/var/lib/extensions", "/var/lib/confexts", "/usr/lib/confexts", "/.extra",
    "/usr/lib/systemd/import-pubring.pgp", "/etc/systemd/import-pubring.pgp",
)  # fmt: skip
_ANSWERING = ("provision.conf", "20-systemd-userdb.conf")
_finding = Remedy(
    "take it out of the unit or the image: who configures the machine would choose what it says"
).finding


def credential_import(image: Image, policy: Policy) -> Iterator[Finding]:
    """No unit takes credentials that the machine was given."""
    for tree in image.trees:
        found = units.of(tree)
        for name in found.present():
            for setting in found.settings(name):
                if setting.name in _IMPORTING and setting.value and not _is_file(setting):
                    yield _finding(
                        IMPORT,
                        Severity.MEDIUM,
                        f"{tree.subject(name)} {setting.value}",
                        "no credential from outside",
                        f"{setting.name}={setting.value}",
                    )


def credential_stores(image: Image, policy: Policy) -> Iterator[Finding]:
    """No credential lies in the image, and no configuration that makes keys or users of credentials."""
    for tree in image.trees:
        for path in tree.below(*_STORES):
            yield _finding(STORES, Severity.HIGH, tree.subject(path), "no credential", "a file")
        for path in sorted(path for name in _ANSWERING for path in tree.by_name.get(name, ())):
            if path.startswith(("/usr/lib/", "/etc/", "/lib/")):
                yield _finding(
                    STORES, Severity.MEDIUM, tree.subject(path), "nothing that asks for credentials", "it"
                )


def extensions(image: Image, policy: Policy) -> Iterator[Finding]:
    """Nothing in the image takes extensions, updates or partitions from elsewhere."""
    for tree in image.trees:
        for path in tree.below(*_EXTENDING):
            yield _finding(
                EXTENSIONS,
                Severity.MEDIUM,
                tree.subject(path),
                "no image, key or layout from elsewhere",
                "one",
            )


def _is_file(setting: Setting) -> bool:
    """Whether a credential is read from a path, which is not looked up where credentials come in."""
    return setting.name.startswith("Load") and setting.value.partition(":")[2].startswith(("/", "%t/"))

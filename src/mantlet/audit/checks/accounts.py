# SPDX-License-Identifier: Apache-2.0
"""Who could log in: passwords, shells, second roots, and the ways by which names and passwords are looked up.

Follows passwd(5), shadow(5), nsswitch.conf(5) and pam.conf(5).
"""

from collections.abc import Iterator

from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image
from mantlet.audit.tree import ROOT, Tree

PASSWORDS, SHELLS, NAMES, PAM, KEYS, GROUPS = (
    "passwords", "login-shells", "name-services", "pam", "authorized-keys", "group-members",
)  # fmt: skip
_LOCKED = frozenset({"*", "!", "!*", "!!", "*!", "!!*"})
_HARMLESS = frozenset({"nologin", "false", "true", "sync", "shutdown", "halt"})
# Groups that stand for root, for all files, for all memory, or for all that was logged.
_STRONG = frozenset(
    {
        "adm",
        "disk",
        "docker",
        "input",
        "kmem",
        "kvm",
        "lxd",
        "mem",
        "root",
        "shadow",
        "sudo",
        "systemd-journal",
    }
    | {"tss", "tty", "video", "wheel"}
)
_DATABASES = ("passwd", "group", "shadow", "gshadow")
_finding = Remedy(
    "lock the account (`!*`), give it /usr/sbin/nologin, and keep the login programs out of the image"
).finding


def passwords(image: Image, policy: Policy) -> Iterator[Finding]:
    """No account has a password, and root is the only account with its number."""
    for tree in image.trees:
        if tree.name == ROOT and not any(_table(tree, "/etc/passwd")):
            yield _finding(
                PASSWORDS, Severity.MEDIUM, tree.subject("/etc/passwd"), "accounts", "none: a boot makes them"
            )
        shadow = {row[0]: row[1] for row in _table(tree, "/etc/shadow") if len(row) > 1}
        for row in _table(tree, "/etc/passwd"):
            name, password, number = row[0], row[1] if len(row) > 1 else "", row[2] if len(row) > 2 else ""
            # `x`: it is in shadow; where that has no line, nothing matches it.
            said = shadow.get(name, "!") if password == "x" else password  # noqa: S105, a field of passwd(5)
            if said not in _LOCKED and not said.startswith("!"):
                state = "a password" if said else "an empty password"
                yield _finding(
                    PASSWORDS, Severity.HIGH, tree.subject(f"/etc/passwd {name}"), "a locked account", state
                )
            if number == "0" and name != "root":
                yield _finding(
                    PASSWORDS,
                    Severity.HIGH,
                    tree.subject(f"/etc/passwd {name}"),
                    "one account with number 0",
                    "another",
                )


def login_shells(image: Image, policy: Policy) -> Iterator[Finding]:
    """No account has a shell that is in the image."""
    for tree in image.trees:
        for row in _table(tree, "/etc/passwd"):
            # passwd(5): an empty field is /bin/sh.
            shell = (row[6] if len(row) > 6 else "") or "/bin/sh"
            node = tree.node(shell)
            if node is not None and node.is_program and shell.rsplit("/", 1)[1] not in _HARMLESS:
                yield _finding(SHELLS, Severity.HIGH, tree.subject(f"/etc/passwd {row[0]}"), "nologin", shell)


def group_members(image: Image, policy: Policy) -> Iterator[Finding]:
    """No account is in a group that is as good as root, and no group has a password."""
    for tree in image.trees:
        for row in _table(tree, "/etc/group"):
            if row[0] in _STRONG and len(row) > 3 and row[3]:
                yield _finding(
                    GROUPS, Severity.MEDIUM, tree.subject(f"/etc/group {row[0]}"), "no members", row[3]
                )
        for row in _table(tree, "/etc/gshadow"):
            if len(row) > 1 and row[1] not in _LOCKED and not row[1].startswith("!") and row[1]:
                yield _finding(
                    GROUPS, Severity.HIGH, tree.subject(f"/etc/gshadow {row[0]}"), "no password", "one"
                )


def name_services(image: Image, policy: Policy) -> Iterator[Finding]:
    """Accounts come from the files of the image alone."""
    for tree in image.trees:
        text = tree.text("/etc/nsswitch.conf") or tree.text("/usr/etc/nsswitch.conf")
        for line in text.splitlines():
            database, _, said = line.split("#", 1)[0].partition(":")
            sources = tuple(said.split())
            if database.strip() in _DATABASES and sources not in ((), ("files",)):
                yield _finding(
                    NAMES,
                    Severity.MEDIUM,
                    tree.subject(f"/etc/nsswitch.conf {database.strip()}"),
                    "files",
                    " ".join(sources),
                )


def pam(image: Image, policy: Policy) -> Iterator[Finding]:
    """Nothing authenticates anybody: the image has no PAM."""
    for tree in image.trees:
        for path in tree.below("/etc/pam.d", "/usr/etc/pam.d", "/usr/lib/pam.d"):
            lines = tree.text(path)
            opens = "pam_permit" in lines or "nullok" in lines
            yield _finding(
                PAM,
                Severity.MEDIUM if opens else Severity.LOW,
                tree.subject(path),
                "no service that logs in",
                "one that lets empty passwords in" if opens else "one",
            )


def authorized_keys(image: Image, policy: Policy) -> Iterator[Finding]:
    """No key for SSH lies in the image."""
    for tree in image.trees:
        for path in tree.by_name.get("authorized_keys", ()):
            yield _finding(KEYS, Severity.HIGH, tree.subject(path), "no file", "one")


def _table(tree: Tree, path: str) -> Iterator[list[str]]:
    for line in tree.text(path).splitlines():
        if line and not line.startswith("#"):
            yield line.split(":")

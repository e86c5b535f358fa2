# SPDX-License-Identifier: Apache-2.0
"""The policy by which the kernel executes files, or does not: IPE, loaded by PID 1 of the initrd.

Follows Linux, Documentation/admin-guide/LSM/ipe.rst, and systemd, src/core/ipe-setup.c, for where policies
lie. What the kernel makes of a file is shown by machines; here the policy must be there, signed by a key that
the kernel has, and deny what nothing vouches for.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn

from cryptography import x509

from mantlet.audit import signed_data
from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image, Signature
from mantlet.audit.tree import INITRD, Tree
from mantlet_measure.errors import DecodeError

RULE = "execution-policy"
_FOLDERS = tuple(f"{base}/ipe" for base in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))
_SUFFIX = ".p7b"
OPERATIONS = ("EXECUTE", "FIRMWARE", "KEXEC_IMAGE", "KEXEC_INITRAMFS", "KMODULE", "POLICY", "X509_CERT")
# What vouches for a file: the kernel loaded it, or a signature or digest covers it.
_VOUCHING = re.compile(
    r"boot_verified=TRUE|dmverity_signature=TRUE|fsverity_signature=TRUE"
    r"|(dmverity_roothash|fsverity_digest)=[a-z0-9-]+:[0-9a-fA-F]+"
)
_NAME = re.compile(r"policy_name=\S+\s+policy_version=[0-9]+\.[0-9]+\.[0-9]+")
_finding = Remedy(
    "put a policy into the initrd that denies by default and allows what dm-verity vouches for, and sign it "
    "with the key of Secure Boot"
).finding


class Rules(NamedTuple):
    """A policy: what each operation comes to by default, and the properties that allow it, rule by rule."""

    defaults: Mapping[str, str]
    allowed: tuple[tuple[str, tuple[str, ...]], ...]


def execution_policy(image: Image, policy: Policy) -> Iterator[Finding]:
    """The kernel executes, loads and starts nothing that is neither of the initrd nor signed."""
    policies = [
        (tree, path) for tree in image.trees for path in tree.below(*_FOLDERS) if path.endswith(_SUFFIX)
    ]
    if not any(tree.name.startswith(INITRD) for tree, _ in policies):
        found = "one in the root, after whose units have begun" if policies else "none"
        yield _finding(RULE, Severity.HIGH, INITRD, "a signed policy for the kernel (IPE)", found)
    trusted = [item for kernel in image.kernels for item in (*kernel.signers, *kernel.trusted)]
    for tree, path in policies:
        yield from _of_policy(tree, path, trusted)


def _of_policy(tree: Tree, path: str, trusted: list[x509.Certificate]) -> Iterator[Finding]:
    subject, what = tree.subject(path), "IPE policy"
    node = tree.node(path)
    blob = b"" if node is None else node.content(signed_data.LIMIT)
    verdict = signed_data.judge(blob, None, trusted, what=what)
    if verdict.signature is not Signature.SOUND:
        yield _finding(RULE, Severity.HIGH, subject, "a signature by a key that the kernel has", "another")
    try:
        rules = decode(signed_data.decode(blob, what=what).content.decode("utf-8", "replace"))
    except DecodeError as error:
        yield _finding(RULE, Severity.HIGH, subject, "a policy that the kernel takes", error.message)
        return
    for operation in OPERATIONS:
        if (default := rules.defaults.get(operation, "none")) != "DENY":
            yield _finding(RULE, Severity.HIGH, f"{subject} {operation}", "denied by default", default)
    for operation, properties in rules.allowed:
        if not any(_VOUCHING.fullmatch(item) for item in properties):
            found = " ".join(properties) or "whatever it is"
            yield _finding(
                RULE, Severity.HIGH, f"{subject} {operation}", "allowed when it is vouched for", found
            )


def decode(text: str) -> Rules:
    """Read a policy as the kernel does (security/ipe/policy_parser.c). DecodeError on what it refuses."""
    lines = [line.split("#", 1)[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    if not lines or not _NAME.fullmatch(lines[0]):
        _refuse("policy_name=NAME policy_version=N.N.N", lines[0] if lines else "nothing")
    whole, defaults = "none", {}
    allowed: list[tuple[str, tuple[str, ...]]] = []
    for line in lines[1:]:
        words = line.split()
        action = words[-1].removeprefix("action=")
        operation = next((word.removeprefix("op=") for word in words if word.startswith("op=")), "")
        if action not in ("ALLOW", "DENY") or (operation and operation not in OPERATIONS):
            _refuse("an operation that the kernel knows, and what comes of it", line)
        if words[0] == "DEFAULT" and operation:
            defaults[operation] = action
        elif words[0] == "DEFAULT":
            whole = action
        elif not operation:
            _refuse("a rule for an operation", line)
        elif action == "ALLOW":
            allowed.append((operation, tuple(words[1:-1])))
    return Rules(defaults={name: whole for name in OPERATIONS} | defaults, allowed=tuple(allowed))


def _refuse(expected: str, found: str) -> NoReturn:
    raise DecodeError("IPE policy", expected=expected, found=found)

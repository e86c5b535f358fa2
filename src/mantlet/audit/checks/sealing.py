# SPDX-License-Identifier: Apache-2.0
"""The registers that release a key: without some of them, a way in is open that only they would show.

It looks at what a manifest enforces, at the policies that a UKI carries (systemd-stub(7), .pcrsig), at the
volumes that an image opens with the TPM (crypttab(5)), and at the approvals of its boot. An image without any
of these has no findings, for nothing is said. Approvals name no registers, but a digest: what it is over was
found by the caller, who computed all that it could be.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from mantlet.audit.finding import Finding, Policy, Severity
from mantlet.audit.image import Approval, Image
from mantlet_measure.pcr import Register

RULE = "sealing-policy"
_CONFIGURING = ("/etc/crypttab",)
_BOUND = re.compile(r"\btpm2-pcrs=(?P<registers>[0-9+,]*)")
# The registers that a policy needs, with what passes without them.
_NEEDED: Mapping[Register, tuple[Severity, str]] = MappingProxyType(
    {
        Register.KERNEL_CONFIG: (Severity.HIGH, "SMBIOS adds to the command line, under Secure Boot too"),
        Register.KERNEL_BOOT: (Severity.HIGH, "any UKI of the same key passes"),
        Register.SECURE_BOOT_POLICY: (Severity.HIGH, "any kernel can extend the other registers as it likes"),
        Register.BOOT_LOADER_CODE: (Severity.MEDIUM, "another program can run before the UKI"),
        Register.KERNEL_INITRD: (
            Severity.MEDIUM,
            "an initrd that somebody registered before the stub passes",
        ),
        Register.SYSEXTS: (Severity.MEDIUM, "a system extension passes"),
    }
)
# What an approval needs besides: the agent takes no key under another.
_APPROVED: Mapping[Register, tuple[Severity, str]] = MappingProxyType(
    {
        **_NEEDED,
        Register.SHIM_POLICY: (Severity.MEDIUM, "a shim with keys of its own passes"),
        Register.SYSTEM_IDENTITY: (
            Severity.HIGH,
            "any deployment passes, and so does whoever is on the machine after the cap",
        ),
    }
)
_HINT = "approve the boot again with `mantlet release approve`, and leave this approval out"


def sealing_policy(image: Image, policy: Policy) -> Iterator[Finding]:
    """A key is released under the registers that show each way in."""
    for platform, enforced in image.enforced.items():
        yield from _missing(platform, enforced)
    for kernel in image.kernels:
        for registers in kernel.signed_policies:
            yield from _missing(f"{kernel.path} .pcrsig", registers)
    for tree in image.trees:
        for path in _CONFIGURING:
            for line in tree.text(path).splitlines():
                if not line.lstrip().startswith("#") and (match := _BOUND.search(line)) is not None:
                    numbers = tuple(map(int, re.findall(r"[0-9]+", match["registers"])))
                    yield from _missing(f"{tree.subject(path)} {line.split()[0]}", numbers)
    for approval in image.approvals:
        yield from _approved(approval)


def _approved(approval: Approval) -> Iterator[Finding]:
    if approval.registers is None:
        yield Finding(
            rule=RULE,
            severity=Severity.HIGH,
            subject=approval.name,
            expected="a policy over the image's reference values and the epoch counter",
            found="one over other values, or of another form",
            hint=_HINT,
        )
        return
    yield from _missing(approval.name, approval.registers, needed=_APPROVED)
    if approval.epoch is None or approval.epoch > approval.bound:
        yield Finding(
            rule=RULE,
            severity=Severity.MEDIUM,
            subject=f"{approval.name} epoch",
            expected=f"the epoch counter, up to {approval.bound}",
            found="none" if approval.epoch is None else f"up to {approval.epoch}",
            hint=_HINT,
        )


def _missing(
    where: str,
    enforced: tuple[int, ...],
    needed: Mapping[Register, tuple[Severity, str]] = _NEEDED,
) -> Iterator[Finding]:
    for register, (severity, opens) in needed.items():
        if register not in enforced:
            yield Finding(
                rule=RULE,
                severity=severity,
                subject=f"{where} PCR {int(register)}",
                expected="an enforced register",
                found=f"{', '.join(map(str, enforced)) or 'none'}: {opens}",
                hint="enforce the register, and approve the boot again",
            )

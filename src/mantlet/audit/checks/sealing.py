# SPDX-License-Identifier: Apache-2.0
"""The registers that release a key: without some of them, a way in is open that only they would show.

It looks at what a manifest enforces. An image without a manifest has no findings here, for nothing is said.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from mantlet.audit.finding import Finding, Policy, Severity
from mantlet.audit.image import Image
from mantlet_measure.pcr import Register

RULE = "sealing-policy"
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


def sealing_policy(image: Image, policy: Policy) -> Iterator[Finding]:
    """A key is released under the registers that show each way in."""
    for platform, enforced in image.enforced.items():
        for register, (severity, opens) in _NEEDED.items():
            if register not in enforced:
                yield Finding(
                    rule=RULE,
                    severity=severity,
                    subject=f"{platform} PCR {int(register)}",
                    expected="an enforced register",
                    found=f"{', '.join(map(str, enforced))}: {opens}",
                    hint="enforce the register, and approve the boot again",
                )

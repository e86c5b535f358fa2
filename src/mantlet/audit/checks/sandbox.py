# SPDX-License-Identifier: Apache-2.0
"""How much of the machine each service can reach, as systemd-analyze(1) counts it.

The count is a sum over settings, from 0 to 10; it says nothing of what a program does. The numbers come from
the caller, who ran the program on the unpacked tree. A policy may set another bound for a unit, lower or
higher: a lower one keeps what was reached, a higher one says what the unit needs.
"""

from collections.abc import Iterator

from mantlet.audit.finding import Finding, Policy, Severity
from mantlet.audit.image import Image

RULE = "unit-sandbox"
# systemd, src/analyze/analyze-security.c, `badness_table`: MEDIUM ends at 5, UNSAFE begins at 9.
_MEDIUM, _UNSAFE = 5.0, 9.0


def unit_sandbox(image: Image, policy: Policy) -> Iterator[Finding]:
    """Each service is kept from what it does not need."""
    for unit, exposure in sorted(image.exposures.items()):
        bound = policy.exposures.get(unit, _MEDIUM)
        if exposure is not None and exposure <= bound:
            continue
        worst = exposure is not None and exposure >= _UNSAFE
        yield Finding(
            rule=RULE,
            severity=Severity.MEDIUM if worst else Severity.LOW,
            subject=f"root:{unit}",
            expected=f"an exposure of at most {bound}",
            found="none that systemd-analyze could tell" if exposure is None else str(exposure),
            hint=f"see `systemd-analyze security {unit}`, and set what it lists in the unit",
        )
    for unit in sorted(policy.exposures.keys() - image.exposures.keys()):
        yield Finding(
            rule=RULE,
            severity=Severity.LOW,
            subject=f"root:{unit}",
            expected="the service, whose bound the policy sets",
            found="none",
            hint="remove the bound from the policy",
        )

# SPDX-License-Identifier: Apache-2.0
"""Runs the checks over an image and judges what they find by the image's policy.

Owns the order, the inventory in numbers, and that a policy speaks for its own image alone.
"""

from collections.abc import Mapping

from mantlet.audit.checks import CHECKS
from mantlet.audit.finding import UNUSED, Policy, Report, judged
from mantlet.audit.image import Image
from mantlet.audit.tree import Tree
from mantlet.release.audit_results import RECIPE

_ELF = b"\x7fELF"
_UNUSED_TITLE = "Each exception of the policy explains a finding."


def audit(image: Image, policy: Policy) -> Report:
    """Look with every check; a policy of another image's id counts for nothing."""
    applied = policy if policy.image and policy.image == image.id else Policy()
    found = tuple(finding for check in CHECKS.values() for finding in check(image, applied))
    standing, explained = judged(found, applied)
    return Report(
        image=image.id,
        findings=standing,
        explained=explained,
        rules={**{rule: check.title for rule, check in CHECKS.items()}, UNUSED: _UNUSED_TITLE},
        numbers=_numbers(image),
    )


def _numbers(image: Image) -> Mapping[str, int]:
    """Count what was looked at, so that an audit of nothing is seen to be one."""
    counts = {
        "partitions": len(image.partitions),
        "files of the EFI system partition": len(image.esp),
        "UKIs": len(image.kernels),
    }
    for tree in image.trees:
        counts[f"files of {tree.name}"] = sum(not node.is_directory for node in tree.nodes.values())
        counts[f"ELF files of {tree.name}"] = _elf_files(tree)
    # Given beside the image, or not: a rule about it that has no finding was not always checked.
    counts |= {RECIPE: len(image.recipe)} if image.recipe else {}
    counts |= {"approvals": len(image.approvals)} if image.approvals else {}
    return counts


def _elf_files(tree: Tree) -> int:
    return sum(node.is_file and node.content(len(_ELF)) == _ELF for node in tree.nodes.values())

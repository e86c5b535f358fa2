# SPDX-License-Identifier: Apache-2.0
"""The rules of operator access in their files: policies/ has them, docs/ the document that is made of them.

Owns the two paths and the reading. What a rule is and how it is told belongs to `mantlet.audit`.
"""

from pathlib import Path

from mantlet.audit import rules
from mantlet.edge import project, strict_yaml


def policy_file() -> Path:
    """Say where the rules are."""
    return project.root() / "policies" / "operator-access.yaml"


def document_file() -> Path:
    """Say where the document is."""
    return project.root() / "docs" / "operator-access.md"


def read() -> rules.OperatorAccess:
    """Read and decode the rules of this checkout. DecodeError, or MantletError when there are none."""
    return rules.decode(strict_yaml.read(policy_file(), what="the rules of operator access"))

# SPDX-License-Identifier: Apache-2.0
"""A bench to make disks on."""

from pathlib import Path

import pytest

from mantlet.edge.tools import ToolsTree
from tests.unit.audit.disks import Bench


@pytest.fixture
def bench(tools: ToolsTree, tmp_path: Path) -> Bench:
    """A bench of its own for each test."""
    return Bench(folder=tmp_path, tools=tools)

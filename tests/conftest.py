# SPDX-License-Identifier: Apache-2.0
"""What several rooms' tests share: the tools tree, and the image built once for all that look at it."""

import pytest

from mantlet.edge import image, project
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.tools import ToolsTree


@pytest.fixture(scope="session")
def tools() -> ToolsTree:
    """The tools tree; made when it is missing."""
    return ToolsTree.current()


@pytest.fixture(scope="session")
def built(tools: ToolsTree) -> Build:
    """The image of this checkout, built now: a test never looks at a leftover."""
    return image.build(keys=KeyFolder(project.key_folder()), tools=tools)

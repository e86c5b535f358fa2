# SPDX-License-Identifier: Apache-2.0
"""What several rooms' tests share: the tools tree, and the image built once for all that look at it."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mantlet.edge import image, project
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.profile import Profile
from mantlet.edge.tools import ToolsTree

# How fast examples are drawn is the host's matter: machines boot beside the properties.
settings.register_profile("beside machines", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("beside machines")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--build", type=Path, metavar="DIR", help="a finished build to look at, instead of one made now"
    )
    parser.addoption(
        "--debug-build",
        type=Path,
        metavar="DIR",
        help="the same for the debug image, which attacks must break",
    )


@pytest.fixture(scope="session")
def tools() -> ToolsTree:
    """The tools tree; made when it is missing."""
    return ToolsTree.current()


@pytest.fixture(scope="session")
def built(tools: ToolsTree, pytestconfig: pytest.Config) -> Build:
    """The image of this checkout, built now: a test never looks at a leftover, unless it is told to."""
    finished: Path | None = pytestconfig.getoption("--build")
    if finished is not None:
        return Build(directory=finished.resolve())
    return image.build(keys=KeyFolder(project.key_folder()), tools=tools)


@pytest.fixture(scope="session")
def debug_built(tools: ToolsTree, pytestconfig: pytest.Config) -> Build:
    """The debug image of this checkout, built now."""
    finished: Path | None = pytestconfig.getoption("--debug-build")
    if finished is not None:
        return Build(directory=finished.resolve())
    return image.build(keys=Profile.DEBUG.keys(), tools=tools, kind=Profile.DEBUG)

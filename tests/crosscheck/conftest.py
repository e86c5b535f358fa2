# SPDX-License-Identifier: Apache-2.0
"""What the other tools look at: our UKI, and images that stand for other people's."""

import pytest

from mantlet.edge import project
from mantlet.edge.accelerator import Accelerator
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.tools import ToolsTree
from tests.crosscheck.second_sources import Subjects
from tests.vm.agreement.bench import Bench


@pytest.fixture(scope="session")
def subjects(built: Build, tools: ToolsTree, tmp_path_factory: pytest.TempPathFactory) -> Subjects:
    """Files are made when they are asked for. Nothing is booted."""
    KeyFolder(project.key_folder()).secure_boot()
    folder = tmp_path_factory.mktemp("crosscheck")
    return Subjects(
        bench=Bench(built=built, tools=tools, folder=folder, accelerator=Accelerator.TCG), folder=folder
    )

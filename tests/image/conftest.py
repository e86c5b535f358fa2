# SPDX-License-Identifier: Apache-2.0
"""The built image, unpacked once for all audits: root, initrd, UKI, and what the recipes declare.

testinfra's chroot backend is not used: it runs a shell in the tree it looks at, and there is none in ours.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mantlet.edge import process, project
from mantlet.edge.image import Build
from mantlet.edge.tools import ToolsTree
from mantlet.predict import pe, uki
from mantlet.predict.pe import Image
from tests.image import unpacked
from tests.image.unpacked import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A build, the tools that look at it, and a folder to work in."""

    built: Build
    tools: ToolsTree
    folder: Path

    def run(self, *argv: str | Path, check: bool = True) -> process.Completed:
        """Run a program of the tools tree that sees the build, the public keys and the folder."""
        certificates = [self.certificate(name) for name in ("PK", "KEK", "db")]
        return process.run(
            self.tools.command(
                [str(word) for word in argv], ro=[self.built.directory, *certificates], rw=[self.folder]
            ),
            check=check,
        )

    def path(self, name: str) -> Path:
        """The path of an artefact."""
        return self.built.path(name)

    def read(self, name: str) -> bytes:
        """The content of an artefact."""
        return self.built.path(name).read_bytes()

    def certificate(self, name: str) -> Path:
        """The path of a certificate of this checkout."""
        return project.key_folder() / f"{name}.pem"


@pytest.fixture(scope="session")
def audit(built: Build, tools: ToolsTree, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return Audit(built=built, tools=tools, folder=tmp_path_factory.mktemp("audit"))


@pytest.fixture(scope="session")
def uki_image(audit: Audit) -> Image:
    return pe.decode(audit.read("uki.efi"), what=uki.WHAT)


@pytest.fixture(scope="session")
def root(audit: Audit) -> Tree:
    return unpacked.unpack_root(audit.path("root.raw"), audit.folder / "root", tools=audit.tools)


@pytest.fixture(scope="session")
def initrd(audit: Audit, uki_image: Image) -> Tree:
    section = uki_image.section(".initrd")
    assert section is not None
    return unpacked.unpack_initrd(uki_image.content(section), audit.folder / "initrd", tools=audit.tools)


@pytest.fixture(params=["root", "initrd"])
def tree(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def parameters() -> dict[str, Any]:
    """`image/parameters.yaml`."""
    loaded = yaml.safe_load((project.root() / "image/parameters.yaml").read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="session")
def release(root: Tree) -> str:
    """The release of the kernel, which names the folder of its modules."""
    (name,) = {match[1] for path in root.entries if (match := re.match(r"/usr/lib/modules/([^/]+)/", path))}
    return name

# SPDX-License-Identifier: Apache-2.0
"""Python in the image: nothing changes its path at the start, and units start it isolated.

Follows Python's `site` and command line: a .pth file and `sitecustomize` are run by every interpreter that is
not told otherwise; `-I` takes neither the environment nor the user's folder nor the working directory.
"""

import re
from collections.abc import Iterator

from mantlet.audit import units
from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image

PATH, ISOLATION = "python-path", "python-isolation"
_AT_START = frozenset({"sitecustomize.py", "usercustomize.py", "sitecustomize.pyc", "usercustomize.pyc"})
_TOOLS = re.compile(
    r"/python3[^/]*/(site-packages/|dist-packages/)?(pip|ensurepip|idlelib|pdb\.py|code\.py)(/|$)"
)
_RUNNING = re.compile(r"Exec(Condition|Start|Reload|Stop)(Pre|Post)?(Ex)?")
_PYTHON = re.compile(r"^[-+!:@|]*(?P<program>\S*/python[0-9.]*)\s+(?P<rest>.*)$")
_finding = Remedy("remove the file from the image, and start Python as `python3 -I`").finding


def python_path(image: Image, policy: Policy) -> Iterator[Finding]:
    """No file runs when Python starts, and Python brings no installer and no debugger."""
    for tree in image.trees:
        told: set[str] = set()
        for path, node in sorted(tree.nodes.items()):
            name = path.rsplit("/", 1)[1]
            if node.is_directory:
                continue
            if name in _AT_START or (name.endswith(".pth") and "/python" in path):
                yield _finding(
                    PATH, Severity.MEDIUM, tree.subject(path), "nothing run at Python's start", "it"
                )
            elif (tool := _TOOLS.search(path)) is not None and tool[2] not in told:
                told.add(tool[2])
                yield _finding(
                    PATH, Severity.LOW, tree.subject(path), "no installer and no debugger", tool[2]
                )


def python_isolation(image: Image, policy: Policy) -> Iterator[Finding]:
    """Units start Python with -I."""
    for tree in image.trees:
        found = units.of(tree)
        for name in found.present():
            for setting in found.settings(name):
                if (
                    _RUNNING.fullmatch(setting.name) is None
                    or (match := _PYTHON.match(setting.value)) is None
                ):
                    continue
                flags = "".join(
                    word[1:] for word in match["rest"].split()[:3] if re.fullmatch(r"-[A-Za-z]+", word)
                )
                if "I" not in flags:
                    yield _finding(
                        ISOLATION, Severity.MEDIUM, tree.subject(name), "python3 -I", setting.value
                    )

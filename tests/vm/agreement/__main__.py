# SPDX-License-Identifier: Apache-2.0
"""`just agreement`: boot every scenario and print the table; exit code 1 when a computed register differs."""

import argparse
import re
import tempfile
from pathlib import Path

from mantlet.edge import accelerator, files, image, output, project
from mantlet.edge.image import Build
from mantlet.edge.tools import ToolsTree
from tests.vm.agreement.bench import Bench
from tests.vm.agreement.outcomes import State
from tests.vm.agreement.report import markdown, text_lines
from tests.vm.agreement.run import Agreement
from tests.vm.agreement.scenarios import SCENARIOS

_PACKAGES = {
    "firmware": "ovmf",
    "QEMU": "qemu-system-x86",
    "TPM": "swtpm",
    "stub and boot loader": "systemd-boot-efi",
}


def main() -> int:
    """Boot, print, and write docs/agreement.md if asked to."""
    parser = argparse.ArgumentParser(prog="just agreement", description="Hold predictions against boots.")
    parser.add_argument("--build", type=Path, metavar="DIR", help="a finished build (default: build/latest)")
    parser.add_argument("--only", metavar="TEXT", help="only the boots whose name has this in it")
    parser.add_argument("--write", action="store_true", help="write docs/agreement.md too")
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("--write takes all boots: leave --only out")
    tools = ToolsTree.current()
    chosen = accelerator.probe(tools)
    with tempfile.TemporaryDirectory(prefix="mantlet-agreement-") as folder:
        bench = Bench(
            built=Build(directory=(arguments.build or image.latest()).resolve()),
            tools=tools,
            folder=Path(folder),
            accelerator=chosen,
        )
        agreement = Agreement(bench=bench, tell=lambda name: output.step(f"Booting {name}…"))
        wanted = [each for each in SCENARIOS if (arguments.only or "") in each.name]
        results = [agreement.of(scenario) for scenario in wanted]
    for line in text_lines(results):
        output.result(line)
    if arguments.write:
        target = project.root() / "docs" / "agreement.md"
        versions = _versions(tools) | {"guests": f"by {chosen.said}"}
        files.write_atomic(target, markdown(results, versions).encode("utf-8"))
        output.step("Wrote docs/agreement.md")
    return 1 if any(State.DIFFER in result.outcome.states.values() for result in results) else 0


def _versions(tools: ToolsTree) -> dict[str, str]:
    """Name and version of each package of the tools tree that makes a boot."""
    status = (tools.root / "var/lib/dpkg/status").read_text("utf-8")
    found = {}
    for title, package in _PACKAGES.items():
        entry = re.search(rf"^Package: {re.escape(package)}\n(?:.+\n)*?Version: (.+)$", status, re.MULTILINE)
        assert entry is not None, f"the tools tree has no {package}"
        found[title] = f"{package} {entry[1]}"
    return found


if __name__ == "__main__":
    raise SystemExit(main())

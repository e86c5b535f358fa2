# SPDX-License-Identifier: Apache-2.0
"""Where a battery runs: both builds, their keys, the folder of results, and what it all runs on."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mantlet.attack.document import Outcome, Results
from mantlet.edge import accelerator, process, project
from mantlet.edge.attack.kept import manifest_sha256
from mantlet.edge.attack.run import Battery
from mantlet.edge.attack.stand import Stand
from mantlet.edge.image import Build
from mantlet.edge.keys import KeyFolder
from mantlet.edge.profile import Profile
from mantlet.edge.tools import ToolsTree
from mantlet.release import manifest
from mantlet_measure.errors import UnavailableError


def battery(
    build: Path, weakened: Path, *, weakened_keys: Path, rules: Mapping[str, tuple[str, ...]]
) -> Battery:
    """Provision a machine of each build, where there is none yet. UnavailableError without a build."""
    tools = ToolsTree.current()
    chosen = accelerator.probe(tools)
    folder = project.state_folder() / "attacks" / build.resolve().name
    stands = []
    for directory, keys, hint in (
        (build, Profile.RELEASE.keys(), "just build-image"),
        (weakened, KeyFolder(weakened_keys, debug=True), "just build-image --profile debug"),
    ):
        if not (directory / "measurements.json").exists():
            raise UnavailableError(f"expected a build in {directory}, found none", hint=hint)
        resolved = directory.resolve()
        stand = Stand(
            built=Build(directory=resolved),
            keys=keys,
            tools=tools,
            accelerator=chosen,
            folder=project.state_folder() / "attacks" / resolved.name / "stand",
        )
        stands.append(stand)
    # Both are there before either is booted.
    production, weak = stands
    production.provision(timed=True)
    weak.provision(timed=False)
    return Battery(production=production, weakened=weak, folder=folder, rules=rules)


def results(ran: Battery, outcomes: Sequence[Outcome]) -> Results:
    """Put outcomes together with what they were found on."""
    stand = ran.production
    image = manifest.decode(stand.built.path("measurements.json").read_bytes()).image
    return Results(
        image=image.id,
        version=image.version,
        manifest_sha256=manifest_sha256(stand),
        weakened_sha256=manifest_sha256(ran.weakened),
        platform=_platform(stand),
        plain_seconds=round(stand.plain_seconds),
        outcomes=tuple(outcomes),
    )


def _platform(stand: Stand) -> Mapping[str, str]:
    """Versions of what the machines were made of, as the tools tree has them."""
    status = (stand.tools.root / "var/lib/dpkg/status").read_text("utf-8")
    ovmf = re.search(r"^Package: ovmf\n(?:.+\n)*?Version: (.+)$", status, re.MULTILINE)
    said = {
        name: process.run(stand.tools.command([program, "--version"])).stdout.decode().splitlines()[0]
        for name, program in (("qemu", "qemu-system-x86_64"), ("swtpm", "swtpm"))
    }
    return {
        **said,
        "firmware": f"OVMF {ovmf[1] if ovmf else 'unknown'}",
        "accelerator": stand.accelerator.value,
    }

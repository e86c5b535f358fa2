# SPDX-License-Identifier: Apache-2.0
"""The test bench: one wall socket, so one machine at a time; what every machine has; the verbs as typed.

A machine's folder, its deployment volume and its pack make a `Site`. Everything goes through the product's
own verbs and its own client.
"""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mantlet import cli
from mantlet.cli.boot import AWAITING_KEY, SERVING
from mantlet.client.attest import Question
from mantlet.edge import appraisal, deployment_source, project
from mantlet.edge.accelerator import Accelerator
from mantlet.edge.appraisal import Files
from mantlet.edge.attack import damage
from mantlet.edge.https import Address, AttestedConnection
from mantlet.edge.image import Build
from mantlet.edge.machine import Hardware, Machine
from mantlet.edge.profile import Profile
from mantlet.edge.software_tpm import Authority
from mantlet.edge.tools import ToolsTree
from mantlet.release import debug_image
from mantlet_measure import deployment
from mantlet_measure.evidence import State

# Under emulation, on a busy machine of two cores.
BOOT_SECONDS = 420.0
# For each wait on the network.
PATIENCE = 120.0


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a verb left: its exit code, its result, its story."""

    code: int
    result: str
    story: str


@dataclass(frozen=True, kw_only=True)
class Site:
    """What one machine's owner has: its folder, its deployment volume, the pack and the pack's key."""

    folder: Path
    deployment: Path
    pack: Path
    key: Path

    @property
    def weights(self) -> Path:
        """The disk image of the pack."""
        return self.pack.with_suffix(".raw")

    def copy(self, folder: Path) -> "Site":
        """The same machine before an attack: TPM, firmware variables and deployment volume are copies."""
        shutil.copytree(self.folder, folder / "machine", ignore=shutil.ignore_patterns("*.log", "*.trace"))
        shutil.copyfile(self.deployment, folder / "deployment.raw")
        return replace(self, folder=folder / "machine", deployment=folder / "deployment.raw")


@dataclass(kw_only=True)
class Rig:
    """Boots machines from one build, one at a time."""

    built: Build
    tools: ToolsTree
    folder: Path
    accelerator: Accelerator
    kind: Profile = Profile.RELEASE
    _current: Machine | None = field(default=None, init=False)

    @property
    def authority(self) -> Authority:
        """The maker of every TPM here."""
        return Authority(folder=self.folder / "authority")

    @property
    def manifest(self) -> Path:
        """The reference values of the build."""
        return self.built.path("measurements.json")

    @property
    def keys(self) -> Path:
        """The folder of the keys that go with the build."""
        return self.kind.keys().folder

    @property
    def consent(self) -> tuple[str, ...]:
        """What a verb must be told to take the build at all."""
        return (debug_image.OPTION,) if self.kind is Profile.DEBUG else ()

    def hardware(self, site: Site) -> Hardware:
        """A machine with the build's disk and the site's. One processor: another boots beside it."""
        return Hardware(
            disk=self.built.path("disk.raw"),
            variables=self.built.path("OVMF_VARS.fd"),
            deployment=site.deployment,
            weights=site.weights,
            processors=1,
        )

    def boot(self, site: Site, hardware: Hardware | None = None) -> Machine:
        """Power on; whatever was on before is powered off."""
        self.power_off()
        machine = Machine(
            folder=site.folder,
            hardware=hardware or self.hardware(site),
            tools=self.tools,
            authority=self.authority,
            accelerator=self.accelerator,
        )
        self._current = machine.__enter__()
        return machine

    def is_current(self, machine: Machine) -> bool:
        """Whether it is the one that is on."""
        return self._current is machine and machine.is_on()

    def power_off(self) -> None:
        """Leave nothing on."""
        if self._current is not None:
            self._current.power_off()
        self._current = None

    def site(
        self, name: str, model: Path, *, model_id: str, pack: Sequence[str] = (), deploy: Sequence[str] = ()
    ) -> Site:
        """Pack a model and sign a deployment of it, for a machine that does not exist yet.

        pack, deploy: further words of those verbs.
        """
        folder = self.folder / name
        key = folder / f"{model_id}.key"
        descriptor = folder / f"{model_id}.json"
        volume = folder / "deployment.raw"
        self.expect("weights", "pack", str(model), "--id", model_id, "--output", str(folder), *pack)
        self.expect(
            *("deploy", "--id", name, "--pack", str(descriptor), "--manifest", str(self.manifest)),
            *("--output", str(volume), *self.consent, *deploy),
        )
        return Site(folder=folder / "machine", deployment=volume, pack=descriptor, key=key)

    def redeploy(self, site: Site, descriptor: Path, *words: str) -> None:
        """Sign another document for a machine that has its key, and leave the rest of its volume as it is."""
        before = deployment.decode(deployment_source.payload(site.deployment))
        with tempfile.TemporaryDirectory(prefix="mantlet-") as folder:
            volume = Path(folder) / "deployment.raw"
            self.expect(
                *("deploy", "--id", before.id, "--pack", str(descriptor)),
                *("--manifest", str(self.manifest), "--output", str(volume), *self.consent, *words),
            )
            document = deployment_source.envelope(volume)
        damage.rewrite_document(site.deployment, lambda _before: document, self.tools)

    def seal(self, machine: Machine, site: Site) -> Said:
        """Verify a machine that awaits its key and hand the key over, as its owner does."""
        return self.expect(
            *("weights", "seal", "--to", f"127.0.0.1:{machine.port}", "--pack", str(site.pack)),
            *("--key", str(site.key), "--policy-key", str(self.keys / "policy.key")),
            *self.trust(),
        )

    def provision(self, site: Site, hardware: Hardware | None = None) -> Machine:
        """Boot for the first time, seal, and come to serving."""
        machine = self.boot(site, hardware)
        machine.wait_for(AWAITING_KEY, seconds=BOOT_SECONDS)
        self.seal(machine, site)
        machine.wait_for(SERVING, seconds=BOOT_SECONDS)
        return machine

    def trust(self) -> tuple[str, ...]:
        """The options that say whom a relying party trusts."""
        files = self._files()
        return (
            *("--manifest", str(files.manifest), "--policy", str(files.policy)),
            *("--ek-roots", str(files.ek_roots), "--deployment-key", str(files.deployment_key)),
            *self.consent,
        )

    def question(self, state: State = State.SERVING) -> Question:
        """What a relying party asks, with the same trust."""
        return appraisal.question(self._files(), platform=None, expected_state=state)

    def connect(self, machine: Machine) -> AttestedConnection:
        """A connection to the machine's front."""
        return AttestedConnection(Address(host="127.0.0.1", port=machine.port), timeout=PATIENCE)

    def run(self, *words: str) -> Said:
        """Call a verb as if it was typed."""
        result, story = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(result), contextlib.redirect_stderr(story):
            code = cli.main(list(words), environ={})
        return Said(code=code, result=result.getvalue(), story=story.getvalue())

    def expect(self, *words: str) -> Said:
        """Call a verb that must accept."""
        said = self.run(*words)
        assert said.code == 0, f"{words}\n{said.story}"
        return said

    def _files(self) -> Files:
        return Files(
            manifest=self.manifest,
            policy=project.root() / "policies" / "appraisal" / "test.yaml",
            ek_roots=self.authority.roots,
            deployment_key=self.keys / "deployment.pem",
        )

# SPDX-License-Identifier: Apache-2.0
"""Where things lie in the image and in the running machine.

Owns every path that the agent reads or writes, under one root that tests move. It opens nothing.
"""

from dataclasses import dataclass
from pathlib import Path

TCTI = "device:/dev/tpmrm0"
SERVE_UID, FRONT_UID = 931, 932  # agent/units/mantlet.sysusers


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """All paths of the agent below `root`, which is `/` on a machine."""

    root: Path = Path("/")

    @property
    def trust(self) -> Path:
        """PEM public keys that may sign a deployment document. In the image."""
        return self.root / "usr/lib/mantlet/trust/deployment.pem"

    @property
    def runtime(self) -> Path:
        """The runtime declaration, canonical JSON. In the image."""
        return self.root / "usr/lib/mantlet/runtime.json"

    @property
    def os_release(self) -> Path:
        """Which image this is. In the image."""
        return self.root / "usr/lib/os-release"

    @property
    def fuse_list(self) -> Path:
        """What may run and start, canonical JSON. In the image."""
        return self.root / "usr/lib/mantlet/fuse.json"

    @property
    def proc(self) -> Path:
        """The kernel's list of processes."""
        return self.root / "proc"

    @property
    def modules_disabled(self) -> Path:
        """Whether the kernel takes no module any more: `1` for good."""
        return self.proc / "sys/kernel/modules_disabled"

    @property
    def notify(self) -> Path:
        """Where systemd hears from services."""
        return self.root / "run/systemd/notify"

    @property
    def block(self) -> Path:
        """The kernel's list of block devices and partitions."""
        return self.root / "sys/class/block"

    @property
    def devices(self) -> Path:
        """Device nodes."""
        return self.root / "dev"

    @property
    def tpm(self) -> Path:
        """The TPM, behind the kernel's resource manager."""
        return self.devices / "tpmrm0"

    @property
    def serial(self) -> Path:
        """The first serial port."""
        return self.devices / "ttyS0"

    @property
    def firmware_log(self) -> Path:
        """The firmware's event log, as the kernel gives it out."""
        return self.root / "sys/kernel/security/tpm0/binary_bios_measurements"

    @property
    def system_log(self) -> Path:
        """What systemd has measured. Readable by root alone."""
        return self.root / "run/log/systemd/tpm2-measure.log"

    @property
    def private(self) -> Path:
        """For root alone: the TLS key, until the front has it."""
        return self.root / "run/mantlet/private"

    @property
    def body(self) -> Path:
        """A pipe: the body of the weights, as it is fetched."""
        return self.private / "body"

    @property
    def public(self) -> Path:
        """For all processes of the machine, written by `boot` alone."""
        return self.root / "run/mantlet/public"

    @property
    def weights(self) -> Path:
        """Mount point of the model."""
        return self.root / "run/mantlet/weights"

    @property
    def inbox(self) -> Path:
        """Where `serve` puts a sealed key down for `boot`."""
        return self.root / "run/mantlet-inbox/sealed-key.json"

    @property
    def evidence_socket(self) -> Path:
        """Where `serve` listens for the front."""
        return self.root / "run/mantlet-serve/evidence.sock"

    @property
    def tcp_sockets(self) -> Path:
        """What the kernel tells of the machine's IPv4 TCP sockets."""
        return self.root / "proc/net/tcp"

    @property
    def fuse_word(self) -> Path:
        """The word of a burnt fuse, written by `fuse` alone; absent as long as it holds."""
        return self.root / "run/mantlet-fuse/word"

    @property
    def stages(self) -> Path:
        """State and verdicts of the stages."""
        return self.public / "stages.json"

    @property
    def tls_key(self) -> Path:
        """PEM key of the front."""
        return self.private / "tls.key"

    @property
    def tls_certificate(self) -> Path:
        """PEM certificate of the front, signed by itself."""
        return self.public / "tls.crt"

    @property
    def tls_spki(self) -> Path:
        """Hexadecimal SHA-256 of the front's SubjectPublicKeyInfo."""
        return self.public / "tls.spki"

    @property
    def envelope(self) -> Path:
        """The DSSE envelope of the deployment document in force."""
        return self.public / "deployment.dsse.json"

    @property
    def agent_log(self) -> Path:
        """What `boot` has extended into register 15."""
        return self.public / "agent.log.json"

    @property
    def firmware_log_copy(self) -> Path:
        """The firmware's log, for `serve`."""
        return self.public / "firmware.log"

    @property
    def system_log_copy(self) -> Path:
        """Systemd's log, for `serve`."""
        return self.public / "system.log"

    @property
    def runtime_environment(self) -> Path:
        """What the runtime's unit needs to know of the deployment."""
        return self.public / "runtime.env"

# SPDX-License-Identifier: Apache-2.0
"""A software TPM for each test that asks for one, with an EK certified by a local CA made on the spot.

These tests run inside the tools tree, whose Python has tpm2-pytss.
"""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mantlet_agent.tpm import Tpm

_DEADLINE = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manufactured:
    """State of a TPM as it leaves the factory, and the CA that certified its EK."""

    state: Path
    ek_roots: bytes


def manufacture(folder: Path) -> Manufactured:
    """Make the state of a TPM with active banks SHA-256 and SHA-384 and RSA and ECC endorsement keys."""
    state, authority = folder / "state", folder / "ca"
    state.mkdir(parents=True)
    authority.mkdir()
    authority_configuration = folder / "localca.conf"
    authority_configuration.write_text(
        f"statedir = {authority}\n"
        f"signingkey = {authority}/signkey.pem\n"
        f"issuercert = {authority}/issuercert.pem\n"
        f"certserial = {authority}/certserial\n"
    )
    options = folder / "localca.options"
    options.write_text("--platform-manufacturer mantlet\n--platform-version 1\n--platform-model test\n")
    configuration = folder / "setup.conf"
    configuration.write_text(
        "create_certs_tool = /usr/bin/swtpm_localca\n"
        f"create_certs_tool_config = {authority_configuration}\n"
        f"create_certs_tool_options = {options}\n"
    )
    subprocess.run(
        [
            *("swtpm_setup", "--tpm2", "--tpmstate", str(state), "--config", str(configuration)),
            *("--create-ek-cert", "--pcr-banks", "sha256,sha384", "--overwrite"),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    roots = [authority / "swtpm-localca-rootca-cert.pem", authority / "issuercert.pem"]
    return Manufactured(state=state, ek_roots=b"".join(path.read_bytes() for path in roots))


def _listening(socket: Path) -> bool:
    """Whether the kernel lists the socket as listening; a trial connection would be the first client."""
    listed = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    # Flags of __SO_ACCEPTCON, include/uapi/linux/net.h
    return any(fields[3] == "00010000" and fields[-1] == str(socket) for fields in listed)


@contextmanager
def running(state: Path, *, trace: Path | None = None) -> Iterator[str]:
    """Power the TPM on and give its TCTI string; power it off at the end. `trace` gets every byte."""
    socket = state.parent / "tpm.sock"
    process = subprocess.Popen(
        [
            *(
                "swtpm",
                "socket",
                "--tpm2",
                "--tpmstate",
                f"dir={state}",
                "--flags",
                "not-need-init,startup-clear",
            ),
            *("--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl"),
            *(() if trace is None else ("--log", f"file={trace},level=20")),
        ],
    )
    try:
        deadline = time.monotonic() + _DEADLINE
        while not _listening(socket):
            assert process.poll() is None, "swtpm ended at once"
            assert time.monotonic() < deadline, "swtpm does not listen"
            time.sleep(0.01)
        yield f"swtpm:path={socket}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            # A swtpm whose client died in mid-command can spin and ignore SIGTERM.
            process.send_signal(signal.SIGKILL)
            process.wait()
        socket.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def manufactured(tmp_path_factory: pytest.TempPathFactory) -> Manufactured:
    """The TPM as it leaves the factory; each test gets copies, because what an owner does to one stays."""
    return manufacture(tmp_path_factory.mktemp("tpm"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One machine's TPM as a thing: it can be powered on again and again, and remembers."""

    state: Path

    @contextmanager
    def on(self) -> Iterator[Tpm]:
        """Power on, and open the agent's own door to it."""
        with running(self.state) as name, Tpm.open(name) as opened:
            yield opened


@pytest.fixture
def new_chip(manufactured: Manufactured) -> Iterator[Callable[[], Chip]]:
    """Give copies of the TPM as it left the factory, as many as are asked for."""
    with ExitStack() as stack:

        def copy() -> Chip:
            # Unix sockets have short names only.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mantlet-")))
            shutil.copytree(manufactured.state, folder / "state")
            return Chip(state=folder / "state")

        yield copy


@pytest.fixture
def chip(new_chip: Callable[[], Chip]) -> Chip:
    """The TPM of a machine that was never on."""
    return new_chip()


@pytest.fixture
def tcti(chip: Chip) -> Iterator[str]:
    """The TCTI string of that TPM, powered on."""
    with running(chip.state) as name:
        yield name


@pytest.fixture
def tpm(tcti: str) -> Iterator[Tpm]:
    """The agent's own door to that TPM."""
    with Tpm.open(tcti) as opened:
        yield opened


@pytest.fixture
def swtpm(tpm: Tpm) -> object:
    """The tpm2-pytss ESAPI context behind that door."""
    return tpm.esapi

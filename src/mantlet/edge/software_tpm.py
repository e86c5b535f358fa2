# SPDX-License-Identifier: Apache-2.0
"""A software TPM for one machine: made once, certified by a local CA, and started for each boot.

Its log names every command: what was extended and whether an unseal succeeded can be told from outside.
"""

from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import files, process
from mantlet.edge.tools import ToolsTree

_MADE = "tpm2-00.permall"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The local CA that certifies endorsement keys: trusted by the test policy alone."""

    folder: Path

    @property
    def roots(self) -> Path:
        """Root and issuer in one PEM file; there once a TPM was made."""
        return self.folder / "ek-roots.pem"


def make(state: Path, *, authority: Authority, tools: ToolsTree, banks: str = "sha256,sha384") -> None:
    """Make the TPM's state if there is none: its banks, an RSA-2048 EK, its certificate."""
    if (state / _MADE).exists():
        return
    for folder in (state, authority.folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca = authority.folder
    (ca / "localca.conf").write_text(
        f"statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\n"
        f"certserial = {ca}/certserial\n"
    )
    (ca / "localca.options").write_text(
        "--platform-manufacturer Mantlet\n--platform-version 1\n--platform-model emulated\n"
    )
    (ca / "setup.conf").write_text(
        "create_certs_tool = /usr/bin/swtpm_localca\n"
        f"create_certs_tool_config = {ca}/localca.conf\ncreate_certs_tool_options = {ca}/localca.options\n"
    )
    setup = [
        *("swtpm_setup", "--tpm2", "--tpmstate", str(state), "--config", str(ca / "setup.conf")),
        *("--create-ek-cert", "--pcr-banks", banks, "--overwrite"),
    ]
    process.run(tools.command(setup, rw=[state, ca]))
    parts = [ca / name for name in ("swtpm-localca-rootca-cert.pem", "issuercert.pem")]
    files.write_atomic(authority.roots, b"".join(part.read_bytes() for part in parts))


def start(state: Path, *, socket: Path, trace: Path, log: Path, tools: ToolsTree) -> process.Running:
    """Start the TPM for one boot. It ends when QEMU leaves; `trace` gets every command and answer."""
    trace.unlink(missing_ok=True)
    words = [
        *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--ctrl", f"type=unixio,path={socket}"),
        *("--log", f"file={trace},level=20", "--terminate"),
    ]
    return process.Running(tools.command(words, rw=[state, socket.parent, trace.parent]), log=log)

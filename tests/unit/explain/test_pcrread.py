# SPDX-License-Identifier: Apache-2.0
"""`mantlet explain` on what tpm2_pcrread prints, of a software TPM that tpm2-tools extended."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from mantlet.cli import main
from mantlet.edge.tools import ToolsTree
from mantlet_measure.pcr import BANKS, Event, measured
from tests.boot_events import firmware_events, manifest_of, system_events

EVENTS = (*firmware_events(), *system_events())
# One TPM, from its making to its end; the events come on stdin, an argument of tpm2_pcrextend each.
SCRIPT = """
set -e
cd "$1"
mkdir state
swtpm_setup --tpm2 --tpmstate "$1/state" --pcr-banks sha256,sha384 >/dev/null
swtpm socket --tpm2 --tpmstate "dir=$1/state" --flags not-need-init,startup-clear \
    --server "type=unixio,path=$1/tpm" --ctrl "type=unixio,path=$1/tpm.ctrl" 2>/dev/null &
trap 'kill $!' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10; do test -S "$1/tpm.ctrl" || sleep 0.1; done
export TPM2TOOLS_TCTI="swtpm:path=$1/tpm"
while read -r words; do tpm2_pcrextend $words; done
tpm2_pcrread
"""


def registers(tools: ToolsTree, folder: Path, events: Sequence[Event]) -> str:
    """Extend a new TPM by these events and return what tpm2_pcrread prints of it."""
    folder.mkdir()
    lines = []
    for start in range(0, len(events), 8):
        # Several registers in one command: a process each would take most of the test's time.
        lines.append(" ".join(_argument(event) for event in events[start : start + 8]))
    command = tools.command(["sh", "-c", SCRIPT, "sh", str(folder)], rw=(folder,))
    done = subprocess.run(
        command, input="\n".join(lines) + "\n", check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout


def _argument(event: Event) -> str:
    return f"{event.register}:" + ",".join(f"{bank}={event.digests[bank].hex()}" for bank in BANKS)


def test_registers_that_tpm2_tools_read_are_compared_and_explained(
    tools: ToolsTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, read = tmp_path / "measurements.json", tmp_path / "pcrs.yaml"
    manifest.write_bytes(manifest_of(EVENTS))
    read.write_text(registers(tools, tmp_path / "expected", EVENTS))
    assert main(["explain", str(manifest), str(read)], environ={}) == 0
    assert "EQUAL     4, 7, 9, 11, 12, 13, 14, 15 (sha256, sha384)" in capsys.readouterr().out

    sysinit = measured(11, b"sysinit", type="phase", description="sysinit")
    read.write_text(registers(tools, tmp_path / "other", (*EVENTS, sysinit)))
    assert main(["explain", str(manifest), str(read)], environ={}) == 1
    assert "PCR 11: the boot went on to phase “sysinit”" in capsys.readouterr().out

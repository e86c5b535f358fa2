# SPDX-License-Identifier: Apache-2.0
"""What its owner does to the TPM of a machine that is off: with the platform hierarchy, or with a real
statement.

`attack` starts the TPM's state in the tools tree, whose Python has tpm2-pytss; there this module is the
program.
"""

import sys
import time
from pathlib import Path

from mantlet.edge import process, project
from mantlet.edge.tools import ToolsTree

DELETE, CREATE_AGAIN, CLEAR = "delete", "create-again", "clear"


def attack(state: Path, action: str, *, policy_key: bytes, tools: ToolsTree) -> None:
    """Do `action` to the TPM whose state lies in a folder; `policy_key` is the TPMT_PUBLIC of its counter."""
    root = project.root()
    words = ["python3", "-m", "tests.vm.tpm_attack", str(state), action, policy_key.hex()]
    environment = {
        "PYTHONPATH": f"{root / 'agent' / 'src'}:{root / 'src'}:{root}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    options = ["--chdir", str(root)]
    process.run(tools.command(words, ro=[root], rw=[state], env=environment, options=options))


def main() -> int:
    """Start the TPM and do as told."""
    import subprocess

    state, action, policy_key = Path(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3])
    socket = Path("/run/tpm")
    words = [
        *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}"),
        *("--flags", "not-need-init,startup-clear", "--server", f"type=unixio,path={socket}"),
        *("--ctrl", f"type=unixio,path={socket}.ctrl"),
    ]
    running = subprocess.Popen(words)
    try:
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert running.poll() is None, "swtpm ended at once"
            assert time.monotonic() < deadline, "swtpm does not listen"
            time.sleep(0.05)
        _do(action, policy_key, f"swtpm:path={socket}")
    finally:
        running.terminate()
        running.wait(timeout=5)
    return 0


def _do(action: str, policy_key: bytes, tcti: str) -> None:
    from tpm2_pytss import ESYS_TR, TPM2B_NV_PUBLIC, TPMA_NV, TPMS_NV_PUBLIC

    from mantlet_agent import ownership
    from mantlet_agent.tpm import Tpm
    from mantlet_measure.epoch_counter import EpochCounter

    counter = EpochCounter(policy_key=policy_key)
    with Tpm.open(tcti) as tpm:
        esapi = tpm.esapi
        if action == CLEAR:
            esapi.clear_control(ESYS_TR.PLATFORM, False)
            esapi.clear(ESYS_TR.PLATFORM)
            return
        esapi.nv_undefine_space(esapi.tr_from_tpmpublic(counter.handle), auth_handle=ESYS_TR.PLATFORM)
        if action == CREATE_AGAIN:
            area, _ = TPMS_NV_PUBLIC.unmarshal(counter.public(written=False))
            area.attributes |= TPMA_NV.PLATFORMCREATE
            index = esapi.nv_define_space(None, TPM2B_NV_PUBLIC(nvPublic=area), auth_handle=ESYS_TR.PLATFORM)
            ownership._start(tpm, counter, index)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""What the owner of a TPM does to it while the machine is off: its hierarchies, its counter, a replay.

The state is started in the tools tree, whose Python has tpm2-pytss; the programs below run there, with the
agent's own modules, so that the commands are those that a boot would send.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import process, project
from mantlet.edge.bench import socket_tpm
from mantlet.edge.tools import ToolsTree
from mantlet_measure import handover
from mantlet_measure.handover import Handover

DELETE, CREATE_AGAIN, CLEAR, RAISE = "delete", "create-again", "clear", "raise"

_OWN = """
import sys
sys.path[:0] = sys.argv[4:]
from tpm2_pytss import ESYS_TR, TPM2B_NV_PUBLIC, TPMA_NV, TPMS_NV_PUBLIC
from mantlet_agent import epoch, ownership
from mantlet_agent.tpm import Tpm
from mantlet_measure.epoch_counter import EpochCounter

counter, action = EpochCounter(policy_key=bytes.fromhex(sys.argv[3])), sys.argv[2]
with Tpm.open(sys.argv[1]) as tpm:
    esapi = tpm.esapi
    if action == "clear":
        esapi.clear_control(ESYS_TR.PLATFORM, False)
        esapi.clear(ESYS_TR.PLATFORM)
    elif action == "raise":
        assert epoch.apply(tpm, counter, esapi.tr_from_tpmpublic(counter.handle), sys.stdin.buffer.read())
    else:
        index = esapi.tr_from_tpmpublic(counter.handle)
        esapi.nv_undefine_space(index, auth_handle=ESYS_TR.PLATFORM)
    if action == "create-again":
        area, _ = TPMS_NV_PUBLIC.unmarshal(counter.public(written=False))
        area.attributes |= TPMA_NV.PLATFORMCREATE
        index = esapi.nv_define_space(None, TPM2B_NV_PUBLIC(nvPublic=area), auth_handle=ESYS_TR.PLATFORM)
        ownership._start(tpm, counter, index)
"""

_REPLAY = """
import json, sys
sys.path[:0] = sys.argv[2:]
from tpm2_pytss import ESYS_TR, TPM2_ALG, TPML_DIGEST_VALUES, TPMT_HA, TSS2_Exception, types
from mantlet.edge.bench import raw_release
from mantlet_agent.tpm import REGISTERS, Tpm
from mantlet_measure import handover
from mantlet_measure.epoch_counter import EpochCounter
from mantlet_measure.pcr import BANKS

asked = json.load(sys.stdin)
given = handover.decode(bytes.fromhex(asked["handover"]))
counter = EpochCounter(policy_key=given.sealed_key.policy_key)

def values(digests):
    return TPML_DIGEST_VALUES([
        TPMT_HA(hashAlg=getattr(TPM2_ALG, bank.upper()), digest=types.TPMU_HA(**{bank: bytes.fromhex(text)}))
        for bank, text in digests.items()
    ])

with Tpm.open(sys.argv[1]) as tpm:
    for register, digests in asked["extends"]:
        tpm.esapi.pcr_extend(ESYS_TR(register), values(digests))
    registers = {bank.value: {n: v.hex() for n, v in tpm.read(REGISTERS)[bank].items()} for bank in BANKS}
    index = tpm.esapi.tr_from_tpmpublic(counter.handle)
    parent, _ = tpm.storage_root()
    try:
        code = 0 if raw_release.data_key(tpm.esapi, parent, index, given) else -1
    except TSS2_Exception as refused:
        code = refused.rc & 0xFFF
print(json.dumps({"code": code, "registers": registers}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What the TPM answered to whom replayed a boot (0: it released the key), and the registers by bank."""

    code: int
    registers: Mapping[str, Mapping[int, bytes]]


def own(state: Path, action: str, *, policy_key: bytes, tools: ToolsTree, statement: bytes = b"") -> None:
    """Do `action` to the TPM whose state lies in a folder; `policy_key` is the TPMT_PUBLIC of its counter."""
    _run(state, _OWN, [action, policy_key.hex()], stdin=statement, tools=tools)


def replay(
    state: Path, extends: Sequence[tuple[int, Mapping[str, bytes]]], *, given: Handover, tools: ToolsTree
) -> Replayed:
    """Extend a fresh TPM's registers as told, then ask it for the key with the first approval."""
    asked = {
        "handover": handover.encode(given).hex(),
        "extends": [
            (register, {bank: digest.hex() for bank, digest in digests.items()})
            for register, digests in extends
        ],
    }
    said = json.loads(_run(state, _REPLAY, [], stdin=json.dumps(asked).encode("ascii"), tools=tools))
    registers = {
        bank: {int(number): bytes.fromhex(value) for number, value in values.items()}
        for bank, values in said["registers"].items()
    }
    return Replayed(code=said["code"], registers=registers)


def _run(state: Path, program: str, words: Sequence[str], *, stdin: bytes, tools: ToolsTree) -> bytes:
    libraries = [project.root() / "agent" / "src", project.root() / "src"]
    with socket_tpm.powered(state, log=state.with_name("swtpm.log"), tools=tools) as sockets:
        argv = ["python3", "-IB", "-c", program, socket_tpm.tcti(sockets), *words, *map(str, libraries)]
        return process.run(tools.command(argv, ro=libraries, rw=[sockets]), stdin=stdin).stdout

# SPDX-License-Identifier: Apache-2.0
"""What the release of a key takes in the agent, beside the same commands of the TPM with tpm2-pytss alone.

Both run in turns in one process on one software TPM, with the Python of the tools tree, which is the image's.
The agent's side is what a boot calls: both documents decoded before, the approval looked up, the session
salted to the key that the owner verified, the key checked and overwritten where the TPM's library left it.
"""

import json

from mantlet.edge import files, project, software_tpm
from mantlet.edge.bench import socket_tpm
from mantlet.edge.bench.outcome import Outcome, Samples, Unit, ratio
from mantlet.edge.bench.site import Site
from mantlet.edge.process import run

_REPEATED = 10
_PROGRAM = """
import json, secrets, sys, time
sys.path[:0] = sys.argv[3:]
from cryptography.hazmat.primitives.asymmetric import ec
from mantlet.edge.bench import raw_release
from mantlet.weights.approve import approve
from mantlet.weights.seal import SealedModel, seal
from mantlet_agent.tpm import Tpm
from mantlet_agent.unseal import SealedRelease
from mantlet_measure.approvals import Image
from mantlet_measure.handover import Handover
from mantlet_measure.pcr import ENFORCED

key, policy_key = secrets.token_bytes(32), ec.generate_private_key(ec.SECP256R1())
taken = {"ours": [], "theirs": []}
with Tpm.open(sys.argv[1]) as tpm:
    parent, public = tpm.storage_root()
    model = SealedModel(id="bench", root_hash=bytes(32))
    sealed = seal(
        key,
        srk_public=public.marshal(),
        model=model,
        policy_key=policy_key.public_key(),
        entropy=secrets.token_bytes,
    )
    image = Image(id="mantlet", version="1")
    registers = tpm.read(ENFORCED)
    approvals = approve(registers, model_id=model.id, epoch=1, image=image, policy_key=policy_key)
    given = Handover(sealed_key=sealed, approvals=approvals)
    # The first release takes the TPM's ownership, and makes the storage root key persistent.
    first = SealedRelease(tpm, sealed, approvals)
    assert first.data_key() == key
    sides = {
        "theirs": lambda: raw_release.data_key(tpm.esapi, parent, first.index, given),
        "ours": lambda: SealedRelease(tpm, sealed, approvals).data_key(),
    }
    for name in list(sides) * (int(sys.argv[2]) + 1):
        started = time.perf_counter()
        released = sides[name]()
        taken[name].append((time.perf_counter() - started) * 1000)
        assert released == key
print(json.dumps({name: values[1:] for name, values in taken.items()}))
"""


def measure(site: Site) -> tuple[Outcome, ...]:
    """Release one key many times, in turns, after the release that takes the TPM's ownership."""
    folder = files.new_directory(site.folder / "unsealing")
    state = folder / "tpm"
    software_tpm.make(state, authority=site.authority, tools=site.tools)
    libraries = [project.root() / "agent" / "src", project.root() / "src"]
    with socket_tpm.powered(state, log=folder / "log", tools=site.tools) as sockets:
        words = [socket_tpm.tcti(sockets), str(site.rounds * _REPEATED), *map(str, libraries)]
        argv = ["python3", "-IB", "-c", _PROGRAM, *words]
        taken = json.loads(run(site.tools.command(argv, ro=libraries, rw=[sockets])).stdout)
    ours, theirs = (
        Samples(label=label, unit=Unit.MILLISECONDS, values=tuple(taken[side]))
        for side, label in (("ours", "the agent's release"), ("theirs", "tpm2-pytss alone"))
    )
    how = (
        "swtpm; both import, load, salt and encrypt a session, meet the policy, unseal and flush; "
        "a warm-up each, and the keys compared every time"
    )
    goal = "unseal path, beside the raw tpm2-pytss calls"
    return (ratio(ours, theirs, name="unseal", goal=goal, bound=3.0, how=how),)

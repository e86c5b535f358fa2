# SPDX-License-Identifier: Apache-2.0
"""`mantlet up`: the whole promise kept once, by the verbs that each of its users would type.

Build the image; pack a model; deploy it; boot a machine; verify the machine and seal the key to it; verify it
again and ask it something. Every step is a verb of this program, shown as it is called.
"""

import argparse
import contextlib
import re
import shlex
import sys
from pathlib import Path

from mantlet import cli
from mantlet.cli import boot
from mantlet.edge import demo_model, image, output, owner, pack, project, tools
from mantlet.edge.keys import KeyFolder
from mantlet.edge.machine import Hardware
from mantlet.edge.pack_plan import Label
from mantlet_measure.dsse import SignatureError
from mantlet_measure.errors import DecodeError, MantletError

_PROMPT = "Why is the sky blue?"
_BOOT_SECONDS = 600


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `up`."""
    parser = verbs.add_parser(
        "up",
        help="build, boot, verify and ask: the whole promise kept once",
        description="Build, pack, deploy, boot, verify, seal, verify and ask; then power off.",
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="a GGUF (default: SmolLM2-135M-Instruct, downloaded)"
    )
    parser.add_argument("--prompt", default=_PROMPT, metavar="TEXT", help=f"what to ask (default: {_PROMPT})")
    parser.add_argument("--max-tokens", type=int, default=24, metavar="N", help="the longest answer (24)")
    parser.add_argument("--stay", action="store_true", help="leave the machine on until Ctrl-C")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Go through all of it; the first verb that refuses ends it with its exit code."""
    _call("build")
    build = image.latest().resolve()
    keys = KeyFolder(project.key_folder())
    state = project.state_folder() / "up"
    descriptor = _packed(arguments.model, keys=keys)
    model_id = descriptor.stem
    volume = state / "deployment.raw"
    policy_key = str(keys.policy())
    _call(
        *("deploy", "--id", "up", "--pack", str(descriptor), "--policy-key", policy_key),
        *("--output", str(volume)),
    )
    hardware = Hardware(
        disk=build / "disk.raw",
        variables=build / "OVMF_VARS.fd",
        deployment=volume,
        weights=descriptor.with_suffix(".raw"),
    )
    # A machine of its own for each build: firmware variables hold the keys of that build.
    machine = boot.new_machine(state / build.name, hardware)
    (machine.folder / "OVMF_VARS.fd").unlink(missing_ok=True)
    with machine:
        tell = boot.teller(machine)
        machine.wait_for(boot.AWAITING_KEY, seconds=_BOOT_SECONDS, tell=tell)
        trust = [
            *("--manifest", str(build / "measurements.json")),
            *("--policy", str(project.root() / "policies" / "appraisal" / "test.yaml")),
            *(
                "--ek-roots",
                str(machine.authority.roots),
                "--deployment-key",
                str(keys.folder / "deployment.pem"),
            ),
        ]
        address = f"127.0.0.1:{machine.port}"
        _call(
            *("weights", "seal", "--to", address, "--pack", str(descriptor)),
            *("--key", str(keys.folder / f"{model_id}.key"), "--policy-key", policy_key, *trust),
        )
        machine.wait_for(boot.SERVING, seconds=_BOOT_SECONDS, tell=tell)
        _call(
            *(
                "ask",
                f"https://{address}",
                arguments.prompt,
                "--max-tokens",
                str(arguments.max_tokens),
                *trust,
            ),
            *(["--json"] if arguments.json else []),
            result=True,
        )
        if arguments.stay:
            output.step(f"https://{address} stays until Ctrl-C")
            machine.wait_until_off(seconds=float("inf"))
    return 0


def _packed(model: Path | None, *, keys: KeyFolder) -> Path:
    """The descriptor of the model's pack under `models/`; packed anew when it is old or another owner's."""
    source = model or demo_model.fetch()
    model_id = demo_model.MODEL_ID if model is None else _identifier(model)
    folder = project.root() / "models"
    descriptor, owner_key = folder / f"{model_id}.json", keys.owner()
    if descriptor.exists() and descriptor.stat().st_mtime >= source.stat().st_mtime:
        with contextlib.suppress(DecodeError, SignatureError):
            owner.read_descriptor(descriptor, owner_key=keys.folder / "owner.pem")
            return descriptor
    pack.write(
        source,
        folder,
        label=Label(id=model_id, version="1", epoch=1),
        file=None,
        key_file=keys.folder / f"{model_id}.key",
        owner=owner_key,
        tools=tools.ToolsTree.current(),
    )
    return descriptor


def _identifier(model: Path) -> str:
    """A model id out of a file name."""
    return re.sub(r"[^a-z0-9.-]+", "-", model.stem.lower()).strip("-.")[:63] or "model"


def _call(*words: str, result: bool = False) -> None:
    """Call a verb as if it was typed, after showing it; MantletError when it refuses.

    result: whether what it writes to stdout is the result of ours too, or part of the story.
    """
    output.step(f"$ mantlet {shlex.join(words)}")
    with contextlib.nullcontext() if result else contextlib.redirect_stdout(sys.stderr):
        code = cli.main(list(words))
    if code != 0:
        raise MantletError(
            f"expected `mantlet {words[0]}` to accept, found exit code {code}; it says why above",
            hint="mend what it names, then run the same command again",
        )

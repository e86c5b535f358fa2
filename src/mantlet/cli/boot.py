# SPDX-License-Identifier: Apache-2.0
"""`mantlet boot`: a machine in QEMU, with a line for each stage of its agent, until it is interrupted."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from mantlet.edge import accelerator, image, output, project
from mantlet.edge.machine import Hardware, Line, Machine
from mantlet.edge.software_tpm import Authority
from mantlet.edge.tools import ToolsTree

SERVING = Line("serve", "ok")
AWAITING_KEY = Line("unseal", "awaiting-key")


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `boot`."""
    parser = verbs.add_parser(
        "boot",
        help="boot an image in QEMU with Secure Boot and a TPM",
        description="Boot a build under QEMU, OVMF and swtpm; TPM and variables stay in the state folder.",
    )
    parser.add_argument("--build", type=Path, metavar="DIR", help="the build (default: build/latest)")
    parser.add_argument("--deployment", type=Path, metavar="FILE", help="the deployment volume's disk image")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="the weights pack's disk image")
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="the machine's folder (default: state/machine)"
    )
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="its HTTPS port on loopback (default: any)"
    )
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB", help="its memory (2048)")
    parser.add_argument("--processors", type=int, default=2, metavar="N", help="its processors (2)")
    parser.add_argument(
        "--way-out",
        action="store_true",
        help="let the machine connect outwards, as one whose deployment has --fetch must",
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Boot, tell the stages, and stay until Ctrl-C or power-off."""
    build = arguments.build or image.latest()
    hardware = Hardware(
        disk=(build / "disk.raw").resolve(),
        variables=build / "OVMF_VARS.fd",
        deployment=arguments.deployment,
        weights=arguments.weights,
        memory_mib=arguments.memory,
        processors=arguments.processors,
        way_out=arguments.way_out,
    )
    machine = new_machine(
        arguments.state or project.state_folder() / "machine", hardware, port=arguments.port
    )
    with machine:
        output.step(f"https://127.0.0.1:{machine.port} when it serves; Ctrl-C powers off")
        while machine.is_on():
            machine.tell_new(teller(machine))
            time.sleep(0.2)
        lines = machine.tell_new(teller(machine))
        machine.check_end()
    if arguments.json:
        output.document([{"stage": line.stage, "code": line.code} for line in lines])
    return 0 if SERVING in lines else 1


def new_machine(state: Path, hardware: Hardware, *, port: int = 0) -> Machine:
    """Describe a machine whose state is in `state`; say which accelerator it gets."""
    tools = ToolsTree.current()
    chosen = accelerator.probe(tools)
    output.step(f"Booting {hardware.disk.parent.name} under {chosen.said}…")
    return Machine(
        folder=state.absolute(),
        hardware=hardware,
        tools=tools,
        authority=Authority(folder=project.key_folder() / "swtpm-ca"),
        accelerator=chosen,
        port=port,
    )


def teller(machine: Machine) -> Callable[[float, Line], None]:
    """A function that tells one line of the agent, with the seconds since power-on."""

    def tell(elapsed: float, line: Line) -> None:
        output.step(f"{machine.folder.name}: {line.stage} {line.code} (after {elapsed:.1f} s)")

    return tell

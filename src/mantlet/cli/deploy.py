# SPDX-License-Identifier: Apache-2.0
"""`mantlet deploy`: the signed deployment document, on the small disk that the agent reads it from."""

import argparse
from pathlib import Path

from mantlet.edge import deployment_disk, files, image, output, project
from mantlet.edge.keys import KeyFolder
from mantlet.edge.tools import ToolsTree
from mantlet.release.deployment import new_deployment, sign
from mantlet.weights import pack

_LIMIT = 1 << 20


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `deploy`."""
    parser = verbs.add_parser(
        "deploy",
        help="write the signed deployment document and its volume",
        description="Tie a model to a release, sign that, and write the deployment volume.",
    )
    parser.add_argument("--id", required=True, metavar="NAME", help="the deployment's name")
    parser.add_argument(
        "--pack", type=Path, required=True, metavar="FILE", help="the descriptor of the model's pack"
    )
    parser.add_argument(
        "--manifest", type=Path, metavar="FILE", help="measurements.json (default: of build/latest)"
    )
    parser.add_argument(
        "--runtime", default="llama-server", metavar="NAME", help="the runtime (llama-server)"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the volume's disk image")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Sign and write."""
    manifest = arguments.manifest or image.latest() / "measurements.json"
    model = pack.decode(files.read(arguments.pack, limit=_LIMIT, what="pack descriptor")).model
    document = new_deployment(
        files.read(manifest, limit=_LIMIT, what="manifest"), model, id=arguments.id, runtime=arguments.runtime
    )
    envelope = sign(document, [KeyFolder(project.key_folder()).deployment()])
    deployment_disk.write(arguments.output, envelope, tools=ToolsTree.current())
    if arguments.json:
        output.document({"volume": str(arguments.output), "id": document.id, "model": model.id})
    else:
        output.result(
            f"volume  {arguments.output}: {model.id} on {document.image_id} {document.image_version}"
        )
    return 0

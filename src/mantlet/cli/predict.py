# SPDX-License-Identifier: Apache-2.0
"""`mantlet predict`: compute the expected PCRs of a built image, from its files alone."""

import argparse
from pathlib import Path

from mantlet.edge import files, output
from mantlet.predict import PLATFORMS, QEMU_OVMF, predict
from mantlet.predict.pe import LIMIT
from mantlet.predict.variables import LIMIT as STORE_LIMIT
from mantlet.predict.variables import decode_store, secure_boot_keys
from mantlet.release import manifest
from mantlet.release.manifest import Manifest
from mantlet_measure import strictjson
from mantlet_measure.pcr import Register

UKI_NAME = "uki.efi"
STORE_NAME = "OVMF_VARS.fd"


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `predict`."""
    parser = verbs.add_parser(
        "predict", help="compute the expected PCRs of a built image", description=__doc__
    )
    parser.add_argument("image", type=Path, metavar="BUILD-DIR|UKI", help="a build folder, or a signed UKI")
    parser.add_argument(
        "--vars",
        type=Path,
        metavar="FILE",
        help=f"OVMF variable store with the enrolled keys (default: {STORE_NAME} beside the UKI)",
    )
    parser.add_argument("--platform", choices=PLATFORMS, default=QEMU_OVMF, help="the kind of machine")
    parser.add_argument(
        "--without-os-separator", action="store_true", help="the initrd lacks systemd-pcrosseparator.service"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write measurements.json there")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Predict, write and print. Returns 0; refusals are raised."""
    uki = args.image / UKI_NAME if args.image.is_dir() else args.image
    store = args.vars or uki.parent / STORE_NAME
    if not args.json:
        output.step(f"Predicting PCRs of {uki}…")
    reference = predict(
        uki=files.read(uki, limit=LIMIT, what="UKI"),
        secure_boot=secure_boot_keys(decode_store(files.read(store, limit=STORE_LIMIT, what="OVMF_VARS.fd"))),
        platform=args.platform,
        os_separator=not args.without_os_separator,
    )
    encoded = manifest.encode(reference)
    if args.output is not None:
        files.write_atomic(args.output, encoded)
    if args.json:
        output.document(strictjson.decode(encoded, what=manifest.WHAT))
    else:
        _print(reference, platform=args.platform, verbose=args.verbose)
    return 0


def _print(reference: Manifest, *, platform: str, verbose: bool) -> None:
    """Print a line a register and bank; with `verbose`, the events behind it too."""
    image = reference.image
    output.result(f"{image.id} {image.version} on {platform}, systemd-stub {image.stub}")
    for bank, registers in reference.platforms[platform].banks.items():
        output.result(bank.value)
        for number, expected in registers.items():
            name = Register(number).name.lower().replace("_", "-")
            output.result(f"  {number:2} {name:<18} {expected.value.hex()}")
            if verbose:
                for event in expected.events:
                    output.result(f"       {event.digest.hex()[:16]}…  {event.type}: {event.description}")

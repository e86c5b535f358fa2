# SPDX-License-Identifier: Apache-2.0
"""`mantlet record`: take registers 0 to 3 and 6 from a boot, under the digest of its firmware.

They hold for machines of the same shape only; --memory and --processors write it into the record.
"""

import argparse
import hashlib
import secrets
from pathlib import Path

from mantlet.client.attest import fetch_evidence
from mantlet.edge import files, output
from mantlet.edge.https import Address, AttestedConnection, address
from mantlet.predict import recorded
from mantlet.predict.boot import FirmwareRecord, Shape
from mantlet.predict.recorded import Source
from mantlet.verifier.quote import Session
from mantlet.verifier.unbound import examine
from mantlet_measure import evidence, strictjson
from mantlet_measure.cel import decode_system_log
from mantlet_measure.errors import MantletError
from mantlet_measure.eventlog import decode_firmware_log
from mantlet_measure.evidence import NONCE_SIZE, Evidence
from mantlet_measure.pcr import BANKS, Register, replay

_FIRMWARE_LIMIT = 64 << 20
_TIMEOUT = 120.0


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `record`."""
    parser = verbs.add_parser("record", help="take the firmware's registers from a boot", description=__doc__)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="https://HOST:PORT, evidence as JSON, or a firmware event log (binary_bios_measurements)",
    )
    parser.add_argument(
        "--firmware", type=Path, required=True, metavar="FILE", help="the firmware that the machine booted"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="write the record there")
    parser.add_argument(
        "--memory",
        type=int,
        metavar="MIB",
        help="the machine's memory, for the record: register 0 follows it",
    )
    parser.add_argument(
        "--processors", type=int, metavar="N", help="the machine's processors, for the record: so with them"
    )
    parser.set_defaults(handler=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Record, write and print. Returns 0; refusals are raised, and then nothing is written."""
    shape = _shape(arguments)
    firmware = files.read(arguments.firmware, limit=_FIRMWARE_LIMIT, what="firmware")
    if not arguments.json:
        output.step(f"Reading the boot from {arguments.source}…")
    made = recorded.record(
        _source(arguments.source),
        firmware_sha256=hashlib.sha256(firmware).digest(),
        shape=shape,
    )
    encoded = recorded.encode(made)
    files.write_atomic(arguments.output, encoded)
    if arguments.json:
        output.document(strictjson.decode(encoded, what=recorded.WHAT))
    else:
        _print(made, verbose=arguments.verbose)
    return 0


def _shape(arguments: argparse.Namespace) -> Shape | None:
    """The shape as it was told; nothing is guessed, and one half of it says nothing."""
    memory, processors = arguments.memory, arguments.processors
    if memory is None and processors is None:
        return None
    if memory is None or processors is None:
        arguments.usage_error("--memory and --processors: expected both or neither, found one")
    for name, value, limit in (
        ("--memory", memory, recorded.MEMORY_LIMIT),
        ("--processors", processors, recorded.PROCESSOR_LIMIT),
    ):
        if not 1 <= value <= limit:
            arguments.usage_error(f"{name}: expected 1 to {limit}, found {value}")
    return Shape(memory_mib=memory, processors=processors)


def _source(where: str) -> Source:
    if where.startswith("https://"):
        with AttestedConnection(_address(where), timeout=_TIMEOUT) as connection:
            nonce = secrets.token_bytes(NONCE_SIZE)
            found = evidence.decode(fetch_evidence(connection, nonce))
            examine(found, session=Session(nonce=nonce, tls_spki_sha256=connection.tls_spki_sha256))
        # The address of a machine is nobody's business but its operator's.
        return _of_evidence(found, "a live machine, its logs replayed to the quoted values")
    data = files.read(Path(where), limit=evidence.LIMIT, what="source")
    if data.lstrip()[:1] == b"{":
        found = evidence.decode(data)
        examine(found, session=None)
        return _of_evidence(found, "evidence of a machine, its logs replayed to the quoted values")
    return Source(
        firmware=decode_firmware_log(data),
        system=(),
        quoted=None,
        description="an event log alone, compared with no quoted values",
    )


def _address(text: str) -> Address:
    try:
        return address(text)
    except argparse.ArgumentTypeError as error:
        raise MantletError(str(error), hint="give https://HOST:PORT, and nothing behind it") from None


def _of_evidence(found: Evidence, description: str) -> Source:
    return Source(
        firmware=decode_firmware_log(found.firmware_log),
        system=decode_system_log(found.system_log).complete(BANKS).events,
        quoted=found.pcrs,
        description=description,
    )


def _print(made: FirmwareRecord, *, verbose: bool) -> None:
    """Print a line a register; with `verbose`, the events behind it too."""
    output.result(f"firmware {made.firmware_sha256.hex()}")
    output.result(f"from {made.source}")
    shape = made.shape
    output.result(
        "on a machine whose shape nobody said: --memory, --processors"
        if shape is None
        else f"on a machine of {shape.memory_mib} MiB and {shape.processors} processors"
    )
    for bank in BANKS:
        output.result(bank.value)
        for number, events in made.registers.items():
            title = Register(number).name.lower().replace("_", "-")
            value = replay(bank, (event.digests[bank] for event in events))
            output.result(f"  {number:2} {title:<20} {value.hex()}")
            for event in events if verbose else ():
                output.result(f"       {event.digests[bank].hex()[:16]}…  {event.type}: {event.description}")

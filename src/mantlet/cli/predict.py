# SPDX-License-Identifier: Apache-2.0
"""`mantlet predict`: compute the expected PCRs of an image, from its files alone."""

import argparse
from collections.abc import Iterator, Mapping

from mantlet.cli.predict_options import add_options, banks, inputs
from mantlet.edge import deployment_source, files, output, prediction, runtime_declaration
from mantlet.predict import kernel_boot, predict_boot, reference, system_identity
from mantlet.predict.boot import Basis, Boot, FirmwareRecord, RegisterPrediction
from mantlet.predict.platform import Machine
from mantlet.release import manifest
from mantlet_measure import deployment
from mantlet_measure.errors import MantletError
from mantlet_measure.pcr import ALL_BANKS, BANKS, Bank, Register, measured


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `predict`."""
    parser = verbs.add_parser("predict", help="compute the expected PCRs of an image", description=__doc__)
    add_options(parser)
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict, write and print. Returns 0; refusals are raised, and then nothing is written."""
    if arguments.deployment is not None and arguments.output is not None:
        raise MantletError(
            "--output: expected reference values, which a deployment document names, found --deployment too",
            hint="write the manifest without --deployment",
        )
    if not arguments.json:
        output.step(f"Predicting PCRs of {arguments.image}…")
    machine = prediction.read_platform(arguments.platform)
    boot = prediction.boot(inputs(arguments))
    wanted = banks(arguments) or BANKS
    if arguments.all_phases:
        _print_phases(boot, wanted, as_json=arguments.json)
        return 0
    # A manifest has the banks that Mantlet quotes, whatever else it has.
    computed = tuple(bank for bank in ALL_BANKS if bank in wanted or bank in BANKS)
    registers = dict(predict_boot(boot, banks=computed))
    made = reference.manifest(boot, registers, machine, epoch=arguments.epoch, banks=computed)
    if arguments.output is not None:
        files.write_atomic(arguments.output, manifest.encode(made))
    if arguments.deployment is not None:
        registers[int(Register.SYSTEM_IDENTITY)] = _after_agent(arguments, computed)
        made = reference.manifest(boot, registers, machine, epoch=arguments.epoch, banks=computed)
    if arguments.json:
        output.document(manifest.to_value(made))
    else:
        _print(boot, registers, machine, banks=wanted, verbose=arguments.verbose)
    return 0


def _after_agent(arguments: argparse.Namespace, computed: tuple[Bank, ...]) -> RegisterPrediction:
    """Return register 15 as a serving machine under this deployment document has it."""
    payload = deployment_source.payload(arguments.deployment)
    document = deployment.decode(payload)
    digest = runtime_declaration.digest(arguments.runtime, runtime=document.runtime)
    said = system_identity.events(payload, document, runtime_sha256=digest, capped=True)
    # What describes a word of the agent is the word; it goes into every bank that the TPM has.
    words = (
        measured(
            event.register,
            event.description.encode(),
            type=event.type,
            description=event.description,
            banks=computed,
        )
        for event in said.events
    )
    return RegisterPrediction(events=tuple(words))


def _print(
    boot: Boot,
    registers: Mapping[int, RegisterPrediction],
    machine: Machine,
    *,
    banks: tuple[Bank, ...],
    verbose: bool,
) -> None:
    """Print a line a register and bank; with `verbose`, the events behind it and what others published."""
    uki = boot.uki
    name = f"{uki.image_id} {uki.image_version}".strip() or "an image without a name"
    output.result(f"{name} on {machine.name} ({machine.tested}), systemd-stub {uki.stub}")
    if boot.firmware is not None:
        output.result(f"recorded: {boot.firmware.source}{_shape(boot.firmware)}")
    for bank in banks:
        output.result(bank.value)
        for number, predicted in registers.items():
            title = Register(number).name.lower().replace("_", "-")
            output.result(f"  {number:2} {title:<20} {_value(bank, predicted)}")
            for line in _details(number, bank, predicted, machine) if verbose else ():
                output.result(f"       {line}")
    for item in machine.differences if verbose else ():
        output.result(f"register {item.register} on {machine.title}: {item.text} ({item.source})")


def _shape(record: FirmwareRecord) -> str:
    """Say for which machines the recorded registers hold."""
    shape = record.shape
    if shape is None:
        return "; of which shape of machine, the record does not say"
    return f"; holds for machines of {shape.memory_mib} MiB and {shape.processors} processors"


def _details(number: int, bank: Bank, predicted: RegisterPrediction, machine: Machine) -> Iterator[str]:
    for event in predicted.events:
        yield f"{event.digests[bank].hex()[:16]}…  {event.type}: {event.description}"
    for constant in machine.constants:
        if (constant.register, constant.bank) == (number, bank):
            yield f"{constant.value.hex()}  published, {constant.when}: {constant.source}"


def _value(bank: Bank, predicted: RegisterPrediction) -> str:
    if predicted.basis is Basis.UNPREDICTABLE:
        return f"unpredictable: {predicted.reason}"
    value = reference.expected(bank, predicted.events).value.hex()
    return f"{value}  (recorded)" if predicted.basis is Basis.RECORDED else value


def _print_phases(boot: Boot, wanted: tuple[Bank, ...], *, as_json: bool) -> None:
    """Print register 11 after each prefix of the phases, as systemd-measure names them."""
    values = {
        bank.value: {
            prefix: _value(bank, predicted)
            for prefix, predicted in kernel_boot.phase_values(boot, banks=wanted).items()
        }
        for bank in wanted
    }
    if as_json:
        output.document({"register": int(Register.KERNEL_BOOT), "banks": values})
        return
    for bank, prefixes in values.items():
        output.result(bank)
        for prefix, value in prefixes.items():
            output.result(f"  {value}  {prefix or '(before the first phase)'}")

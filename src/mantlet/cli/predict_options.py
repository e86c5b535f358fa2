# SPDX-License-Identifier: Apache-2.0
"""The options of `mantlet predict`: which image, on which machine, started how."""

import argparse
from pathlib import Path

from mantlet.edge.prediction import STORE_NAME, Inputs, Keys
from mantlet.predict.boot import ExtraKind
from mantlet.predict.initrd_content import ROOT_UNITS
from mantlet.predict.platform import QEMU_OVMF
from mantlet.predict.user_space import ALL_PHASES
from mantlet_measure.pcr import ALL_BANKS, Bank

_LISTS: tuple[str, ...] = ("pk", "kek", "db", "dbx")
_NONE = "none"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add all of them."""
    parser.add_argument(
        "image",
        type=Path,
        metavar="UKI|DISK|BUILD-DIR",
        help="a unified kernel image, a disk or EFI system partition, or a build folder",
    )
    parser.add_argument("--platform", default=QEMU_OVMF, metavar="NAME", help="the kind of machine")
    parser.add_argument(
        "--bank",
        action="append",
        choices=[bank.value for bank in ALL_BANKS],
        help="a bank to show, repeatable (sha256 and sha384)",
    )
    _add_firmware(parser.add_argument_group("the firmware"))
    _add_boot(parser.add_argument_group("the boot"))
    _add_user_space(parser.add_argument_group("user space"))
    parser.add_argument(
        "--epoch",
        type=int,
        default=0,
        metavar="N",
        help="the image's epoch, which only its recipe tells (none)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write measurements.json there")


def _add_firmware(group: argparse._ArgumentGroup) -> None:
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--vars",
        type=Path,
        metavar="FILE",
        help=f"OVMF variable store (default: {STORE_NAME} beside the image)",
    )
    source.add_argument("--uefi-data", type=Path, metavar="FILE", help="UefiData blob of an EC2 image")
    source.add_argument("--pk", type=Path, metavar="FILE", help="EFI signature list of the platform key")
    for name in _LISTS[1:]:
        group.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"EFI signature list {name}")
    group.add_argument(
        "--secure-boot", choices=("on", "off"), help="whether it is enforced (default: as the keys say)"
    )
    group.add_argument(
        "--firmware-record", type=Path, metavar="FILE", help="registers 0 to 3 and 6, by `mantlet record`"
    )


def _add_boot(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--uki", metavar="NAME", help="the entry of the disk's boot loader (its default one)")
    group.add_argument("--profile", type=_profile, default=0, metavar="N", help="the profile of the UKI (0)")
    for name, text in (
        ("addon", "a PE add-on beside the UKI"),
        ("credential", "a credential beside the UKI"),
        ("sysext", "a system extension beside the UKI"),
        ("confext", "a configuration extension beside the UKI"),
    ):
        group.add_argument(
            f"--{name}", type=Path, action="append", default=[], metavar="FILE", help=f"{text}, repeatable"
        )
    group.add_argument("--load-options", metavar="TEXT", help="what the boot option or the loader hands over")
    group.add_argument(
        "--smbios-cmdline", metavar="TEXT", help="SMBIOS type 11, io.systemd.stub.kernel-cmdline-extra="
    )


def _add_user_space(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--phases",
        type=_phases,
        metavar="A:B",
        help=f"the phases gone through, or `{_NONE}` (default: those of the initrd)",
    )
    group.add_argument(
        "--without-os-separator", action="store_true", help="systemd-pcrosseparator.service does not run"
    )
    group.add_argument(
        "--root-units",
        type=_units,
        metavar="A,B",
        help=f"units of the root file system that measure, or `{_NONE}` (a build folder's: {_NONE})",
    )
    group.add_argument(
        "--deployment",
        type=Path,
        metavar="FILE",
        help="a signed deployment document: show register 15 after the agent's words",
    )
    group.add_argument("--runtime", type=Path, metavar="FILE", help="the runtime's declaration in the image")
    group.add_argument(
        "--all-phases", action="store_true", help="show register 11 after each phase, and nothing else"
    )


def inputs(arguments: argparse.Namespace) -> Inputs:
    """Return what the options say."""
    lists = {name: getattr(arguments, name) for name in _LISTS if getattr(arguments, name) is not None}
    companions = (
        (ExtraKind.CREDENTIAL, arguments.credential),
        (ExtraKind.SYSEXT, arguments.sysext),
        (ExtraKind.CONFEXT, arguments.confext),
    )
    units: tuple[str, ...] | None = arguments.root_units
    return Inputs(
        image=arguments.image,
        keys=Keys(
            store=arguments.vars,
            uefi_data=arguments.uefi_data,
            lists=lists,
            enabled=None if arguments.secure_boot is None else arguments.secure_boot == "on",
        ),
        entry=arguments.uki,
        companions=tuple((kind, path) for kind, paths in companions for path in paths),
        addons=tuple(arguments.addon),
        load_options=arguments.load_options,
        smbios_cmdline=arguments.smbios_cmdline,
        profile=arguments.profile,
        phases=arguments.phases,
        os_separator=False if arguments.without_os_separator else None,
        # The root of a build folder is our own, and its tests show that it measures nothing.
        root_units=() if units is None and arguments.image.is_dir() else units,
        firmware_record=arguments.firmware_record,
    )


def banks(arguments: argparse.Namespace) -> tuple[Bank, ...]:
    """Return the banks to show, in the order in which banks stand everywhere; none when none was named."""
    return tuple(bank for bank in ALL_BANKS if bank.value in (arguments.bank or ()))


def _profile(text: str) -> int:
    if not text.isdecimal() or int(text) > 255:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 255, found {text!r}")
    return int(text)


def _phases(text: str) -> tuple[str, ...]:
    words = () if text == _NONE else tuple(text.split(":"))
    if unknown := [word for word in words if word not in ALL_PHASES]:
        raise argparse.ArgumentTypeError(
            f"expected {':'.join(ALL_PHASES)}, as far as it went, found {unknown[0]!r}"
        )
    return words


def _units(text: str) -> tuple[str, ...]:
    names = () if text == _NONE else tuple(text.split(","))
    if unknown := [name for name in names if name not in ROOT_UNITS]:
        raise argparse.ArgumentTypeError(
            f"expected {_NONE} or some of {','.join(ROOT_UNITS)}, found {unknown[0]!r}"
        )
    return names

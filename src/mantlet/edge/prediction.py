# SPDX-License-Identifier: Apache-2.0
"""Reads what a prediction depends on: an image in one of its forms, keys, companion files, a firmware record.

Owns the files and which of them is taken; what they mean is decoded by `mantlet.predict`. Images are mapped,
not copied.
"""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mantlet.edge import files, project, strict_yaml
from mantlet.predict import disk, initrd_content, pe, platform, recorded, secure_boot, uefi_data, variables
from mantlet.predict import uki as unified
from mantlet.predict.boot import Addon, Boot, BootSecret, Extra, ExtraKind, SecureBootState, UserSpace
from mantlet.predict.disk import Medium
from mantlet.predict.platform import Machine
from mantlet.predict.uki import Uki
from mantlet.predict.variables import SecureBootKeys
from mantlet_measure.errors import DecodeError, MantletError, UnavailableError

UKI_NAME, DISK_NAME, STORE_NAME = "uki.efi", "disk.raw", "OVMF_VARS.fd"
_DISK_LIMIT = 1 << 44
_LIST_LIMIT = 1 << 20
# Where the tools tree keeps the dictionary of EC2's format, which is no part of this project.
_DICTIONARY = Path("current/usr/lib/python3/dist-packages/virt/firmware/aws/dict.v0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Where the Secure Boot keys are: one variable store, or one UefiData blob, or signature lists."""

    store: Path | None = None
    uefi_data: Path | None = None
    lists: dict[str, Path] = field(default_factory=dict)
    enabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What to predict. The image is a UKI, a disk, an EFI system partition or a build folder.

    os_separator and phases: what the initrd is overruled by. root_units: the units of the root file system
    that measure; None when that is not known.
    """

    image: Path
    keys: Keys = field(default_factory=Keys)
    entry: str | None = None
    companions: tuple[tuple[ExtraKind, Path], ...] = ()
    addons: tuple[Path, ...] = ()
    load_options: str | None = None
    smbios_cmdline: str | None = None
    profile: int = 0
    phases: tuple[str, ...] | None = None
    os_separator: bool | None = None
    root_units: tuple[str, ...] | None = None
    firmware_record: Path | None = None


def mapped(path: Path, *, limit: int, what: str) -> memoryview:
    """Map a file of 1 to `limit` bytes into memory, read-only. DecodeError when it is empty or larger."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if not 0 < size <= limit:
            raise DecodeError(f"{what} {path}", expected=f"1 to {limit} bytes", found=str(size))
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def boot(inputs: Inputs) -> Boot:
    """Read everything and return the boot that it makes. MantletError on content, OSError on files."""
    image, medium = _image(inputs)
    state = _secure_boot(inputs)
    if medium is not None and medium.enrols and medium.loader is not None and not state.keys.pk:
        raise MantletError(
            "systemd-boot: expected a machine that has Secure Boot keys, found one in setup mode, "
            "where it enrols those in \\loader\\keys",
            hint="pass the keys as they are after enrolment, with --vars or --pk, --kek, --db",
        )
    own = tuple(_addon(path) for path in inputs.addons)
    extras = tuple(
        Extra(kind=kind, name=path.name, content=mapped(path, limit=pe.LIMIT, what=kind.value))
        for kind, path in inputs.companions
    )
    return Boot(
        uki=image,
        secure_boot=state,
        user_space=_user_space(image, inputs),
        gpt_event=None if medium is None else medium.gpt_event,
        loader=None if medium is None else medium.loader,
        addons=(*(() if medium is None else medium.addons), *own),
        extras=(*(() if medium is None else medium.extras), *extras),
        load_options=inputs.load_options,
        smbios_cmdline=inputs.smbios_cmdline,
        profile=inputs.profile,
        boot_secret=BootSecret.UNKNOWN if medium is None else medium.boot_secret,
        firmware=None
        if inputs.firmware_record is None
        else recorded.decode(files.read(inputs.firmware_record, limit=recorded.LIMIT, what=recorded.WHAT)),
    )


def read_platform(name: str) -> Machine:
    """Read a platform: a name in policies/platforms, or the path of a YAML file."""
    folder = project.root() / "policies" / "platforms"
    path = Path(name) if name.endswith(".yaml") else folder / f"{name}.yaml"
    if not name.endswith(".yaml") and (re.fullmatch(r"[a-z0-9-]+", name) is None or not path.is_file()):
        known = ", ".join(sorted(item.stem for item in folder.glob("*.yaml")))
        raise MantletError(
            f"platform: expected one of {known}, found {name}", hint="name one of these, or a YAML file"
        )
    return platform.decode(strict_yaml.read(path, what="platform"))


def _image(inputs: Inputs) -> tuple[Uki, Medium | None]:
    path = inputs.image
    if path.is_dir():
        path = path / DISK_NAME if (path / DISK_NAME).is_file() else path / UKI_NAME
    data = mapped(path, limit=_DISK_LIMIT, what="image")
    if bytes(data[:2]) == b"MZ":
        if inputs.entry is not None:
            raise MantletError(
                f"{path}: expected a disk with entries to choose from, found one image",
                hint="leave --uki out",
            )
        return unified.decode(data), None
    medium = disk.decode(data, wanted=inputs.entry)
    return unified.decode(medium.uki), medium


def _secure_boot(inputs: Inputs) -> SecureBootState:
    keys = inputs.keys
    if keys.uefi_data is not None:
        blob = files.read(keys.uefi_data, limit=uefi_data.LIMIT, what=uefi_data.WHAT)
        found = uefi_data.decode(blob, dictionary=_dictionary())
        state = secure_boot.state(found, what=str(keys.uefi_data))
    elif keys.lists:
        lists = {
            name: files.read(path, limit=_LIST_LIMIT, what=f"signature list {name}")
            for name, path in keys.lists.items()
        }
        state = SecureBootState(enabled="pk" in lists, keys=_keys(lists))
    elif (store := keys.store or _store_beside(inputs.image)) is not None:
        data = files.read(store, limit=variables.LIMIT, what="variable store")
        state = secure_boot.state(variables.decode_store(data), what=str(store))
    elif keys.enabled is False:
        state = SecureBootState(enabled=False, keys=_keys({}))
    else:
        raise MantletError(
            "register 7: expected the firmware's keys, found neither --vars, --uefi-data nor --pk",
            hint="pass one of them, or --secure-boot off for a machine without keys",
        )
    if keys.enabled and not state.keys.pk:
        raise MantletError(
            "Secure Boot: expected a PK, without which it cannot be on, found none",
            hint="pass the keys with --vars or --pk, or leave --secure-boot on out",
        )
    return SecureBootState(enabled=state.enabled if keys.enabled is None else keys.enabled, keys=state.keys)


def _keys(lists: dict[str, bytes]) -> SecureBootKeys:
    return SecureBootKeys(
        pk=lists.get("pk", b""), kek=lists.get("kek", b""), db=lists.get("db", b""), dbx=lists.get("dbx", b"")
    )


def _store_beside(image: Path) -> Path | None:
    store = (image if image.is_dir() else image.parent) / STORE_NAME
    return store if store.is_file() else None


def _dictionary() -> bytes:
    path = project.tools_folder() / _DICTIONARY
    if not path.is_file():
        raise UnavailableError(
            f"UefiData: expected its compression dictionary at {path}, found none",
            hint="make the tools tree, which has it: mantlet tools make",
        )
    return files.read(path, limit=_LIST_LIMIT, what="dictionary")


def _addon(path: Path) -> Addon:
    image = pe.decode(mapped(path, limit=pe.LIMIT, what="add-on"), what=f"add-on {path.name}")
    return Addon(name=path.name, image=image, is_global=False)


def _user_space(image: Uki, inputs: Inputs) -> UserSpace:
    """Look into the initrd; the caller may know better."""
    section = image.sections(inputs.profile).get(".initrd")
    parts: Iterator[memoryview] = iter(()) if section is None else image.image.loaded(section)
    content = next(parts, memoryview(b""))
    found = initrd_content.user_space(initrd_content.decode(content), root_units=inputs.root_units)
    return UserSpace(
        os_separator=found.os_separator if inputs.os_separator is None else inputs.os_separator,
        phases=found.phases if inputs.phases is None else inputs.phases,
        nvpcrs=found.nvpcrs,
        nvpcr_separator=found.nvpcr_separator,
        unpredictable=found.unpredictable,
    )

# SPDX-License-Identifier: Apache-2.0
"""What a disk image, or the image of an EFI system partition, gives to a boot.

Owns the way from the partition table to what the firmware starts (\\EFI\\BOOT\\BOOTX64.EFI: a UKI, or
systemd-boot and the UKI that it chooses), and the companion files that the stub will find (systemd-stub(7)).
It reads the EFI system partition only, and copies nothing that is contiguous there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mantlet.predict import fat, gpt, loader_choice, pe
from mantlet.predict.boot import Addon, BootSecret, Extra, ExtraKind, Loader
from mantlet.predict.fat import Volume
from mantlet.predict.fat_directory import Entry
from mantlet.predict.uki import LAST_STUB, UnpredictableError
from mantlet_measure.errors import DecodeError, shown

WHAT = "disk"
DEFAULT_PATH = "\\EFI\\BOOT\\BOOTX64.EFI"
XBOOTLDR = "bc13c2ff-59e6-4262-a352-b275fd6f7172"
_LOADER_CONF = "\\loader\\loader.conf"
_MAGIC = re.compile(rb"#### LoaderInfo: systemd-(boot|stub) ([0-9]{1,4})")
_MAGIC_LIMIT = 4096
_CONF_LIMIT = 64 << 10
_FILES_LIMIT = 1024
_NAME_LIMIT = 255
# systemd, src/boot/boot-secret.h: BOOT_SECRET_SIZE
_SECRET = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """What one disk gives to a boot; `path` is where its UKI lies in the EFI system partition.

    gpt_event: the data of EV_EFI_GPT_EVENT, None for a partition without its disk. enrols: whether
    systemd-boot finds Secure Boot keys that it enrols on a machine in setup mode.
    """

    gpt_event: bytes | None
    loader: Loader | None
    path: str
    uki: memoryview
    addons: tuple[Addon, ...]
    extras: tuple[Extra, ...]
    boot_secret: BootSecret
    enrols: bool


def decode(data: memoryview, *, wanted: str | None = None) -> Medium:
    """Return what a boot from this disk or partition starts with.

    wanted: the name of an entry in \\EFI\\Linux, for a disk whose loader offers several. DecodeError, with
    the offset where there is one, or UnpredictableError when the disk alone does not decide.
    """
    event, volume = _volume(data)
    first = volume.find(DEFAULT_PATH)
    if first is None:
        raise DecodeError(WHAT, expected=f"a program {DEFAULT_PATH}", found="none")
    program = volume.read(first, limit=pe.LIMIT)
    # A UKI is decoded again, strictly; systemd-boot 252 comes in a size that signers would pad.
    image = pe.decode(program, what=DEFAULT_PATH, taken=pe.Layout.FIRMWARE)
    kind, version = _program(image)
    if kind == "stub":
        if wanted is not None and wanted.casefold() not in DEFAULT_PATH.casefold():
            raise DecodeError(
                WHAT,
                expected="systemd-boot, which offers entries",
                found=f"a UKI at {DEFAULT_PATH}",
                hint="leave --uki out: this disk starts one image",
            )
        return _medium(volume, DEFAULT_PATH, program, event=event, loader=None)
    _check_loader(data, volume, version)
    conf = volume.find(_LOADER_CONF)
    configuration = None if conf is None else bytes(volume.read(conf, limit=_CONF_LIMIT))
    path, found = loader_choice.choose(volume, configuration=configuration, version=version, wanted=wanted)
    loader = Loader(image=image, version=version, configuration=configuration)
    return _medium(volume, path, volume.read(found, limit=pe.LIMIT), event=event, loader=loader)


def _volume(data: memoryview) -> tuple[bytes | None, Volume]:
    """Return the measured partition table, and the first EFI system partition that starts something."""
    # A FAT boot sector starts with a jump; the first sector of a partitioned disk is a protective MBR.
    if gpt.sector_size(data) is None and bytes(data[:1]) in (b"\xeb", b"\xe9"):
        return None, fat.decode(data)
    table = gpt.decode(data)
    volumes = [
        fat.decode(data[partition.offset : partition.offset + partition.size])
        for partition in table.partitions
        if partition.type == gpt.ESP
    ]
    if not volumes:
        raise DecodeError(WHAT, expected="an EFI system partition", found="none in the partition table")
    bootable = (volume for volume in volumes if volume.find(DEFAULT_PATH) is not None)
    return table.event, next(bootable, volumes[0])


def _program(image: pe.Image) -> tuple[str, int]:
    """Return `boot` or `stub`, and its version."""
    section = image.section(".sdmagic")
    content = b"" if section is None or section.virtual_size > _MAGIC_LIMIT else image.content(section)
    magic = _MAGIC.match(content)
    if magic is None:
        found = f"{shown(content[:48])}, of another program" if content else "another program"
        raise UnpredictableError(
            f"{image.what}: expected a UKI or systemd-boot, found {found}",
            hint="predict the UKI itself, and read register 4 from an event log",
        )
    return magic[1].decode("ascii"), int(magic[2])


def _check_loader(data: memoryview, volume: Volume, version: int) -> None:
    """Refuse what makes systemd-boot start, or measure, more than is predicted."""
    if version > LAST_STUB:
        raise UnpredictableError(
            f"systemd-boot: expected a version up to {LAST_STUB}, found {version}, which nobody has checked",
            hint="compare src/boot/boot.c of that version with mantlet.predict.loader_choice",
        )
    drivers = [file.name for file in volume.entries("\\EFI\\systemd\\drivers") if not file.is_directory]
    if any(name.lower().endswith("x64.efi") for name in drivers):
        raise UnpredictableError(
            f"systemd-boot: expected no drivers, found {', '.join(drivers)}, which the firmware measures",
            hint="remove \\EFI\\systemd\\drivers",
        )
    if gpt.sector_size(data) is not None and any(
        str(partition.type) == XBOOTLDR for partition in gpt.decode(data).partitions
    ):
        raise UnpredictableError(
            "disk: expected entries on the EFI system partition alone, found an XBOOTLDR partition",
            hint="put the UKIs on the EFI system partition, or predict one of them alone",
        )


def _medium(
    volume: Volume, path: str, uki: memoryview, *, event: bytes | None, loader: Loader | None
) -> Medium:
    own = loader_choice.without_tries(path) + ".extra.d"
    return Medium(
        gpt_event=event,
        loader=loader,
        path=path,
        uki=uki,
        addons=(
            *_addons(volume, "\\loader\\addons", is_global=True),
            *_addons(volume, own, is_global=False),
        ),
        extras=tuple(_extras(volume, own)),
        boot_secret=_boot_secret(volume),
        enrols=any(file.is_directory for file in volume.entries("\\loader\\keys")),
    )


def _companions(volume: Volume, folder: str, suffix: str) -> Iterator[Entry]:
    """Yield the files that the stub takes from a folder, sorted as it sorts them (cpio.c, `pack_cpio`)."""
    files = volume.entries(folder)
    if len(files) > _FILES_LIMIT:
        raise DecodeError(WHAT, expected=f"at most {_FILES_LIMIT} files in {folder}", found=str(len(files)))
    for file in sorted(files, key=lambda item: item.name):
        name = file.name
        if file.is_directory or name.startswith(".") or not name.isascii() or len(name) > _NAME_LIMIT:
            continue
        if name.lower().endswith(suffix):
            yield file


def _addons(volume: Volume, folder: str, *, is_global: bool) -> Iterator[Addon]:
    for file in _companions(volume, folder, ".addon.efi"):
        image = pe.decode(volume.read(file, limit=pe.LIMIT), what=f"add-on {file.name}")
        yield Addon(name=file.name, image=image, is_global=is_global)


def _extras(volume: Volume, own: str) -> Iterator[Extra]:
    folders = (
        (own, ".cred", ExtraKind.CREDENTIAL),
        ("\\loader\\credentials", ".cred", ExtraKind.GLOBAL_CREDENTIAL),
        (own, ".raw", ExtraKind.SYSEXT),
        ("\\loader\\extensions", ".raw", ExtraKind.GLOBAL_SYSEXT),
        (own, ".confext.raw", ExtraKind.CONFEXT),
        ("\\loader\\extensions", ".confext.raw", ExtraKind.GLOBAL_CONFEXT),
    )
    for folder, suffix, kind in folders:
        for file in _companions(volume, folder, suffix):
            # stub.c: everything that ends in .raw is a system extension, unless it is a configuration one.
            if suffix == ".raw" and file.name.lower().endswith(".confext.raw"):
                continue
            yield Extra(kind=kind, name=file.name, content=volume.read(file, limit=pe.LIMIT))


def _boot_secret(volume: Volume) -> BootSecret:
    """Say whether the stub will find what it needs for a boot secret (boot-secret.c, random-seed.c)."""
    mixin = volume.find("\\loader\\boot-secret-mixin")
    if mixin is not None and mixin.size < _SECRET and (mixin.size or mixin.is_read_only):
        return BootSecret.ABSENT
    # A seed that cannot be renewed is not used, so there is no seed table to derive a secret from.
    seed = volume.find("\\loader\\random-seed")
    if seed is not None and seed.is_read_only:
        return BootSecret.ABSENT
    return BootSecret.RANDOM

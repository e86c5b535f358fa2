# SPDX-License-Identifier: Apache-2.0
"""Register 5, boot-loader-config: partition table, loader.conf, and the end of the boot services.

Follows TCG PFP 1.06, *PCR[5]*, EDK2's Tcg2Dxe and DxeTpm2MeasureBootLib, and systemd's src/boot/boot.c
(`config_load_defaults`). The table is that of the disk as it is given: one that a first boot or a cloud grows
is measured differently from then on.
"""

from collections.abc import Iterator

from mantlet.predict.boot import Basis, Boot, RegisterPrediction
from mantlet_measure.pcr import BANKS, Bank, Event, Register, measured

# systemd, src/boot/boot.c: measured since version 255.
LOADER_CONF_SINCE = 255
SEPARATOR = bytes(4)
# EDK2, MdePkg/Include/IndustryStandard/UefiTcgPlatform.h, without their NUL.
_EXIT: tuple[str, ...] = ("Exit Boot Services Invocation", "Exit Boot Services Returned with Success")
_WITHOUT_DISK = "the partition table is measured, and no disk was given"


def events(boot: Boot, banks: tuple[Bank, ...] = BANKS) -> RegisterPrediction:
    """Return register 5. It is unpredictable without the disk, whose partition table it holds."""
    found = tuple(_events(boot, banks))
    if boot.gpt_event is None:
        return RegisterPrediction(events=found, basis=Basis.UNPREDICTABLE, reason=_WITHOUT_DISK)
    return RegisterPrediction(events=found)


def _events(boot: Boot, banks: tuple[Bank, ...]) -> Iterator[Event]:
    def event(data: bytes, kind: str, description: str) -> Event:
        return measured(Register.BOOT_LOADER_CONFIG, data, type=kind, description=description, banks=banks)

    yield event(SEPARATOR, "EV_SEPARATOR", "end of pre-OS environment")
    if boot.gpt_event is not None:
        # Once, at the first image that comes from a disk with such a table.
        yield event(boot.gpt_event, "EV_EFI_GPT_EVENT", "partition table of the boot disk")
    loader = boot.loader
    if loader is not None and loader.configuration is not None and loader.version >= LOADER_CONF_SINCE:
        yield event(loader.configuration, "EV_EVENT_TAG", "loader.conf: configuration of systemd-boot")
    for action in _EXIT:
        yield event(action.encode("ascii"), "EV_EFI_ACTION", action)

# SPDX-License-Identifier: Apache-2.0
"""What one boot is made of, and what is predicted of one register: the types between the rooms' modules.

Owns no algorithm and reads no file. Terms follow UAPI.5 (unified kernel images), UAPI.7 (PCR registry) and
systemd-stub(7); what the parts measure is in the module of each register.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mantlet.predict.pe import Image
from mantlet.predict.uki import Uki
from mantlet.predict.variables import SecureBootKeys
from mantlet_measure.pcr import Event


class Basis(StrEnum):
    """Where the value of a register comes from."""

    COMPUTED = "computed"
    RECORDED = "recorded"
    UNPREDICTABLE = "unpredictable"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterPrediction:
    """The events that extend one register, in order.

    `reason` says where a recorded value comes from, or why nothing settles an unpredictable one, whose events
    are then those that are known all the same. It is empty when the register is computed.
    """

    events: tuple[Event, ...]
    basis: Basis = Basis.COMPUTED
    reason: str = ""


class ExtraKind(StrEnum):
    """What a file beside the UKI is to the stub (systemd-stub(7), *Companion Files*).

    Files of one UKI lie in `<uki>.extra.d`, global ones in `\\loader\\credentials` or `\\loader\\extensions`.
    """

    CREDENTIAL = "credential"
    GLOBAL_CREDENTIAL = "global credential"
    SYSEXT = "system extension"
    GLOBAL_SYSEXT = "global system extension"
    CONFEXT = "configuration extension"
    GLOBAL_CONFEXT = "global configuration extension"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A file that the stub packs into the initrd: its name as on the file system, without its folder."""

    kind: ExtraKind
    name: str
    content: bytes | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Addon:
    """A PE add-on: from `\\loader\\addons` if `is_global`, else from `<uki>.extra.d`; name without folder."""

    name: str
    image: Image
    is_global: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureBootState:
    """Whether the firmware enforces signatures, and with which keys; all empty is setup mode."""

    enabled: bool
    keys: SecureBootKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """systemd-boot: its image, its version, the content of `\\loader\\loader.conf` (None: there is none)."""

    image: Image
    version: int
    configuration: bytes | None


class BootSecret(StrEnum):
    """Whether the stub (>= 261) adds its random /.extra/boot-secret to the initrd."""

    ABSENT = "absent"
    """It cannot: `\\loader\\boot-secret-mixin` is too short to be used, or there is no random seed."""
    RANDOM = "random"
    """It does, and the secret differs from machine to machine."""
    UNKNOWN = "unknown"
    """The EFI system partition decides, and it was not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NvPcr:
    """A register in non-volatile memory that the initrd allocates (systemd >= 259, `*.nvpcr`)."""

    name: str
    index: int
    algorithm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSpace:
    """What systemd's user space will measure, as far as the initrd says.

    os_separator: whether systemd-pcrosseparator.service runs. phases: the words of the systemd-pcrphase units
    that run before the registers are read. nvpcr_separator: whether systemd-pcrnvdone.service runs.
    unpredictable: registers into which something is measured that the
    image does not settle, each with the reason in words.
    """

    os_separator: bool
    phases: tuple[str, ...]
    nvpcrs: tuple[NvPcr, ...] = ()
    nvpcr_separator: bool = False
    unpredictable: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape of a machine that firmware measures: MiB of memory, and processors."""

    memory_mib: int
    processors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareRecord:
    """Events that a boot under one firmware build showed, by register; `source` names the record.

    shape: of the machine that was recorded, None where nobody said. It is a claim: no log proves it.
    """

    firmware_sha256: bytes
    source: str
    registers: Mapping[int, tuple[Event, ...]]
    shape: Shape | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """Everything that a prediction depends on.

    gpt_event: the data of EV_EFI_GPT_EVENT; None when the disk is not known. load_options: what the boot
    option or the boot loader hands to the stub, without a leading profile (`@1`), which is `profile`.
    smbios_cmdline: the SMBIOS type 11 string `io.systemd.stub.kernel-cmdline-extra=`, without that name.
    confidential: the machine is a confidential VM, where the stub ignores what the host hands in.
    """

    uki: Uki
    secure_boot: SecureBootState
    user_space: UserSpace
    gpt_event: bytes | None = None
    loader: Loader | None = None
    addons: tuple[Addon, ...] = ()
    extras: tuple[Extra, ...] = ()
    load_options: str | None = None
    smbios_cmdline: str | None = None
    profile: int = 0
    boot_secret: BootSecret = BootSecret.UNKNOWN
    confidential: bool = False
    firmware: FirmwareRecord | None = None

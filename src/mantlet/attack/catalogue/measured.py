# SPDX-License-Identifier: Apache-2.0
"""Inputs that are taken, and measured: the enforced registers move, and the key stays sealed.

The control is a policy key that signed what the attacked machine measured: then the same boot gets the key.
Without Secure Boot the kernel takes no policy of execution, and PID 1 stands still before its first unit
(docs/adr/0011); the control is the weakened build then, which has no such policy.
"""

from mantlet.attack import signs
from mantlet.attack.changes import (
    LOADER_GUID,
    Change,
    Damage,
    EspAddon,
    EspFile,
    ForeignUki,
    Qemu,
    Shell,
    Smbios,
    Store,
    Variable,
)
from mantlet.attack.model import Attack, Control

_UKI = "EFI/BOOT/BOOTX64.EFI"
_LINE = (
    "systemd.import_credentials=yes systemd.debug_shell=ttyS1 systemd.unit=rescue.target mitigations=off "
    "systemd.set_credential=agetty.autologin:root systemd.confirm_spawn=no ip=dhcp"
)
# The firmware's own words before it starts something: what comes after them is the UKI's.
_STARTS = "echo BdsDxe: starting uki.efi"
_EVIL_UNIT = b"[Unit]\nDescription=foreign\n[Service]\nExecStart=/usr/bin/python3\n"


def _measured(name: str, title: str, *changes: Change, rule: str | None = None) -> Attack:
    return Attack(
        id=name,
        name=rule or name,
        title=title,
        changes=changes,
        sign=signs.released(),
        control=Control.APPROVED_ANYTHING,
        releases=False,
    )


def _unverified(name: str, title: str, *changes: Change) -> Attack:
    return Attack(
        id=name,
        name=name,
        title=title,
        changes=(Store.SECURE_BOOT_OFF, *changes),
        sign=signs.released(),
        control=Control.WEAKENED_APPROVED,
        releases=False,
        stands=True,
    )


def _extra(text: str) -> Smbios:
    return Smbios(f"io.systemd.stub.kernel-cmdline-extra={text}")


ATTACKS: tuple[Attack, ...] = (
    _measured(
        "smbios-command-line",
        "A word for the command line by SMBIOS, which Secure Boot lets pass",
        _extra("systemd.debug_shell=ttyS1 systemd.log_target=console"),
    ),
    Attack(
        id="smbios-command-line-many",
        name="smbios-command-line",
        title="A shell and another target on the command line by SMBIOS",
        changes=(_extra(_LINE),),
        sign=signs.any_of(signs.stays_on(), signs.released()),
        control=Control.WEAKENED_BUILD,
        releases=False,
    ),
    _measured(
        "loader-pcr-variable",
        "The stub's measurement of SMBIOS switched off, and a word by SMBIOS",
        Variable("LoaderPcrSMBIOS", LOADER_GUID, b"1\x00\x00\x00"),
        _extra("quiet"),
    ),
    _measured(
        "esp-credential", "A credential on the ESP", EspFile(f"{_UKI}.extra.d/x.cred", b"a credential\n")
    ),
    _measured(
        "esp-global-credential",
        "A credential for all on the ESP",
        EspFile("loader/credentials/x.cred", b"x\n"),
        rule="esp-credential",
    ),
    _measured(
        "esp-sysext", "A system extension on the ESP", EspFile(f"{_UKI}.extra.d/x.sysext.raw", bytes(4096))
    ),
    _measured(
        "esp-confext",
        "A configuration extension on the ESP",
        EspFile(f"{_UKI}.extra.d/x.confext.raw", bytes(4096)),
    ),
    _measured(
        "esp-addon-signed",
        "An addon on the ESP that the release's key signed",
        EspAddon("systemd.debug_shell=ttyS1", signed=True),
        rule="esp-addon",
    ),
    Attack(
        id="esp-addon",
        name="esp-addon",
        title="An addon on the ESP that nobody signed",
        changes=(EspAddon("systemd.debug_shell=ttyS1", signed=False),),
        opening=(Store.SECURE_BOOT_OFF,),
        sign=signs.moved(4, 12),
        control=Control.OPENED,
    ),
    _unverified("secure-boot-off", "A firmware without keys"),
    _unverified(
        "load-options",
        "Load options instead of the command line, under a firmware without keys",
        Qemu(("-kernel", "{uki}", "-append", "{command_line} systemd.debug_shell=ttyS1")),
    ),
    _unverified(
        "foreign-boot-chain",
        "Our kernel and initrd with another command line, under a firmware without keys",
        ForeignUki("{command_line} systemd.debug_shell=ttyS1"),
    ),
    _unverified(
        "uefi-shell",
        "EDK2's shell starts the UKI",
        Shell(script=("fs0:", _STARTS, "uki.efi")),
    ),
    _unverified(
        "foreign-initrd",
        "EDK2's shell registers an initrd before it starts the UKI",
        Shell(
            script=("fs0:", "initrd evil.cpio", _STARTS, "uki.efi"),
            files=(
                EspFile("evil.cpio:etc/systemd/system/evil.service", _EVIL_UNIT),
                EspFile("evil.cpio:.extra/system_credentials/x.cred", b"x"),
            ),
        ),
    ),
    Attack(
        id="kernel-flipped",
        name="foreign-boot-chain",
        title="A flipped bit in the kernel",
        changes=(Damage.KERNEL,),
        opening=(Store.SECURE_BOOT_OFF,),
        sign=signs.boots(),
        control=Control.OPENED,
        releases=False,
    ),
    Attack(
        id="console-given",
        name="foreign-boot-chain",
        title="A console written into the UKI's command line",
        changes=(Damage.CONSOLE,),
        opening=(Store.SECURE_BOOT_OFF,),
        sign=signs.boots(),
        control=Control.OPENED,
        releases=False,
    ),
    Attack(
        id="fresh-variables",
        name="fresh-variables",
        title="All variables of the firmware lost, but the keys; the disk can be written to",
        # The stub makes a secret only where the firmware has random numbers, and it can replace its seed.
        changes=(Store.FRESH, Damage.WRITABLE, Qemu(("-device", "virtio-rng-pci"))),
        # It derives one from a mixin of 32 bytes, and from none that is shorter.
        opening=(EspFile("loader/boot-secret-mixin", bytes(32)), EspFile("loader/random-seed", bytes(32))),
        sign=signs.moved(9),
        control=Control.OPENED,
    ),
)
"""Each has its own boot: what one adds, another's registers would hide."""

# SPDX-License-Identifier: Apache-2.0
"""How the kernel was configured, as far as the command line does not settle it later.

Follows Linux, Documentation/kbuild/kconfig-language.rst. The configuration is the one that the kernel
carries, or lies beside its modules, or in /boot under its release. What is configured as a module is no
finding here: without the module it is not there, and modules have checks of their own.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from mantlet.audit.checks import kernel_settings
from mantlet.audit.finding import Finding, Policy, Severity
from mantlet.audit.image import Image, Kernel

RULE = "kernel-configuration"
_PLACES = (
    "/usr/lib/modules/{}/config",
    "/lib/modules/{}/config",
    "/boot/config-{}",
    "/usr/lib/kernel/config-{}",
)
_SET = re.compile(r"^CONFIG_(\w+)=(.*)$", re.MULTILINE)
_HIGH, _MEDIUM, _LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW


class Option(NamedTuple):
    """How much is open, what then is, and the word of the command line that closes it all the same."""

    severity: Severity
    opens: str
    word: str = ""


_LOCKDOWN, _CONSOLE, _KEXEC = (
    "lockdown=confidentiality",
    "console=null",
    "sysctl.kernel.kexec_load_disabled=1",
)
# What should be off.
OFF: Mapping[str, Option] = MappingProxyType(
    {
        "DMI_SYSFS": Option(
            _MEDIUM, "SMBIOS strings are read as credentials", "systemd.import_credentials=no"
        ),
        "FW_CFG_SYSFS": Option(_HIGH, "fw_cfg is read as credentials", "systemd.import_credentials=no"),
        "HIBERNATION": Option(_HIGH, "an image on a disk replaces the running kernel", "nohibernate"),
        "KEXEC": Option(_HIGH, "root starts another kernel", _KEXEC),
        "KEXEC_FILE": Option(_HIGH, "root starts another kernel", _KEXEC),
        "CRASH_DUMP": Option(_MEDIUM, "a kernel for crashes reads all memory", _KEXEC),
        "MAGIC_SYSRQ": Option(
            _HIGH, "keys and a break on a serial line act on the kernel", "sysctl.kernel.sysrq=0"
        ),
        "VT": Option(_LOW, "screens and keyboards are terminals", _CONSOLE),
        "VIRTIO_CONSOLE": Option(_LOW, "the hypervisor adds consoles and ports", _CONSOLE),
        "HVC_XEN": Option(_LOW, "the hypervisor adds a console", _CONSOLE),
        "SERIAL_8250_CONSOLE": Option(_LOW, "a serial line is a console", _CONSOLE),
        "SERIO_I8042": Option(_LOW, "a keyboard reaches the kernel", "i8042.nokbd"),
        "USB_HID": Option(_MEDIUM, "any USB device is a keyboard"),
        "DEVMEM": Option(_HIGH, "root reads and writes the memory", _LOCKDOWN),
        "PROC_KCORE": Option(_HIGH, "root reads the kernel's memory", _LOCKDOWN),
        "KPROBES": Option(_MEDIUM, "root puts probes into the kernel", _LOCKDOWN),
        "DEBUG_FS": Option(_MEDIUM, "debugfs shows the kernel's inside", "debugfs=off"),
        "IO_URING": Option(_LOW, "io_uring is open to programs", "sysctl.kernel.io_uring_disabled=2"),
        "ACPI_TABLE_UPGRADE": Option(
            _MEDIUM, "tables in the initrd replace those of ACPI", "acpi_no_initrd_override"
        ),
        "ACPI_CONFIGFS": Option(_HIGH, "root loads ACPI tables, which the kernel runs", _LOCKDOWN),
        "ACPI_CUSTOM_METHOD": Option(_HIGH, "root replaces methods of ACPI", _LOCKDOWN),
        "X86_MSR": Option(_MEDIUM, "root writes the processor's registers", _LOCKDOWN),
        "KGDB": Option(_HIGH, "a debugger on a console reads and writes the kernel", _LOCKDOWN),
        "NETCONSOLE": Option(_HIGH, "the kernel's log is sent out"),
        "EFI_VARS_PSTORE": Option(_HIGH, "a panic writes the kernel's log into EFI variables"),
        "PSTORE_RAM": Option(_HIGH, "the kernel's log stays in memory over a restart"),
        "PSTORE_CONSOLE": Option(_HIGH, "what is printed stays in memory over a restart"),
        "VSOCKETS": Option(_MEDIUM, "programs reach the hypervisor past the network"),
        "NET_9P": Option(_MEDIUM, "folders of the hypervisor can be mounted"),
        "VIRTIO_FS": Option(_LOW, "folders of the hypervisor can be mounted, by root alone"),
        "FUSE_FS": Option(_LOW, "a program can be a file system"),
        "NFS_FS": Option(_MEDIUM, "files come from the network"),
        "CIFS": Option(_MEDIUM, "files come from the network"),
        "BLK_DEV_NBD": Option(_MEDIUM, "disks come from the network"),
        "NVME_TCP": Option(_MEDIUM, "disks come from the network"),
        "BINFMT_MISC": Option(_MEDIUM, "files are run by interpreters that root names"),
        "FIREWIRE_OHCI": Option(_HIGH, "devices read and write memory"),
        "USB4": Option(_MEDIUM, "devices read and write memory", "iommu.strict=1"),
        "LEGACY_TIOCSTI": Option(_MEDIUM, "a program types into another one's terminal"),
        "LDISC_AUTOLOAD": Option(_LOW, "opening a terminal loads modules", "sysctl.dev.tty.ldisc_autoload=0"),
        "RANDOM_TRUST_BOOTLOADER": Option(
            _LOW, "the boot loader's seed counts as random", "random.trust_bootloader=off"
        ),
        "CMDLINE_BOOL": Option(_LOW, "the kernel adds words of its own to the command line"),
    }
)
# What should be on.
ON: Mapping[str, Option] = MappingProxyType(
    {
        "MODULE_SIG": Option(_HIGH, "modules that nobody signed are loaded"),
        "MODULE_SIG_FORCE": Option(_HIGH, "unsigned modules are loaded", "module.sig_enforce=1"),
        "SECURITY_LOCKDOWN_LSM": Option(_HIGH, "root can read and write the kernel's memory"),
        "LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY": Option(_HIGH, "root reads the memory", _LOCKDOWN),
        "SECURITY_IPE": Option(_MEDIUM, "the kernel executes whatever a file system holds"),
        "IPE_PROP_DM_VERITY_SIGNATURE": Option(_MEDIUM, "the kernel cannot tell signed volumes from others"),
        "DM_VERITY_VERIFY_ROOTHASH_SIG": Option(_MEDIUM, "the kernel checks no signature of a root hash"),
        "STATIC_USERMODEHELPER": Option(_LOW, "the kernel starts programs whose paths root can change"),
        "INIT_ON_ALLOC_DEFAULT_ON": Option(_LOW, "old contents are handed out", "init_on_alloc=1"),
        "INIT_ON_FREE_DEFAULT_ON": Option(_LOW, "secrets stay in freed memory", "init_on_free=1"),
        "STRICT_KERNEL_RWX": Option(_HIGH, "the kernel's code can be written"),
        "STRICT_DEVMEM": Option(_MEDIUM, "root reads the memory", _LOCKDOWN),
        "RANDOMIZE_BASE": Option(_LOW, "the kernel lies at a known address"),
        "SECCOMP_FILTER": Option(_HIGH, "units cannot be kept from system calls"),
    }
)  # fmt: skip


def kernel_configuration(image: Image, policy: Policy) -> Iterator[Finding]:
    """The kernel is built without what would be closed later, or the command line closes it."""
    sysctls = kernel_settings.effective(image)
    for kernel in image.kernels:
        text = _text(image, kernel)
        if not text:
            yield _finding(
                kernel.release or kernel.path,
                _MEDIUM,
                "a configuration of the kernel",
                "none, in the kernel or beside it",
                "put the configuration of the kernel beside its modules: without it nobody can look",
            )
            continue
        said = dict(_SET.findall(text))
        words = {*kernel.words, *(f"sysctl.{name}={value}" for name, value in sysctls.items())}
        for options, wanted in ((OFF, "n"), (ON, "y")):
            for name, option in options.items():
                found = said.get(name, "n")
                fits = found == "y" if wanted == "y" else found != "y"
                if not fits and option.word not in words:
                    hint = f"without it {option.opens}" if wanted == "y" else f"with it {option.opens}"
                    add = f", or add {option.word} to the command line" if option.word else ""
                    yield _finding(
                        f"CONFIG_{name}", option.severity, wanted, found, f"build the kernel so{add}: {hint}"
                    )


def _text(image: Image, kernel: Kernel) -> str:
    if kernel.configuration or not kernel.release:
        return kernel.configuration
    texts = (tree.text(place.format(kernel.release)) for tree in image.trees for place in _PLACES)
    return next(filter(None, texts), "")


def _finding(subject: str, severity: Severity, expected: str, found: str, hint: str) -> Finding:
    return Finding(rule=RULE, severity=severity, subject=subject, expected=expected, found=found, hint=hint)

# SPDX-License-Identifier: Apache-2.0
"""The kernel's command line: what hardens it must be there and win, what opens it must not be there.

Follows kernel-command-line(7) and Linux, Documentation/admin-guide/kernel-parameters.txt. Where a word stands
twice the last one counts, as it does for the kernel and for systemd.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from mantlet.audit.finding import Finding, Policy, Severity
from mantlet.audit.image import Image, Kernel

HARDENING, OPENING = "cmdline-hardening", "cmdline-opening"
_NO = ("no", "0", "off", "false")
_YES = ("yes", "1", "on", "true")


class Wanted(NamedTuple):
    """Values that are accepted (None: the bare word), how much is open without, and what then is."""

    values: tuple[str | None, ...]
    severity: Severity
    opens: str


_HIGH, _MEDIUM, _LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW
# What must be said, and what may stand there.
WANTED: Mapping[str, Wanted] = MappingProxyType(
    {
        "console": Wanted(("null", "ttynull"), _HIGH, "the stub and the kernel choose consoles themselves"),
        "lockdown": Wanted(("confidentiality",), _HIGH, "root can read and write the kernel's memory"),
        "module.sig_enforce": Wanted((None, *_YES), _HIGH, "modules that nobody signed are loaded"),
        "systemd.import_credentials": Wanted(_NO, _HIGH, "SMBIOS and fw_cfg bring credentials, unmeasured"),
        "systemd.credentials_boot_policy": Wanted(
            ("strict",), _MEDIUM, "credentials without a key are taken"
        ),
        "systemd.debug_shell": Wanted(_NO, _HIGH, "a unit or word elsewhere may start the debug shell"),
        "rd.systemd.debug_shell": Wanted(_NO, _HIGH, "the same in the initrd"),
        "systemd.getty_auto": Wanted(_NO, _HIGH, "a device that looks like a console gets a login prompt"),
        "systemd.ssh_auto": Wanted(_NO, _HIGH, "an SSH server is bound to vsock"),
        "systemd.gpt_auto": Wanted(_NO, _HIGH, "partitions of any disk are mounted by their type"),
        "rd.systemd.gpt_auto": Wanted(_NO, _HIGH, "the same in the initrd"),
        "systemd.firstboot": Wanted(_NO, _MEDIUM, "a first boot asks at the console"),
        "systemd.swap": Wanted(_NO, _MEDIUM, "memory is written to a disk that offers itself as swap"),
        "systemd.crash_shell": Wanted(_NO, _MEDIUM, "a crash of PID 1 ends in a shell"),
        "systemd.crash_action": Wanted(("poweroff",), _MEDIUM, "a crash of PID 1 leaves the machine up"),
        "systemd.dump_core": Wanted(_NO, _MEDIUM, "a crash of PID 1 writes its memory"),
        "systemd.sysext": Wanted(_NO, _MEDIUM, "extensions are laid over /usr"),
        "rd.systemd.sysext": Wanted(_NO, _MEDIUM, "the same in the initrd"),
        "systemd.confext": Wanted(_NO, _MEDIUM, "extensions are laid over /etc"),
        "rd.systemd.confext": Wanted(_NO, _MEDIUM, "the same in the initrd"),
        "systemd.imds": Wanted(_NO, _MEDIUM, "a metadata server is asked for keys, unmeasured"),
        "systemd.imds.import": Wanted(_NO, _MEDIUM, "what a metadata server says becomes credentials"),
        "systemd.tpm2_software_fallback": Wanted(
            _NO, _MEDIUM, "a TPM in software stands in for a missing one"
        ),
        "systemd.tpm2_allow_clear": Wanted(_NO, _MEDIUM, "a factory reset clears the TPM"),
        "systemd.allow_userspace_verity": Wanted(_NO, _MEDIUM, "keys in the file system vouch for volumes"),
        "systemd.show_status": Wanted(_NO, _LOW, "systemd writes to the console"),
        "systemd.journald.forward_to_console": Wanted(_NO, _LOW, "the journal may go to the console"),
        "luks": Wanted(_NO, _MEDIUM, "a volume asks for its passphrase at the console"),
        "rd.luks": Wanted(_NO, _MEDIUM, "the same in the initrd"),
        "panic": Wanted(("-1",), _MEDIUM, "a panic waits, with the memory as it is"),
        "oops": Wanted(("panic",), _MEDIUM, "a damaged kernel continues"),
        "nohibernate": Wanted((None,), _HIGH, "an image on a disk replaces the running kernel"),
        "noresume": Wanted((None,), _MEDIUM, "an image on a disk replaces the running kernel"),
        "debugfs": Wanted(("off",), _MEDIUM, "debugfs shows the kernel's inside"),
        "i8042.nokbd": Wanted((None,), _MEDIUM, "a keyboard reaches the kernel"),
        "i8042.noaux": Wanted((None,), _LOW, "a mouse reaches the kernel"),
        "sysctl.kernel.sysrq": Wanted(("0",), _HIGH, "SysRq works before the first unit runs"),
        "sysctl.kernel.core_pattern": Wanted(
            ("|/bin/false",), _HIGH, "memory is written when a program fails"
        ),
        "sysctl.kernel.ctrl-alt-del": Wanted(("0",), _LOW, "three keys restart the machine"),
        "sysctl.kernel.kexec_load_disabled": Wanted(("1",), _HIGH, "root starts another kernel"),
        "sysctl.kernel.dmesg_restrict": Wanted(("1",), _LOW, "everybody reads the kernel's log"),
        "sysctl.kernel.unprivileged_bpf_disabled": Wanted(
            ("1", "2"), _MEDIUM, "everybody loads BPF programs"
        ),
        "sysctl.kernel.io_uring_disabled": Wanted(("2",), _LOW, "io_uring is open to programs"),
        "sysctl.kernel.yama.ptrace_scope": Wanted(("3",), _HIGH, "a program reads another one's memory"),
        "init_on_alloc": Wanted(("1",), _LOW, "old contents of memory are handed out"),
        "init_on_free": Wanted(("1",), _MEDIUM, "secrets stay in memory that was given back"),
        "slab_nomerge": Wanted((None,), _LOW, "kernel objects of several kinds share their memory"),
        "vsyscall": Wanted(("none",), _LOW, "code lies at a fixed address of every program"),
        "random.trust_bootloader": Wanted(("off",), _LOW, "the boot loader's seed counts as random"),
        "efi": Wanted(("disable_early_pci_dma",), _LOW, "devices write to memory before the kernel is up"),
        "acpi_no_initrd_override": Wanted((None,), _MEDIUM, "tables in the initrd replace those of ACPI"),
        "iommu": Wanted(("force",), _LOW, "on a machine of metal, devices write where they like"),
    }
)
_ANY = "*"
# What must not be said; `*`: whatever its value.
OPENINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "init": (_ANY,), "rdinit": (_ANY,), "rd.break": (_ANY,), "break": (_ANY,), "single": (_ANY,),
        "emergency": (_ANY,), "rescue": (_ANY,), "systemd.unit": (_ANY,), "rd.systemd.unit": (_ANY,),
        "systemd.run": (_ANY,), "systemd.wants": (_ANY,), "systemd.mask": (_ANY,), "systemd.setenv": (_ANY,),
        "systemd.set_credential": (_ANY,), "systemd.set_credential_binary": (_ANY,),
        "systemd.break": (_ANY,), "rd.systemd.break": (_ANY,), "systemd.confirm_spawn": (_ANY,),
        "systemd.default_debug_tty": (_ANY,), "SYSTEMD_SULOGIN_FORCE": (_ANY,), "efivar_ssdt": (_ANY,),
        "bootconfig": (_ANY,), "crashkernel": (_ANY,), "sysrq_always_enabled": (_ANY,), "earlycon": (_ANY,),
        "earlyprintk": (_ANY,), "keep_bootcon": (_ANY,), "netconsole": (_ANY,), "kgdboc": (_ANY,),
        "root": ("tmpfs",), "resume": (_ANY,),
        "systemd.mount-extra": (_ANY,), "rd.systemd.mount-extra": (_ANY,),
        "systemd.swap-extra": (_ANY,), "rd.systemd.swap-extra": (_ANY,), "nfsroot": (_ANY,),
        "cloud-config-url": (_ANY,), "ds": (_ANY,),
        "mitigations": ("off",), "systemd.log_target": ("console",), "selinux": ("0",), "ipe.enforce": ("0",),
    }
)  # fmt: skip


def hardening(image: Image, policy: Policy) -> Iterator[Finding]:
    """The command line in the UKI closes what the kernel and systemd leave open."""
    for kernel in image.kernels:
        for name, wanted in WANTED.items():
            values = kernel.values(name)
            # Every console= adds a console; of other words the last one counts.
            judged = values if name == "console" else values[-1:]
            if not judged or any(value not in wanted.values for value in judged):
                yield Finding(
                    rule=HARDENING,
                    severity=wanted.severity,
                    subject=name,
                    expected=_word(name, wanted.values[0]),
                    found=" ".join(_word(name, value) for value in judged) or "nothing",
                    hint=f"put it into the UKI's command line ({kernel.path}): without it {wanted.opens}",
                )


def openings(image: Image, policy: Policy) -> Iterator[Finding]:
    """The command line in the UKI has no word that opens a shell, runs a program or brings credentials."""
    for kernel in image.kernels:
        for name, refused in OPENINGS.items():
            for value in kernel.values(name):
                if refused == (_ANY,) or value in refused:
                    yield _opening(kernel, name, value)


def _opening(kernel: Kernel, name: str, value: str | None) -> Finding:
    return Finding(
        rule=OPENING,
        severity=Severity.HIGH,
        subject=name,
        expected="no such word",
        found=_word(name, value),
        hint=f"take it out of the UKI's command line ({kernel.path})",
    )


def _word(name: str, value: str | None) -> str:
    return name if value is None else f"{name}={value}"

# SPDX-License-Identifier: Apache-2.0
"""What the firmware and the stub find: the files of the EFI system partition, and the UKI itself.

Follows systemd-stub(7) and systemd-boot(7) for what is taken from there without a signature of its own.
"""

from collections.abc import Iterator

from mantlet.audit.finding import Finding, Policy, Severity
from mantlet.audit.image import Image, Signature
from mantlet.predict.uki import SECTIONS

ESP, PROGRAMS, UKI_SECTIONS, UKI_SIGNATURE = "esp-files", "esp-programs", "uki-sections", "uki-signature"
_HIGH, _MEDIUM, _LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW
# systemd, src/boot/boot-secret.c: shorter than this it turns the boot secret off, and is no input.
_MIXIN, _SECRET = "/loader/boot-secret-mixin", 32
# By what a path contains, lower case; the first that fits.
_KINDS: tuple[tuple[str, Severity, str], ...] = (
    (".addon.efi", _HIGH, "an add-on, which the stub adds to the command line or the initrd"),
    (".cred", _HIGH, "a credential, which the stub hands to the initrd"),
    (".confext.raw", _HIGH, "a configuration extension"),
    (".raw", _HIGH, "a system extension"),
    ("/loader/keys/", _HIGH, "keys that systemd-boot enrols"),
    ("/loader/entries/", _HIGH, "an entry of systemd-boot, which names kernel and command line freely"),
    ("/loader/loader.conf", _MEDIUM, "configuration of systemd-boot: a menu, an editor"),
    ("/loader/random-seed", _LOW, "a random seed, which makes the boot secret and register 9 unpredictable"),
    ("startup.nsh", _HIGH, "a script for the firmware's shell"),
    ("grub.cfg", _HIGH, "configuration of GRUB"),
)
# UEFI's own sections of a PE, the stub's two, and those that only describe.
_KNOWN = frozenset({".text", ".rodata", ".data", ".sbat", ".sdmagic", ".reloc", ".bss", ".dynamic", ".rela"})
_PLAIN = frozenset(
    {".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".pcrsig", ".pcrpkey", ".ucode", ".splash"}
)


def esp_files(image: Image, policy: Policy) -> Iterator[Finding]:
    """The EFI system partition holds nothing beside the UKI: nothing there is verified by the image."""
    for path, size in image.esp.items():
        if path in image.pe_files and ".addon.efi" not in path.lower():
            continue
        if path.lower() == _MIXIN and size < _SECRET:
            continue
        kinds = (kind for kind in _KINDS if kind[0] in path.lower())
        _, severity, what = next(kinds, ("", _LOW, "a file that the boot does not need"))
        yield Finding(
            rule=ESP,
            severity=severity,
            subject=path,
            expected="no file beside the UKI",
            found=what,
            hint="build the EFI system partition without it",
        )


def esp_programs(image: Image, policy: Policy) -> Iterator[Finding]:
    """The firmware can start one program alone, the UKI."""
    ukis = {kernel.path for kernel in image.kernels}
    for path in sorted(path for path in image.pe_files if ".addon.efi" not in path.lower()):
        if path in ukis and len(ukis) == 1:
            continue
        yield Finding(
            rule=PROGRAMS,
            severity=_MEDIUM,
            subject=path,
            expected="one program, the UKI at \\EFI\\BOOT\\BOOTX64.EFI",
            found=f"one of {len(ukis)} UKIs" if path in ukis else "another program",
            hint="build without a boot loader: a loader has a menu, an editor and entries that nobody signed",
        )


def uki_sections(image: Image, policy: Policy) -> Iterator[Finding]:
    """The UKI has a command line of its own and no section that lets somebody choose."""
    for kernel in image.kernels:
        if not kernel.cmdline:
            yield _section(
                kernel.path, _HIGH, "a section .cmdline", "none: the command line comes from the firmware"
            )
        for name in sorted(set(kernel.sections) - _KNOWN - _PLAIN):
            severity = _MEDIUM if name in SECTIONS else _LOW
            yield _section(f"{kernel.path} {name}", severity, "no such section", "one")


def _section(subject: str, severity: Severity, expected: str, found: str) -> Finding:
    return Finding(
        rule=UKI_SECTIONS,
        severity=severity,
        subject=subject,
        expected=expected,
        found=found,
        hint="build the UKI with a command line, one profile, and no device trees",
    )


def uki_signature(image: Image, policy: Policy) -> Iterator[Finding]:
    """The UKI is signed for Secure Boot, by who the keys beside the disk trust, and as it is."""
    for kernel in image.kernels:
        found = {Signature.NONE: "none", Signature.SOUND: kernel.refused}.get(
            kernel.signature, "one that does not fit"
        )
        if found:
            yield Finding(
                rule=UKI_SIGNATURE,
                severity=_HIGH,
                subject=kernel.path,
                expected="a signature of this UKI, by a key of db",
                found=found,
                hint="sign the UKI with a key that nothing else is signed with",
            )

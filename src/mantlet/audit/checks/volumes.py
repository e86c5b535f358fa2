# SPDX-License-Identifier: Apache-2.0
"""What the root file system rests on: its hash tree, the signature of that, and partitions beside it.

The root hash was computed again over the data; it is compared with the one in the UKI's command line, which
is what the kernel opens the volume with. The signature of that hash must verify, under the certificate that
signed the UKI: whoever else may sign volumes is another to be trusted.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from mantlet.audit.finding import Finding, Policy, Remedy, Severity
from mantlet.audit.image import Image, Signature, VerityVolume

ROOT_HASH, SIGNATURE, STATE = "verity-root-hash", "verity-signature", "unverified-partition"
# UAPI.3, *Discoverable Partitions Specification*: what needs no verity, or is part of it, by type (x86-64).
BOOT_TYPES: Mapping[str, str] = MappingProxyType(
    {"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "esp", "bc13c2ff-59e6-4262-a352-b275fd6f7172": "xbootldr"}
)
ROOT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "root",
        "8484680c-9521-48c6-9c11-b0720656f69e": "usr",
        "b921b045-1df0-41c3-af44-4c6f280d3fae": "root",
        "b0e01050-ee5f-4390-949a-9101b17104e9": "usr",
    }
)
VERITY_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5": "root",
        "77ff5f63-e7b6-4633-acf4-1565b864c0e6": "usr",
        "df3300ce-d69f-4c92-978c-9bfb0f38d820": "root",
        "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e": "usr",
    }
)
SIGNATURE_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "41092b05-9fc8-4523-994f-2def0408b176": "root",
        "e7bb33fb-06cf-4e81-8273-e543b413e2e2": "usr",
        "6db69de6-29f4-4758-a7a5-962190f00ce3": "root",
        "c23ce4ff-44bd-4b00-b2d4-b41b3419e02a": "usr",
    }
)
# What systemd mounts or uses by its type alone, when it is let.
_STATE_TYPES: Mapping[str, tuple[Severity, str]] = MappingProxyType(
    {
        "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": (Severity.HIGH, "swap, to which memory is written"),
        "4d21b016-b534-45c2-a9fb-5c16e091fd2d": (Severity.HIGH, "/var, from which root reads much"),
        "7ec6f557-3bc5-4aca-b293-16ef5df639d1": (Severity.MEDIUM, "files that outlive a boot"),
        "933ac7e1-2eb4-4f13-b844-0e14e2aef915": (Severity.MEDIUM, "/home, which may hold users"),
        "3b8f8425-20e0-4f3b-907f-1a25a76f98e8": (Severity.MEDIUM, "/srv"),
        "ca7d7ccb-63ed-4c53-861c-1742536059cc": (Severity.MEDIUM, "LUKS, whose header anybody may replace"),
    }
)
_WORDS: Mapping[str, str] = MappingProxyType({"root": "roothash", "usr": "usrhash"})
_finding = Remedy("build with Verity=signed (mkosi) or repart's Verity=data, hash and signature").finding


def root_hash(image: Image, policy: Policy) -> Iterator[Finding]:
    """The file systems lie on dm-verity, under the root hash in the UKI."""
    said = {
        (kernel.path, of): kernel.values(word)[-1:] for kernel in image.kernels for of, word in _WORDS.items()
    }
    for (path, of), values in said.items():
        volume = next((volume for volume in image.volumes if volume.of == of), None)
        if volume is None and of == "usr":
            continue
        if not values or not values[0]:
            # A root of nothing but mount points, over a verified /usr, is systemd's volatile root.
            if of == "root" and said[path, "usr"]:
                continue
            yield _finding(ROOT_HASH, Severity.HIGH, path, f"{_WORDS[of]}= in the command line", "none")
        elif volume is None or not volume.computed:
            yield _finding(ROOT_HASH, Severity.HIGH, path, f"a hash tree for {of}", "none")
        elif volume.computed != values[0].lower():
            yield _finding(
                ROOT_HASH, Severity.HIGH, path, f"{_WORDS[of]}={volume.computed}, computed", values[0]
            )


def signature(image: Image, policy: Policy) -> Iterator[Finding]:
    """The root hash is signed by who signed the UKI, so that the kernel knows the volume from others."""
    for volume in image.volumes:
        expected, found = _signed(volume)
        if found:
            severity = Severity.MEDIUM if volume.signature is Signature.FOREIGN else Severity.HIGH
            yield _finding(SIGNATURE, severity, volume.of, expected, found)


def _signed(volume: VerityVolume) -> tuple[str, str]:
    """Say what was expected of a volume's signature, and what was found; nothing found when it is sound."""
    if not volume.signed:
        return "a partition with the signature of the root hash", "none"
    if volume.computed and volume.signed != volume.computed:
        return f"a signature of {volume.computed}", f"one of {volume.signed}"
    expected = "a signature that verifies, by who signed the UKI"
    match volume.signature:
        case Signature.SOUND:
            return expected, ""
        case Signature.FOREIGN:
            return expected, f"one by {volume.signer}"
        case Signature.UNKNOWN:
            return expected, "one by somebody whose certificate is not in the image"
        case _:
            return expected, "one that does not verify"


def state(image: Image, policy: Policy) -> Iterator[Finding]:
    """There is no partition whose content nobody verifies."""
    known = {**BOOT_TYPES, **ROOT_TYPES, **VERITY_TYPES, **SIGNATURE_TYPES}
    others = [partition for partition in image.partitions if str(partition.type) not in known]
    for partition in others:
        severity, what = _STATE_TYPES.get(
            str(partition.type), (Severity.MEDIUM, f"one of type {partition.type}")
        )
        yield _stateful(
            f"partition {partition.number} {partition.name}".rstrip(),
            severity,
            "EFI system partition, verified file systems, and what verifies them",
            what,
        )
    if len(others) > 1:
        yield _stateful("partitions", Severity.HIGH, "one with state at most", str(len(others)))


def _stateful(subject: str, severity: Severity, expected: str, found: str) -> Finding:
    return Finding(
        rule=STATE,
        severity=severity,
        subject=subject,
        expected=expected,
        found=found,
        hint="keep state out of the image, or open it under a key that is made anew in each boot",
    )

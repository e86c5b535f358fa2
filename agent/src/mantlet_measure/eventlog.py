# SPDX-License-Identifier: Apache-2.0
"""The firmware's event log, crypto-agile (TCG PC Client Platform Firmware Profile 1.06, *Event Logging*).

Owns the decoding of `binary_bios_measurements`. It compares nothing: whether the log is true is a matter of
replaying it against quoted values, and even then only the digests are proven. Logs of the SHA-1 era are
refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import BANKS, Bank, Event
from mantlet_measure.reader import Reader

WHAT = "firmware log"
_LIMIT = 1 << 20
_EVENTS = 4096
_REGISTERS = 24
_DESCRIPTION = 160
_NO_ACTION = 3
_EVENT_TAG = 6

# PFP 1.06, table *Events*; names as the specification has them.
EVENT_TYPES: Mapping[int, str] = {
    0x00000000: "EV_PREBOOT_CERT",
    0x00000001: "EV_POST_CODE",
    0x00000003: "EV_NO_ACTION",
    0x00000004: "EV_SEPARATOR",
    0x00000005: "EV_ACTION",
    0x00000006: "EV_EVENT_TAG",
    0x00000007: "EV_S_CRTM_CONTENTS",
    0x00000008: "EV_S_CRTM_VERSION",
    0x00000009: "EV_CPU_MICROCODE",
    0x0000000A: "EV_PLATFORM_CONFIG_FLAGS",
    0x0000000B: "EV_TABLE_OF_DEVICES",
    0x0000000C: "EV_COMPACT_HASH",
    0x0000000D: "EV_IPL",
    0x0000000E: "EV_IPL_PARTITION_DATA",
    0x0000000F: "EV_NONHOST_CODE",
    0x00000010: "EV_NONHOST_CONFIG",
    0x00000011: "EV_NONHOST_INFO",
    0x00000012: "EV_OMIT_BOOT_DEVICE_EVENTS",
    0x00000013: "EV_POST_CODE2",
    0x80000001: "EV_EFI_VARIABLE_DRIVER_CONFIG",
    0x80000002: "EV_EFI_VARIABLE_BOOT",
    0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
    0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER",
    0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER",
    0x80000006: "EV_EFI_GPT_EVENT",
    0x80000007: "EV_EFI_ACTION",
    0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB",
    0x80000009: "EV_EFI_HANDOFF_TABLES",
    0x8000000A: "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
    0x8000000B: "EV_EFI_HANDOFF_TABLES2",
    0x8000000C: "EV_EFI_VARIABLE_BOOT2",
    0x8000000D: "EV_EFI_GPT_EVENT2",
    0x80000010: "EV_EFI_HCRTM_EVENT",
    0x800000E0: "EV_EFI_VARIABLE_AUTHORITY",
    0x800000E1: "EV_EFI_SPDM_FIRMWARE_BLOB",
    0x800000E2: "EV_EFI_SPDM_FIRMWARE_CONFIG",
}
_VARIABLES = {0x80000001, 0x80000002, 0x8000000C, 0x800000E0}
_TEXTS = {0x00000005, 0x00000008, 0x0000000D, 0x80000007}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Log:
    events: tuple[Event, ...]
    locality: int


def decode_firmware_log(data: bytes) -> tuple[Event, ...]:
    """Return the events that extended a register, in order; EV_NO_ACTION extends none and is left out.

    Digests of both of Mantlet's banks must be there. DecodeError on anything else.
    """
    return _decode(data).events


def startup_locality(data: bytes) -> int:
    """Return the locality of TPM2_Startup that the log states, or 0: register 0 starts from it."""
    return _decode(data).locality


def _decode(data: bytes) -> _Log:
    if len(data) > _LIMIT:
        raise DecodeError(WHAT, expected=f"at most {_LIMIT} bytes", found=f"{len(data)}")
    reader = Reader(data, WHAT)
    sizes = _spec_id(reader)
    events: list[Event] = []
    locality = 0
    while reader.left and not _padding(data, reader.offset):
        start = reader.offset
        register, kind = reader.u32le(), reader.u32le()
        digests = _digests(reader, sizes)
        content = reader.take(reader.u32le())
        if kind == _NO_ACTION:
            # PFP 1.06, *Startup Locality Event*: the last byte of register 0 before its first extend.
            if content.startswith(b"StartupLocality\0") and len(content) == 17:
                locality = content[16]
            continue
        if register >= _REGISTERS or len(events) == _EVENTS:
            reader.refuse(
                expected=f"a register below {_REGISTERS} and at most {_EVENTS} events",
                found=f"register {register} in event {len(events)}",
                offset=start,
            )
        events.append(
            Event(
                register=register,
                digests=digests,
                claimed_type=EVENT_TYPES.get(kind, f"0x{kind:08x}"),
                description=_describe(kind, content),
            )
        )
    return _Log(events=tuple(events), locality=locality)


def _padding(data: bytes, offset: int) -> bool:
    """Say whether nothing but zeros or erased flash follows."""
    # The first bytes decide in all but one case, so that a long log is not copied at every event.
    if data[offset : offset + 8].strip(b"\0") and data[offset : offset + 8].strip(b"\xff"):
        return False
    rest = data[offset:]
    return rest.count(rest[:1]) == len(rest)


def _spec_id(reader: Reader) -> Mapping[int, int]:
    """Read the first event (PFP 1.06, *Specification ID Version Event*): {algorithm: digest size}."""
    register, kind, digest = reader.u32le(), reader.u32le(), reader.take(20)
    event = Reader(reader.take(reader.u32le()), f"{WHAT}: specification ID")
    signature = event.take(16)
    if (register, kind) != (0, _NO_ACTION) or any(digest) or signature != b"Spec ID Event03\0":
        reader.refuse(expected="a Spec ID Event03 (crypto-agile log)", found=repr(signature), offset=0)
    event.take(8)  # platformClass, specVersionMinor, specVersionMajor, specErrata, uintnSize
    sizes: dict[int, int] = {}
    count = event.u32le()
    if not 1 <= count <= 16:
        event.refuse(expected="1 to 16 algorithms", found=str(count))
    for _ in range(count):
        algorithm, size = event.u16le(), event.u16le()
        if algorithm in sizes or not 1 <= size <= 128:
            event.refuse(
                expected="each algorithm once, with its size", found=f"0x{algorithm:04x} of {size} bytes"
            )
        sizes[algorithm] = size
    event.take(event.u8())  # vendorInfo
    event.end()
    for bank in BANKS:
        if sizes.get(bank.tpm_alg) != bank.size:
            reader.refuse(expected=f"digests of bank {bank}", found=f"algorithms {sorted(sizes)}", offset=0)
    return sizes


def _digests(reader: Reader, sizes: Mapping[int, int]) -> Mapping[Bank, bytes]:
    """Read TPML_DIGEST_VALUES: each algorithm of the header, once."""
    start = reader.offset
    count = reader.u32le()
    if count != len(sizes):
        reader.refuse(expected=f"{len(sizes)} digests", found=str(count), offset=start)
    found: dict[int, bytes] = {}
    for _ in range(count):
        algorithm = reader.u16le()
        if algorithm not in sizes or algorithm in found:
            reader.refuse(
                expected="each algorithm of the header once", found=f"0x{algorithm:04x}", offset=start
            )
        found[algorithm] = reader.take(sizes[algorithm])
    return {bank: found[bank.tpm_alg] for bank in BANKS}


def _describe(kind: int, content: bytes) -> str:
    """Return what the event data says of itself, in printable characters. Nothing proves it."""
    if kind in _VARIABLES and len(content) >= 32:
        # UEFI_VARIABLE_DATA: GUID, UnicodeNameLength (characters), VariableDataLength, UnicodeName, data
        return _printable(content[32 : 32 + 2 * int.from_bytes(content[16:24], "little")])
    if kind == _EVENT_TAG and len(content) >= 8:
        tag = int.from_bytes(content[:4], "little")
        return f"tag 0x{tag:08x} {_printable(content[8:])}".rstrip()
    return _printable(content) if kind in _TEXTS else ""


def _printable(content: bytes) -> str:
    """Return UTF-16LE or ASCII text, cut at the first NUL; firmware writes both and says not which."""
    head = content[: 4 * _DESCRIPTION]
    wide = len(head) >= 2 and len(head) % 2 == 0 and not any(head[1:16:2])
    text = head.decode("utf-16-le" if wide else "ascii", "replace").split("\0", 1)[0]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)[
        :_DESCRIPTION
    ]

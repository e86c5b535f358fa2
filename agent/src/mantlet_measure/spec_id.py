# SPDX-License-Identifier: Apache-2.0
"""The first event of a firmware log: it says how all others are written.

Follows TCG PC Client PFP 1.06, *Specification ID Version Event*, for crypto-agile logs. A log that does not
start with one is of the SHA-1 form (TCG PC Client Implementation Specification for Conventional BIOS 1.21,
11.3.1). It reads no further event.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mantlet_measure.event_types import EventType
from mantlet_measure.pcr import ALL_BANKS, Bank
from mantlet_measure.reader import Reader

SIGNATURE = b"Spec ID Event03\0"
_ALGORITHMS = 16
_DIGEST = 128
_EVENT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class LogForm:
    """How the records of a log are written.

    agile: records carry the digests that `sizes` names; otherwise one of SHA-1, without its name.
    sizes: the size of a digest by TPM_ALG_ID, algorithms included that are no bank of Mantlet's.
    banks: Mantlet's banks among them. start: the offset of the first record behind the specification ID;
    `records` come before it.
    """

    agile: bool
    sizes: Mapping[int, int]
    banks: tuple[Bank, ...]
    start: int
    records: int


def decode_form(data: bytes, what: str) -> LogForm:
    """Read the first event of a log. DecodeError when it is cut, or contradicts itself."""
    reader = Reader(data, what)
    # The first record is written in the SHA-1 form in both kinds of log.
    register, kind, digest, size = reader.u32le(), reader.u32le(), reader.take(20), reader.u32le()
    agile = kind == EventType.EV_NO_ACTION and data.startswith(SIGNATURE, reader.offset)
    if not agile:
        sizes = {Bank.SHA1.tpm_alg: Bank.SHA1.size}
        return LogForm(agile=False, sizes=sizes, banks=(Bank.SHA1,), start=0, records=0)
    if register or any(digest) or size > _EVENT:
        reader.refuse(
            expected=f"a specification ID of at most {_EVENT} bytes, register 0, digest zero",
            found=f"{size} bytes, register {register}, digest {digest.hex()}",
            offset=0,
        )
    sizes = _algorithms(Reader(reader.take(size), f"{what}: specification ID"))
    banks = tuple(bank for bank in ALL_BANKS if bank.tpm_alg in sizes)
    return LogForm(agile=True, sizes=sizes, banks=banks, start=reader.offset, records=1)


def _algorithms(event: Reader) -> dict[int, int]:
    """Read {algorithm: digest size}; the sizes of Mantlet's own banks must be right."""
    event.take(len(SIGNATURE) + 8)  # platformClass, specVersionMinor and -Major, specErrata, uintnSize
    known = {bank.tpm_alg: bank.size for bank in ALL_BANKS}
    sizes: dict[int, int] = {}
    count = event.u32le()
    if not 1 <= count <= _ALGORITHMS:
        event.refuse(expected=f"1 to {_ALGORITHMS} algorithms", found=str(count), offset=event.offset - 4)
    for _ in range(count):
        start = event.offset
        algorithm, size = event.u16le(), event.u16le()
        if algorithm in sizes or not 1 <= size <= _DIGEST or size != known.get(algorithm, size):
            event.refuse(
                expected="each algorithm once, with its digest size",
                found=f"0x{algorithm:04x} of {size} bytes",
                offset=start,
            )
        sizes[algorithm] = size
    event.take(event.u8())  # vendorInfo
    event.end()
    return sizes

# SPDX-License-Identifier: Apache-2.0
"""UEFI device paths as text (UEFI 2.10, 10.6.1.6, *Text Device Node Reference*).

Owns the node types that firmware logs name: where a loaded image came from. Everything else is written as
`Path(type,subtype,data)`. Any bytes have a text; nothing is refused, because nothing rests on it.
"""

from collections.abc import Callable, Mapping

from mantlet_measure.event_data import guid, number

_NODES = 64
_END = 0x7F
_END_ENTIRE = 0xFF
_PNP_PCI_ROOT = 0x0A03
_EISA_PNP = 0x41D0


def device_path_text(data: bytes) -> str:
    """Return the nodes of a device path, joined by `/`, its instances by `,`; what is cut ends in `…`."""
    words: list[str] = []
    offset = 0
    for _ in range(_NODES):
        kind, subtype, size = (
            data[offset : offset + 1],
            data[offset + 1 : offset + 2],
            number(data, offset + 2, 2),
        )
        if len(data) < offset + 4 or size < 4 or len(data) < offset + size:
            break
        node = (kind[0], subtype[0])
        if node == (_END, _END_ENTIRE):
            return "".join(words)
        if kind[0] == _END:
            words.append(",")
        else:
            if words and words[-1] != ",":
                words.append("/")
            words.append(_node(node, data[offset + 4 : offset + size]))
        offset += size
    return "".join(words) + "…"


def _node(node: tuple[int, int], body: bytes) -> str:
    size, write = _WRITERS.get(node, (0, None))
    if write is None or len(body) < size:
        return f"Path({node[0]},{node[1]},{body[:32].hex()})"
    return write(body)


def _hexadecimal(body: bytes, *fields: tuple[int, int]) -> str:
    return ",".join(f"0x{number(body, offset, size):X}" for offset, size in fields)


def _acpi(body: bytes) -> str:
    identifier, unit = number(body, 0, 4), number(body, 4, 4)
    vendor, product = identifier & 0xFFFF, identifier >> 16
    if (vendor, product) == (_EISA_PNP, _PNP_PCI_ROOT):
        return f"PciRoot(0x{unit:X})"
    name = f"PNP{product:04X}" if vendor == _EISA_PNP else f"0x{identifier:08X}"
    return f"Acpi({name},0x{unit:X})"


def _hard_drive(body: bytes) -> str:
    part = number(body, 0, 4)
    match body[37]:
        case 1:
            kind, signature = "MBR", f"0x{number(body, 20, 4):08X}"
        case 2:
            kind, signature = "GPT", guid(body[20:36]).upper()
        case other:
            kind, signature = str(other), "0"
    return f"HD({part},{kind},{signature},{_hexadecimal(body, (4, 8), (12, 8))})"


def _text(body: bytes) -> str:
    return body.decode("utf-16-le", "replace").split("\0", 1)[0]


def _nvme(body: bytes) -> str:
    return f"NVMe(0x{number(body, 0, 4):X},{body[4:12][::-1].hex('-').upper()})"


def _uri(body: bytes) -> str:
    address = body.split(b"\0", 1)[0].decode("ascii", "replace")
    return f"Uri({address})"


# (type, subtype): (size of the node behind its header at least, writer)
_WRITERS: Mapping[tuple[int, int], tuple[int, Callable[[bytes], str]]] = {
    (1, 1): (2, lambda body: f"Pci(0x{body[1]:X},0x{body[0]:X})"),
    (1, 3): (20, lambda body: f"MemoryMapped({_hexadecimal(body, (0, 4), (4, 8), (12, 8))})"),
    (1, 4): (16, lambda body: f"VenHw({guid(body[:16]).upper()})"),
    (2, 1): (8, _acpi),
    (3, 2): (4, lambda body: f"Scsi({_hexadecimal(body, (0, 2), (2, 2))})"),
    (3, 5): (2, lambda body: f"USB({_hexadecimal(body, (0, 1), (1, 1))})"),
    (3, 10): (16, lambda body: f"VenMsg({guid(body[:16]).upper()})"),
    (3, 11): (33, lambda body: f"MAC({body[:6].hex().upper()},0x{body[32]:X})"),
    (3, 12): (0, lambda body: "IPv4()"),
    (3, 13): (0, lambda body: "IPv6()"),
    (3, 18): (6, lambda body: f"Sata({_hexadecimal(body, (0, 2), (2, 2), (4, 2))})"),
    (3, 23): (12, _nvme),
    (3, 24): (0, _uri),
    (4, 1): (38, _hard_drive),
    (4, 2): (20, lambda body: f"CDROM({_hexadecimal(body, (0, 4), (4, 8), (12, 8))})"),
    (4, 3): (16, lambda body: f"VenMedia({guid(body[:16]).upper()})"),
    (4, 4): (0, _text),
    (4, 6): (16, lambda body: f"FvFile({guid(body[:16]).upper()})"),
    (4, 7): (16, lambda body: f"Fv({guid(body[:16]).upper()})"),
    (4, 8): (20, lambda body: f"Offset({_hexadecimal(body, (4, 8), (12, 8))})"),
}

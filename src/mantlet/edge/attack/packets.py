# SPDX-License-Identifier: Apache-2.0
"""What a machine sent, out of a capture of its Ethernet (pcap, as QEMU's filter-dump writes it).

Ethernet II, ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293), UDP (RFC 768). Answers to what
others began are left out: of TCP, a segment with SYN alone is the machine's own doing.
"""

import ipaddress
import struct
from collections.abc import Iterator
from pathlib import Path

from mantlet.attack.observation import Packet

# QEMU's first network card.
MACHINE_MAC = bytes.fromhex("525400123456")
_HEADER, _RECORD, _ETHERNET = 24, 16, 14
_KINDS = {0x88CC: "lldp", 0x888E: "eapol"}
_SYN_ACK, _SYN = 0x12, 0x02
_WIRE_LIMIT = 4 << 20


def frames(capture: Path, mac: bytes = MACHINE_MAC) -> Iterator[bytes]:
    """Yield the whole frames that a card sent so far; nothing when there is no capture."""
    data = capture.read_bytes() if capture.exists() else b""
    at = _HEADER
    while at + _RECORD <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 8)
        frame = data[at + _RECORD : at + _RECORD + size]
        at += _RECORD + size
        if at > len(data):
            return
        if frame[6:12] == mac:
            yield frame


def sent(capture: Path) -> tuple[tuple[Packet, ...], bytes]:
    """Return the kinds of packets that the machine sent on its own, and all that it sent."""
    kinds: set[Packet] = set()
    wire = bytearray()
    for frame in frames(capture):
        if len(wire) < _WIRE_LIMIT:
            wire += frame
        packet = _packet(int.from_bytes(frame[12:14], "big"), frame[_ETHERNET:])
        if packet is not None:
            kinds.add(packet)
    return tuple(sorted(kinds)), bytes(wire)


def _packet(kind: int, body: bytes) -> Packet | None:
    if kind == 0x0806:
        # A question alone: who has this address?
        asks = body[6:8] == b"\0\x01"
        return Packet("arp", str(ipaddress.IPv4Address(body[24:28]))) if asks else None
    if kind == 0x0800:
        size = (body[0] & 15) * 4
        return _transport(body[9], str(ipaddress.IPv4Address(body[16:20])), body[size:])
    if kind == 0x86DD:
        return _transport(body[6], str(ipaddress.IPv6Address(body[24:40])), body[40:])
    return Packet(_KINDS.get(kind, f"ethernet-{kind:04x}"), "")


def _transport(protocol: int, address: str, segment: bytes) -> Packet | None:
    port = int.from_bytes(segment[2:4], "big")
    match protocol:
        case 6:
            return Packet("tcp", address, port) if segment[13] & _SYN_ACK == _SYN else None
        case 17:
            return Packet("udp", address, port)
        case 1:
            # Destination Unreachable and Echo Reply answer somebody.
            return None if segment[0] in (0, 3) else Packet("icmp", address)
        case 58 | 0:
            return Packet("icmp6", address)
    return Packet(f"ip-{protocol}", address)

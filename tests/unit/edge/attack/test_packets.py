# SPDX-License-Identifier: Apache-2.0
"""What a machine sent, out of a capture: its own doing alone, by kind, address and port."""

import struct
from pathlib import Path

from mantlet.attack.observation import Packet
from mantlet.edge.attack.packets import MACHINE_MAC, sent

OTHER = bytes.fromhex("020000000063")
US, THEM = bytes([10, 0, 2, 15]), bytes([169, 254, 169, 254])


def ip(protocol: int, segment: bytes) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, protocol, 0)
    return b"\x08\0" + head + US + THEM + segment


def tcp(flags: int) -> bytes:
    return struct.pack(">HHIIBBHHH", 40000, 80, 0, 0, 5 << 4, flags, 0, 0, 0)


def capture(path: Path, *frames: bytes) -> Path:
    data = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65536, 1)
    for frame in frames:
        data += struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
    path.write_bytes(data)
    return path


def test_questions_datagrams_and_the_begin_of_a_connection_are_the_machines_own(tmp_path: Path) -> None:
    ours = OTHER + MACHINE_MAC
    asks = b"\x08\x06" + struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + MACHINE_MAC + US + bytes(6) + THEM
    path = capture(
        tmp_path / "pcap",
        ours + asks,
        ours + ip(6, tcp(0x02)),
        ours + ip(17, struct.pack(">HHHH", 1, 53, 8, 0)),
        ours + b"\x88\xcc" + bytes(8),
        ours + b"\x86\xdd" + bytes(6) + b"\x3a" + bytes(33) + bytes(4),
    )
    assert set(sent(path)[0]) == {
        Packet("arp", "169.254.169.254"),
        Packet("tcp", "169.254.169.254", 80),
        Packet("udp", "169.254.169.254", 53),
        Packet("lldp", ""),
        Packet("icmp6", "::"),
    }


def test_answers_and_what_others_send_are_not(tmp_path: Path) -> None:
    ours, theirs = OTHER + MACHINE_MAC, MACHINE_MAC + OTHER
    path = capture(
        tmp_path / "pcap",
        ours + ip(6, tcp(0x12)),
        ours + ip(6, tcp(0x14)),
        ours + ip(1, b"\x03\x03" + bytes(6)),
        theirs + ip(17, struct.pack(">HHHH", 1, 53, 8, 0)),
    )
    found, wire = sent(path)
    assert found == ()
    assert len(wire) > 0


def test_a_capture_that_was_never_begun_holds_nothing(tmp_path: Path) -> None:
    assert sent(tmp_path / "none") == ((), b"")

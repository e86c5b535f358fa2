# SPDX-License-Identifier: Apache-2.0
"""Another host on the machine's Ethernet: sends raw frames and sees every frame that the machine sends.

QEMU's filter-redirector and filter-mirror give a socket each; a frame has its length before it (4 bytes, big
endian). ARP (RFC 826), IPv4 (RFC 791), TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792): what a port scan needs.
"""

import contextlib
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mantlet.edge.attack.ports import connect
from mantlet.edge.machine import BootError

OURS_MAC = bytes.fromhex("020000000063")
# What QEMU's own DHCP gives to the first machine, and a neighbour that it does not know.
MACHINE = bytes([10, 0, 2, 15])
OURS = bytes([10, 0, 2, 99])
_BROADCAST = b"\xff" * 6
_ARP, _IPV4 = 0x0806, 0x0800
_TCP, _UDP, _ICMP = 6, 17, 1
_SYN, _RST = 0x02, 0x04
_SOURCE_PORT = 40000
# As many as a network card's ring takes; what answers after the pause is taken with the next ones.
_BATCH, _PAUSE = 256, 0.05
_FIND_SECONDS = 10.0


def qemu_words(folder: Path) -> tuple[str, ...]:
    """The words for QEMU; its network is named `net`."""
    inward, outward = folder / "in", folder / "out"
    return (
        *("-chardev", f"socket,id=inward,path={inward},server=on,wait=off"),
        *("-object", "filter-redirector,id=inject,netdev=net,queue=tx,indev=inward"),
        *("-chardev", f"socket,id=outward,path={outward},server=on,wait=off"),
        *("-object", "filter-mirror,id=listen,netdev=net,queue=rx,outdev=outward"),
    )


@dataclass(kw_only=True)
class Wire:
    """The neighbour; `machine_mac` is known once the machine has answered."""

    inward: socket.socket
    arrived: "queue.SimpleQueue[bytes]"
    machine_mac: bytes = b""
    _pending: bytearray = field(default_factory=bytearray)

    def send(self, frame: bytes) -> None:
        """Put a frame on the wire."""
        self.inward.sendall(struct.pack(">I", len(frame)) + frame)

    def frames(self, seconds: float, *, at_most: float) -> Iterator[bytes]:
        """Yield what the machine sends, until it has been silent for so long, or has talked for `at_most`."""
        end = time.monotonic() + at_most
        while time.monotonic() < end:
            while len(self._pending) >= 4:
                size = int.from_bytes(self._pending[:4], "big")
                if len(self._pending) < 4 + size:
                    break
                frame = bytes(self._pending[4 : 4 + size])
                del self._pending[: 4 + size]
                yield frame
            try:
                data = self.arrived.get(timeout=seconds)
            except queue.Empty:
                return
            if not data:
                raise BootError("wire: expected frames, found it cut", hint="is the machine on?")
            self._pending += data

    def packets(self, seconds: float, *, at_most: float) -> Iterator[tuple[int, bytes]]:
        """Yield (protocol, payload) of IPv4 packets for us; answer ARP on the way. Ends like `frames`."""
        for frame in self.frames(seconds, at_most=at_most):
            kind, body = int.from_bytes(frame[12:14], "big"), frame[14:]
            if kind == _ARP and body[6:8] == b"\0\x01" and body[24:28] == OURS:
                self.send(_arp(2, body[8:14], target=body[14:18]))
            elif kind == _ARP and body[6:8] == b"\0\x02" and body[14:18] == MACHINE:
                self.machine_mac = body[8:14]
            elif kind == _IPV4 and body[16:20] == OURS:
                yield body[9], body[(body[0] & 15) * 4 : int.from_bytes(body[2:4], "big")]

    def find(self) -> None:
        """Ask who has the machine's address, until it answers. BootError when it does not."""
        end = time.monotonic() + _FIND_SECONDS
        while not self.machine_mac and time.monotonic() < end:
            self.send(_arp(1, _BROADCAST, target=MACHINE))
            for _ in self.packets(0.3, at_most=0.5):
                pass
        if not self.machine_mac:
            raise BootError("wire: expected an answer to ARP, found none", hint="does the machine serve?")

    def scan_tcp(self, ports: Iterable[int], *, rounds: int = 6) -> dict[int, bool]:
        """Send a SYN to each port; True: it accepts, False: it resets. Silent ports are missing."""
        answers: dict[int, bool] = {}
        wanted = list(ports)
        for _ in range(rounds):
            silent = [port for port in wanted if port not in answers]
            for start in range(0, len(silent), _BATCH):
                for port in silent[start : start + _BATCH]:
                    self._send_ip(_TCP, partial(_syn, port=port))
                for protocol, segment in self.packets(_PAUSE, at_most=2.0):
                    if protocol == _TCP and int.from_bytes(segment[2:4], "big") == _SOURCE_PORT:
                        answers[int.from_bytes(segment[:2], "big")] = segment[13] & (_SYN | _RST) == _SYN
        return answers

    def probe_udp(self, port: int) -> tuple[list[bytes], list[int]]:
        """Send a datagram; return the datagrams that come back, and the codes of Destination Unreachable."""
        self._send_ip(_UDP, partial(_datagram, port=port))
        datagrams, unreachable = [], []
        # The kernel sends one such message a second to one neighbour (icmp_ratelimit).
        for protocol, payload in self.packets(1.2, at_most=1.5):
            if protocol == _UDP:
                datagrams.append(payload)
            elif protocol == _ICMP and payload[0] == 3:
                unreachable.append(payload[1])
        return datagrams, unreachable

    def _send_ip(self, protocol: int, segment: Callable[[bytes], bytes]) -> None:
        size = len(segment(bytes(12)))
        pseudo = OURS + MACHINE + struct.pack(">BBH", 0, protocol, size)
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, protocol, 0) + OURS + MACHINE
        head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
        self.send(self.machine_mac + OURS_MAC + struct.pack(">H", _IPV4) + head + segment(pseudo))


@contextmanager
def connected(folder: Path) -> Iterator[Wire]:
    """Hold both sockets, and take in what comes: QEMU stands still while nobody reads."""
    arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with connect(folder / "in") as inward, connect(folder / "out") as outward:
        inward.setblocking(True)
        outward.setblocking(True)
        reader = threading.Thread(target=_take_in, args=(outward, arrived))
        reader.start()
        try:
            yield Wire(inward=inward, arrived=arrived)
        finally:
            # Wakes the reader; QEMU may be gone already.
            with contextlib.suppress(OSError):
                outward.shutdown(socket.SHUT_RDWR)
            reader.join()


def _take_in(outward: socket.socket, arrived: "queue.SimpleQueue[bytes]") -> None:
    data = b"first"
    while data:
        try:
            data = outward.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        arrived.put(data)


def _arp(operation: int, mac: bytes, *, target: bytes) -> bytes:
    body = struct.pack(">HHBBH", 1, _IPV4, 6, 4, operation)
    known = bytes(6) if operation == 1 else mac
    return mac + OURS_MAC + struct.pack(">H", _ARP) + body + OURS_MAC + OURS + known + target


def _syn(pseudo: bytes, port: int) -> bytes:
    def with_checksum(found: int) -> bytes:
        return struct.pack(">HHIIBBHHH", _SOURCE_PORT, port, port, 0, 5 << 4, _SYN, 1024, found, 0)

    return with_checksum(checksum(pseudo + with_checksum(0)))


def _datagram(pseudo: bytes, port: int) -> bytes:
    payload = b"anybody there?"
    head = struct.pack(">HHHH", _SOURCE_PORT, port, 8 + len(payload), 0)
    found = checksum(pseudo + head + payload) or 0xFFFF
    return head[:6] + struct.pack(">H", found) + payload


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

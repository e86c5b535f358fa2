# SPDX-License-Identifier: Apache-2.0
"""What one boot of an attacked machine looked like from outside.

Owns the record alone. Nothing in it comes from a program in the guest but the agent's lines and what the
front answers: the TPM's log, the ports, the screen, the wire, the disks and the hypervisor's events are all
seen by who owns the host. How it is collected is the edge's matter, what it means is `judge`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

SUCCESS = 0


class End(StrEnum):
    """How a boot stood when it was last looked at, within its bound."""

    SERVING = "serving"
    OFF = "off"
    FIRMWARE = "firmware"
    ON = "on"

    @property
    def meaning(self) -> str:
        """It in words."""
        return _MEANINGS[self]


_MEANINGS = {
    End.SERVING: "it serves, and still answered after everything was tried",
    End.OFF: "it powered off by itself",
    End.FIRMWARE: "the firmware refused to start anything",
    End.ON: "it stayed on and served nothing",
}


@dataclass(frozen=True, slots=True, order=True)
class Packet:
    """A kind of packet that the machine sent: `udp`, `tcp`, `icmp`, `arp`, `lldp`…; to whom; to which port.

    address: as text, "" where the kind has none; port: 0 where it has none.
    """

    kind: str
    address: str
    port: int = 0

    @property
    def text(self) -> str:
        """For a list of facts."""
        port = f":{self.port}" if self.port else ""
        return f"{self.kind} {self.address}{port}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One boot from outside.

    lines: of the agent, as `stage code`; unseal: the TPM's answers to TPM2_Unseal, in order; registers: 0 to
    15 in SHA-256 when it was last looked at; moved: the enforced ones that the release does not predict, but
    15, which is the agent's own; of a boot without the agent, those that are complete before the kernel; None
    without a kernel.
    heard: by port, all that was said after the firmware, without the agent's lines; events: the hypervisor's,
    by name and cause; sent: the kinds of packets that the machine sent on its own; wire: all that it sent, as
    it was sent; found: by probe, what it found, a phrase each; not_run: by probe, why it could not be tried.
    """

    end: End
    seconds: float
    lines: tuple[str, ...] = ()
    unseal: tuple[int, ...] = ()
    registers: Mapping[int, bytes] = field(default_factory=dict)
    moved: tuple[int, ...] | None = None
    heard: Mapping[str, bytes] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    sent: tuple[Packet, ...] = ()
    wire: bytes = b""
    found: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def released(self) -> int:
        """How often the TPM released the key."""
        return self.unseal.count(SUCCESS)

    @property
    def facts(self) -> tuple[str, ...]:
        """The short account of it, a phrase each."""
        said = [f"ended: {self.end}"]
        if self.lines:
            said.append(f"last line: {self.lines[-1]}")
        codes = ", ".join(f"{code:#05x}" for code in self.unseal) or "never asked"
        said.append(f"unseal: {codes}")
        if self.moved is not None:
            said.append(f"registers moved: {', '.join(map(str, self.moved)) or 'none'}")
        loud = {name: len(heard) for name, heard in self.heard.items() if heard}
        said += [f"{name} said {size} bytes" for name, size in sorted(loud.items())]
        said += [f"{probe}: {phrase}" for probe, phrases in sorted(self.found.items()) for phrase in phrases]
        return tuple(said)

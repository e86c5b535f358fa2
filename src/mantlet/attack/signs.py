# SPDX-License-Identifier: Apache-2.0
"""Signs: what success of an attack looks like from outside, as functions of an observation.

Each is made for what it looks for and says what it saw, a phrase each. `ALWAYS` is watched for in every boot.
"""

from collections.abc import Iterator

from mantlet.attack.model import Sign
from mantlet.attack.observation import End, Observation
from mantlet_measure.errors import shown


def said(mark: str, *, words: str) -> Sign:
    """A mark on any port or on the wire: the attack's payload ran, and said so."""

    def seen(observation: Observation) -> Iterator[str]:
        for port, heard in sorted(observation.heard.items()):
            if mark.encode() in heard:
                yield f"{port} said {mark}"
        if mark.encode() in observation.wire:
            yield f"the machine sent {mark}"

    return Sign(words, seen)


def spoke(*ports: str, words: str = "a port says something") -> Sign:
    """A byte on one of the ports, or on any when none is named."""

    def seen(observation: Observation) -> Iterator[str]:
        for port, heard in sorted(observation.heard.items()):
            if heard.strip(b"\0") and (not ports or port in ports):
                yield f"{port} said {len(heard)} bytes, the last: {shown(heard[-48:])}"

    return Sign(words, seen)


def found(*probes: str, words: str) -> Sign:
    """Something that one of the probes found."""

    def seen(observation: Observation) -> Iterator[str]:
        for probe in probes:
            yield from observation.found.get(probe, ())

    return Sign(words, seen)


def sent(*kinds: str, words: str, addresses: tuple[str, ...] = ()) -> Sign:
    """A packet of one of the kinds, to one of the addresses when any is named."""

    def seen(observation: Observation) -> Iterator[str]:
        for packet in observation.sent:
            if (not kinds or packet.kind in kinds) and (not addresses or packet.address in addresses):
                yield f"it sent {packet.text}"

    return Sign(words, seen)


def serves() -> Sign:
    """It serves, though it must not."""

    def seen(observation: Observation) -> Iterator[str]:
        if observation.end is End.SERVING:
            yield "it serves"

    return Sign("the machine serves", seen)


def stays_on() -> Sign:
    """It neither serves nor powers off."""

    def seen(observation: Observation) -> Iterator[str]:
        if observation.end is End.ON:
            yield End.ON.meaning

    return Sign("the machine stays on", seen)


def boots() -> Sign:
    """The firmware started something that it must refuse."""

    def seen(observation: Observation) -> Iterator[str]:
        if observation.end is not End.FIRMWARE:
            yield "the firmware started it"

    return Sign("the firmware starts it", seen)


def released() -> Sign:
    """The TPM released the key."""

    def seen(observation: Observation) -> Iterator[str]:
        if observation.released:
            yield f"the TPM released the key {observation.released} times"

    return Sign("the TPM releases the key", seen)


def moved(*registers: int) -> Sign:
    """An enforced register that moved though it must not."""

    def seen(observation: Observation) -> Iterator[str]:
        for register in observation.moved or ():
            if not registers or register in registers:
                yield f"register {register} moved"

    return Sign("an enforced register moves", seen)


def any_of(*signs: Sign) -> Sign:
    """One of several."""

    def seen(observation: Observation) -> Iterator[str]:
        for sign in signs:
            yield from sign.seen(observation)

    return Sign(", or ".join(sign.words for sign in signs), seen)


ALWAYS: tuple[Sign, ...] = (spoke(words="any port says something beside the agent's lines"),)
"""What every boot is watched for, whatever is tried."""

# SPDX-License-Identifier: Apache-2.0
"""A kind of machine, as policies/platforms describes it.

Owns the strict decoding of those documents. What they say is data with a source each: which banks there are,
what is enforced, what can only be recorded, and values that others published. Nothing here measures.
"""

from dataclasses import dataclass
from enum import StrEnum

from mantlet.release.reference_values import Proof
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import ALL_BANKS, Bank, Register
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-platform/v1"
WHAT = "platform"
QEMU_OVMF = "qemu-ovmf"
_NAME = r"[a-z0-9][a-z0-9-]{0,30}"
_LINE = r"[ -~]+"
_LINE_LIMIT = 300
_ITEMS = 64


class When(StrEnum):
    """When a published value holds."""

    ALWAYS = "always"
    BEFORE_OS_SEPARATOR = "before-os-separator"
    SETUP_MODE = "setup-mode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The value of a register that somebody published, and who."""

    register: int
    bank: Bank
    value: bytes
    when: When
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a register holds here and not on other platforms, in words."""

    register: int
    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One kind of machine; `enforced` and `recorded` are registers, ascending."""

    name: str
    title: str
    tested: Proof
    banks: tuple[Bank, ...]
    enforced: tuple[int, ...]
    recorded: tuple[int, ...]
    constants: tuple[Constant, ...]
    differences: tuple[Difference, ...]


def decode(value: object) -> Machine:
    """Decode a platform document. DecodeError when it is out of shape or contradicts itself."""
    fields = Fields(value, WHAT)
    fields.constant("format", FORMAT)
    machine = Machine(
        name=fields.text("name", pattern=_NAME),
        title=fields.text("title", pattern=_LINE, limit=_LINE_LIMIT),
        tested=Proof(fields.text("tested", pattern="|".join(Proof))),
        banks=_banks(fields),
        enforced=_registers(fields, "enforced"),
        recorded=_registers(fields, "recorded"),
        constants=tuple(_constant(item) for item in fields.sequence("constants", limit=_ITEMS)),
        differences=tuple(_difference(item) for item in fields.sequence("differences", limit=_ITEMS)),
    )
    fields.done()
    if both := sorted(set(machine.enforced) & set(machine.recorded)):
        raise DecodeError(WHAT, expected="no register both enforced and recorded", found=str(both))
    return machine


def _banks(fields: Fields) -> tuple[Bank, ...]:
    listed = fields.sequence("banks", limit=len(ALL_BANKS))
    banks = tuple(bank for bank in ALL_BANKS if bank in listed)
    if not banks or list(banks) != list(listed):
        fields.refuse("banks", f"some of {', '.join(ALL_BANKS)}, in this order")
    return banks


def _registers(fields: Fields, name: str) -> tuple[int, ...]:
    listed = fields.sequence(name, limit=len(Register))
    registers = tuple(int(register) for register in Register if register in listed)
    if not registers or list(registers) != list(listed) or any(isinstance(item, bool) for item in listed):
        fields.refuse(name, "registers from 0 to 15, each once, in order")
    return registers


def _constant(item: object) -> Constant:
    fields = Fields(item, f"{WHAT}: constants")
    bank = Bank(fields.text("bank", pattern="|".join(ALL_BANKS)))
    constant = Constant(
        register=fields.integer("register", 0, 15),
        bank=bank,
        value=fields.hex("value", bank.size),
        when=When(fields.text("when", pattern="|".join(When))),
        source=fields.text("source", pattern=_LINE, limit=_LINE_LIMIT),
    )
    fields.done()
    return constant


def _difference(item: object) -> Difference:
    fields = Fields(item, f"{WHAT}: differences")
    difference = Difference(
        register=fields.integer("register", 0, 15),
        text=fields.text("text", pattern=_LINE, limit=_LINE_LIMIT),
        source=fields.text("source", pattern=_LINE, limit=_LINE_LIMIT),
    )
    fields.done()
    return difference

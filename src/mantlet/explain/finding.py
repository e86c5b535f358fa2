# SPDX-License-Identifier: Apache-2.0
"""What is said in the end: one finding a cause, with all the registers that it moved.

Owns the types alone.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Cause(StrEnum):
    """What made registers differ."""

    SECTIONS = "another UKI"
    COMMAND_LINE = "command line from outside the UKI"
    KERNEL_COMMAND_LINE = "command line"
    INITRD = "initrd"
    CREDENTIALS = "credentials"
    EXTENSIONS = "extensions"
    ADDON = "add-on"
    PROFILE = "profile"
    IMAGES = "started images"
    RETRY = "boot retries"
    SECURE_BOOT = "Secure Boot"
    DISK = "partition table"
    LOADER = "boot loader"
    PHASE = "boot phase"
    OS_SEPARATOR = "os-separator"
    AGENT = "agent"
    FIRMWARE = "firmware"
    VALUE = "value"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A sentence about one changed event of one register.

    key: which of several things of one cause it is about, for example a section. details: more sentences.
    asides: sentences that never join the headline. consequence: it follows from another finding, if there is
    one that it can follow from.
    """

    register: int
    cause: Cause
    text: str
    key: str = ""
    details: tuple[str, ...] = ()
    asides: tuple[str, ...] = ()
    consequence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cause in words. `registers`: the one it shows best in first, then the others, ascending."""

    cause: Cause
    registers: tuple[int, ...]
    headline: str
    details: tuple[str, ...] = field(default=())

    @property
    def words(self) -> str:
        """The headline behind the register that it shows best in."""
        return f"PCR {self.registers[0]}: {self.headline}"

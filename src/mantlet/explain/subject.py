# SPDX-License-Identifier: Apache-2.0
"""What an event is about, in one closed vocabulary for both sides.

Predicted events and logged ones name the same thing differently: a prediction says `section .cmdline`, the
stub's log says `.cmdline` twice. The names follow TCG PFP 1.06, *Events*, UAPI.7, and the descriptions that
systemd's src/boot writes into the log. A subject read from a log is a claim.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mantlet_measure.pcr import Bank, Register


class Kind(StrEnum):
    """The kinds of thing that a boot measures."""

    ACTION = "action"
    SEPARATOR = "separator"
    APPLICATION = "application"
    VARIABLE = "variable"
    AUTHORITY = "authority"
    PARTITIONS = "partition table"
    LOADER_CONFIGURATION = "loader.conf"
    SECTION_NAME = "section name"
    SECTION = "section"
    PHASE = "phase"
    LOAD_OPTIONS = "load options"
    INITRD = "initrd"
    NVPCR = "NvPCR"
    COMMAND_LINE = "command line"
    PROFILE = "profile"
    ADDON_DATA = "add-on data"
    CREDENTIALS = "credentials"
    CONFEXTS = "configuration extensions"
    SYSEXTS = "system extensions"
    SMBIOS = "SMBIOS"
    OS_SEPARATOR = "os-separator"
    AGENT_WORD = "agent word"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an event is about: its kind, and which one of that kind (a section, a variable, a word)."""

    kind: Kind
    name: str = ""

    @property
    def words(self) -> str:
        """The subject as a noun phrase."""
        if self.kind in _WITH_NAME and self.name:
            return _WITH_NAME[self.kind].format(self.name)
        return _PHRASES[self.kind]


_WITH_NAME: Mapping[Kind, str] = {
    Kind.ACTION: "the firmware's action “{}”",
    Kind.VARIABLE: "the Secure Boot variable {}",
    Kind.SECTION_NAME: "the name of section {}",
    Kind.SECTION: "section {}",
    Kind.PHASE: "the boot phase “{}”",
    Kind.NVPCR: "the NvPCR word “{}”",
    Kind.COMMAND_LINE: "the command line addition “{}”",
    Kind.PROFILE: "profile {} of the UKI",
    Kind.ADDON_DATA: "the add-on's {}",
    Kind.SMBIOS: "the SMBIOS table {}",
    Kind.AGENT_WORD: "the agent's word “{}”",
    Kind.OTHER: "{}",
}
_PHRASES: Mapping[Kind, str] = {
    Kind.ACTION: "a firmware action",
    Kind.SEPARATOR: "the separator between firmware and boot loader",
    Kind.APPLICATION: "a started EFI image",
    Kind.VARIABLE: "a Secure Boot variable",
    Kind.AUTHORITY: "the db entry that let the image start",
    Kind.PARTITIONS: "the partition table",
    Kind.LOADER_CONFIGURATION: "the boot loader's loader.conf",
    Kind.SECTION_NAME: "the name of a section",
    Kind.SECTION: "a section",
    Kind.PHASE: "a boot phase",
    Kind.LOAD_OPTIONS: "the kernel command line",
    Kind.INITRD: "the initrd as the kernel gets it",
    Kind.NVPCR: "an NvPCR word",
    Kind.COMMAND_LINE: "a command line addition",
    Kind.PROFILE: "a profile of the UKI",
    Kind.ADDON_DATA: "an add-on",
    Kind.CREDENTIALS: "credentials from the EFI system partition",
    Kind.CONFEXTS: "configuration extensions from the EFI system partition",
    Kind.SYSEXTS: "system extensions from the EFI system partition",
    Kind.SMBIOS: "an SMBIOS table",
    Kind.OS_SEPARATOR: "the os-separator",
    Kind.AGENT_WORD: "a word of the agent",
    Kind.OTHER: "an event without a name",
}
_BY_TYPE: Mapping[str, Kind] = {
    "EV_SEPARATOR": Kind.SEPARATOR,
    "EV_EFI_ACTION": Kind.ACTION,
    "EV_EFI_BOOT_SERVICES_APPLICATION": Kind.APPLICATION,
    "EV_EFI_VARIABLE_DRIVER_CONFIG": Kind.VARIABLE,
    "EV_EFI_VARIABLE_AUTHORITY": Kind.AUTHORITY,
    "EV_EFI_GPT_EVENT": Kind.PARTITIONS,
    "EV_EFI_GPT_EVENT2": Kind.PARTITIONS,
    "phase": Kind.PHASE,
    "os-separator": Kind.OS_SEPARATOR,
    "nvpcr-init": Kind.NVPCR,
    "nvpcr-separator": Kind.NVPCR,
}
# systemd, src/fundamental/tpm2-pcr.h, and Linux, drivers/firmware/efi/libstub: tags and descriptions.
_BY_WORD: tuple[tuple[str, Kind], ...] = (
    ("loadoptions", Kind.LOAD_OPTIONS),
    ("linux initrd", Kind.INITRD),
    ("0xf5bc582a", Kind.LOADER_CONFIGURATION),
    ("loader.conf", Kind.LOADER_CONFIGURATION),
    ("smbios:", Kind.SMBIOS),
    ("0x13aed6db", Kind.PROFILE),
    ("profile", Kind.PROFILE),
    ("0x6c46f751", Kind.ADDON_DATA),
    ("0x49dffe0f", Kind.ADDON_DATA),
    ("0xdac08e1a", Kind.ADDON_DATA),
    ("addon", Kind.ADDON_DATA),
    ("add-on", Kind.ADDON_DATA),
)
_BY_ARCHIVE: tuple[tuple[str, Kind], ...] = (
    ("credential", Kind.CREDENTIALS),
    ("configuration extension", Kind.CONFEXTS),
    ("system extension", Kind.SYSEXTS),
)
_ARCHIVE = re.compile(
    r"(?:(?:entry|global) )?(?:credentials?|(?:configuration|system) extensions?)\b.*", re.I
)
_SECTION = re.compile(r"(?:(name of )?section )?(\.[a-z]{2,9})\b.*")
_VARIABLE = re.compile(r"(?:variable )?([A-Za-z0-9]+)")
_TAG = re.compile(r"^tag 0x[0-9a-f]{8} ?")


def classify(register: int, kind: str, text: str, digests: Mapping[Bank, bytes]) -> Subject:
    """Return the subject of an event from its type and text, and from its digests where they decide.

    kind: an EV_… name, or the event type of systemd or the agent; text: the description that goes with it.
    """
    if register == Register.SYSTEM_IDENTITY and text.startswith("mantlet:"):
        return Subject(kind=Kind.AGENT_WORD, name=text)
    found = _BY_TYPE.get(kind)
    if found is not None:
        return Subject(kind=found, name=_name(found, text))
    if kind == "EV_EVENT_TAG":
        lowered = text.lower()
        tagged = next((value for word, value in _BY_WORD if word in lowered), Kind.OTHER)
        return Subject(kind=tagged, name=_TAG.sub("", text).removeprefix("profile "))
    if kind == "EV_IPL":
        return _ipl(register, text, digests)
    return Subject(kind=Kind.OTHER, name=" ".join(part for part in (kind, text) if part))


def _name(kind: Kind, text: str) -> str:
    if kind is Kind.VARIABLE:
        found = _VARIABLE.match(text)
        return "" if found is None else found[1]
    return text if kind in (Kind.ACTION, Kind.PHASE, Kind.NVPCR, Kind.APPLICATION) else ""


def _ipl(register: int, text: str, digests: Mapping[Bank, bytes]) -> Subject:
    if register == Register.KERNEL_BOOT and (found := _SECTION.fullmatch(text)) is not None:
        # The stub logs the section's name and its content under the same description: the digest decides.
        name = found[2].encode("ascii") + b"\0"
        named = bool(digests) and all(bank.digest(name) == digest for bank, digest in digests.items())
        return Subject(kind=Kind.SECTION_NAME if named else Kind.SECTION, name=found[2])
    if register in (Register.KERNEL_CONFIG, Register.SYSEXTS):
        if _ARCHIVE.fullmatch(text) is not None:
            lowered = text.lower()
            archive = next(value for word, value in _BY_ARCHIVE if word in lowered)
            return Subject(kind=archive, name=text)
        if register == Register.KERNEL_CONFIG:
            return Subject(kind=Kind.COMMAND_LINE, name=text)
    return Subject(kind=Kind.OTHER, name=f"EV_IPL {text}".rstrip())

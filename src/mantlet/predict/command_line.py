# SPDX-License-Identifier: Apache-2.0
"""The kernel command line: what the stub makes of its sources, and what of it the stub measures.

Follows systemd's src/boot/stub.c (`use_load_options`, `settle_command_line`, `cmdline_append_and_measure_*`)
and console.c, release by release. Register 12 gets each foreign part as it is taken; register 9, by the
kernel's hand, the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mantlet.predict.addons import applied
from mantlet.predict.boot import Boot
from mantlet.predict.uki import mangled, text

LOAD_OPTIONS = "load options"
ADDONS = "command line from add-ons"
SMBIOS = "command line from SMBIOS type 11"
_SMBIOS_SINCE = 254
_CONSOLE_SINCE = 261
# A null pointer, as printed by efi-string.c where it stands for a missing command line.
_NULL = "(null)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A part that the stub takes from outside the UKI and measures: its text, and where it is from."""

    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """`whole` is what the kernel gets, None when nothing is set; `unsettled` says why that may differ."""

    whole: str | None
    taken: tuple[Taken, ...]
    unsettled: str = ""


def command_line(boot: Boot) -> CommandLine:
    """Return the command line of this boot, and its measured parts in order."""
    stub = boot.uki.stub
    line, taken = _settled(boot)
    for addon in _addons(boot):
        taken.append(Taken(text=addon, source=ADDONS))
        line = f"{line} {addon}" if line else addon
    extra = boot.smbios_cmdline
    # SMBIOS belongs to the host: a confidential VM does not listen to it.
    if extra is not None and stub >= _SMBIOS_SINCE and not boot.confidential:
        if stub < 257:
            # As it comes, behind a space, whatever there is in front.
            taken.append(Taken(text=extra, source=SMBIOS))
            line = f"{_NULL if line is None else line} {extra}"
        elif tidy := mangled(extra, stub):
            taken.append(Taken(text=tidy, source=SMBIOS))
            line = f"{line} {tidy}" if line else tidy
    return CommandLine(whole=line, taken=tuple(taken), unsettled=_unsettled(boot, line))


def handed_over(boot: Boot) -> str | None:
    """Return the load options of the stub: those that were given, or what an old systemd-boot makes up.

    src/boot/boot.c: before 255 systemd-boot passes the .cmdline of a UKI as if somebody had typed it.
    """
    sections = boot.uki.sections(0)
    if boot.load_options is None and boot.loader and boot.loader.version < 255 and ".cmdline" in sections:
        return mangled(text(boot.uki.image, sections[".cmdline"]), boot.loader.version)
    return boot.load_options


def _settled(boot: Boot) -> tuple[str | None, list[Taken]]:
    """Choose between the load options and the section .cmdline."""
    stub = boot.uki.stub
    sections = boot.uki.sections(boot.profile)
    built_in = None
    if ".cmdline" in sections:
        built_in = mangled(text(boot.uki.image, sections[".cmdline"]), stub)
    given = _acceptable(boot, built_in is not None)
    # Since 257 load options of nothing but blanks count as none.
    if given is None or (stub >= 257 and not given):
        return built_in, []
    return given, [Taken(text=given, source=LOAD_OPTIONS)]


def _acceptable(boot: Boot, has_built_in: bool) -> str | None:
    """Return the load options, mangled, if the stub takes them."""
    uki, options = boot.uki, handed_over(boot)
    refused_for_confidential = (uki.stub, uki.point) >= (254, 2) and boot.confidential
    if options is None or (boot.secure_boot.enabled and (has_built_in or refused_for_confidential)):
        return None
    # Binary data of some firmware: judged by the first character, since 259 by all.
    looked_at = options if uki.stub >= 259 else options[:1]
    if not options or any(char <= "\x1f" for char in looked_at):
        return None
    return mangled(options, uki.stub)


def _addons(boot: Boot) -> tuple[str, ...]:
    """Return what the add-ons add, one text for each measurement."""
    stub = boot.uki.stub
    found = [
        (item.addon.is_global, text(item.image, item.sections[".cmdline"]))
        for item in applied(boot)
        if ".cmdline" in item.sections
    ]
    folders = [[line for is_global, line in found if is_global is wanted] for wanted in (True, False)]
    if stub == 254:
        # One measurement a folder.
        joined = [_joined(folder) for folder in folders]
    elif stub < 257:
        joined = [_joined([line for line in map(_joined, folders) if line])]
    else:
        joined = [_joined([mangled(line, stub) for line in (*folders[0], *folders[1])])]
    return tuple(line for line in (mangled(line, stub) for line in joined) if line)


def _joined(lines: Sequence[str]) -> str:
    """Join as the stub does: a space only behind what is not empty."""
    whole = ""
    for line in lines:
        whole = f"{whole} {line}" if whole else line
    return whole


def _unsettled(boot: Boot, line: str | None) -> str:
    stub = boot.uki.stub
    # src/boot/console.c, `cmdline_append_console`: any console= in it keeps the stub from adding one.
    if stub >= _CONSOLE_SINCE and not any(word.startswith("console=") for word in (line or "").split(" ")):
        return (
            "the command line names no console=, so the stub adds those that it finds in the machine; "
            "add console= to .cmdline"
        )
    if line is None and stub >= 258 and handed_over(boot):
        return "the stub sets no command line, so the kernel sees the load options of the boot option"
    return ""

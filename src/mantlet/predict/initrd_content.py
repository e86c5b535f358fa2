# SPDX-License-Identifier: Apache-2.0
"""What an initrd contains that measures: units of systemd that extend registers, NvPCRs, volume keys.

Owns the translation from the files of an initrd into `UserSpace`. It follows systemd's units as of 262 and
how systemd decides that a unit runs: it is wanted by a target, and not masked. It does not look at the root
file system, which follows the initrd and may measure into register 15: the caller says what is known of it.
"""

import json
import stat
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mantlet.predict.authenticode import authenticode_digests
from mantlet.predict.boot import NvPcr, UserSpace
from mantlet.predict.cpio import entries
from mantlet.predict.uki import Uki
from mantlet.predict.user_space import PHASES
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import BANKS, Bank, Register

# Unit paths, the strongest first (systemd.unit(5)), and the rest that is looked at.
_UNIT_FOLDERS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_NVPCR_FOLDERS = ("etc/nvpcr", "usr/lib/nvpcr")
_CRYPTTAB = "etc/crypttab"
_KEPT_PREFIXES = (*(f"{folder}/" for folder in (*_UNIT_FOLDERS, *_NVPCR_FOLDERS, "etc/ima")), _CRYPTTAB)
_KEEP = 64 << 10
_MASK = "/dev/null"

PCROSSEPARATOR = "systemd-pcrosseparator.service"
PCRPHASE_INITRD = "systemd-pcrphase-initrd.service"
PCRNVDONE = "systemd-pcrnvdone.service"
TPM2_SETUP_EARLY = "systemd-tpm2-setup-early.service"
IMDS_IMPORT = "systemd-imds-import.service"
# Units of the root file system that measure into register 15, with what is not known of each beforehand.
ROOT_UNITS: Mapping[str, str] = {
    "systemd-pcrmachine.service": "the machine id",
    "systemd-pcrfs-root.service": "the identity of the root file system",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InitrdContent:
    """Files (first bytes) and symbolic links (target) of the folders that matter, by path."""

    files: Mapping[str, bytes]
    links: Mapping[str, str]

    def runs(self, unit: str) -> bool:
        """Whether the unit is there, wanted by a target, and not masked."""
        paths = [f"{folder}/{unit}" for folder in _UNIT_FOLDERS]
        first = next((path for path in paths if path in self.files or path in self.links), None)
        if first is None or self.links.get(first) == _MASK or not self.files.get(first, b"link"):
            return False
        wanting = (path.split("/")[-2] for path in self._all() if path.endswith(f"/{unit}"))
        return any(folder.endswith((".wants", ".requires", ".upholds")) for folder in wanting)

    def _all(self) -> tuple[str, ...]:
        return (*self.files, *self.links)


def decode(initrd: bytes | memoryview) -> InitrdContent:
    """Read an initrd as Linux unpacks it: later archives replace what earlier ones brought.

    DecodeError on data that Linux would not unpack.
    """
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for entry in entries(initrd, keep=_KEEP):
        if not entry.path.startswith(_KEPT_PREFIXES):
            continue
        files.pop(entry.path, None)
        links.pop(entry.path, None)
        if stat.S_ISREG(entry.mode):
            files[entry.path] = entry.content
        elif stat.S_ISLNK(entry.mode):
            links[entry.path] = entry.content.decode("utf-8", "surrogateescape")
    return InitrdContent(files=files, links=links)


def of_uki(uki: Uki, *, profile: int = 0, banks: tuple[Bank, ...] = BANKS) -> InitrdContent:
    """Read the section .initrd of a UKI; without one there is nothing in it. DecodeError as for `decode`.

    Unpacking takes as long as hashing the image, which register 4 needs anyway: both are done side by side.
    """
    section = uki.sections(profile).get(".initrd")
    if section is None:
        return InitrdContent(files={}, links={})
    with ThreadPoolExecutor(1) as pool:
        hashing = pool.submit(authenticode_digests, uki.image, banks)
        content = decode(uki.image.data[section.raw_offset :][: min(section.raw_size, section.virtual_size)])
        hashing.result()
    return content


def user_space(content: InitrdContent, *, root_units: Collection[str] | None) -> UserSpace:
    """Return what this initrd, and the root behind it, will measure.

    root_units: the units of the root file system that run, of those in ROOT_UNITS; None when the root is not
    known, which leaves register 15 open.
    """
    unpredictable: dict[int, str] = {}
    if content.runs(IMDS_IMPORT):
        unpredictable[Register.KERNEL_CONFIG] = "the initrd measures the user data of the cloud's IMDS"
    if any(path.startswith("etc/ima/") for path in content.files):
        unpredictable[Register.IMA] = "the initrd brings an IMA policy, and the kernel measures by it"
    if reason := _identity(content, root_units):
        unpredictable[Register.SYSTEM_IDENTITY] = reason
    return UserSpace(
        os_separator=content.runs(PCROSSEPARATOR),
        phases=PHASES if content.runs(PCRPHASE_INITRD) else (),
        nvpcrs=_nvpcrs(content) if content.runs(TPM2_SETUP_EARLY) else (),
        nvpcr_separator=content.runs(PCRNVDONE),
        unpredictable=unpredictable,
    )


def _identity(content: InitrdContent, root_units: Collection[str] | None) -> str:
    if b"tpm2-measure-pcr=" in content.files.get(_CRYPTTAB, b""):
        return "the initrd measures the key of an encrypted volume (crypttab, tpm2-measure-pcr=)"
    if root_units is None:
        return (
            "units of the root file system may measure the machine id and file systems, and it was not given"
        )
    measured = [what for unit, what in ROOT_UNITS.items() if unit in root_units]
    return f"systemd measures {' and '.join(measured)}" if measured else ""


def _nvpcrs(content: InitrdContent) -> tuple[NvPcr, ...]:
    """Read the *.nvpcr files; one in /etc replaces its namesake, a link to /dev/null hides it."""
    found: dict[str, NvPcr | None] = {}
    for folder in _NVPCR_FOLDERS:
        for path in sorted((*content.files, *content.links)):
            name = path.removeprefix(f"{folder}/")
            if name == path or not name.endswith(".nvpcr") or name in found:
                continue
            found[name] = None if path in content.links else _nvpcr(path, content.files[path])
    return tuple(nvpcr for nvpcr in found.values() if nvpcr is not None)


def _nvpcr(path: str, data: bytes) -> NvPcr:
    try:
        fields = json.loads(data)
        return NvPcr(
            name=str(fields["name"]), index=int(fields["nvIndex"]), algorithm=str(fields["algorithm"])
        )
    # An integer that is written as a float may be infinite.
    except (ValueError, OverflowError, KeyError, TypeError, RecursionError):
        raise DecodeError(
            f"initrd file {path}", expected="an object with name, nvIndex and algorithm", found="none"
        ) from None

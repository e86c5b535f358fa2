# SPDX-License-Identifier: Apache-2.0
"""Programs of other people that compute a part of what Mantlet predicts, each behind one function.

systemd-measure (register 11), virt-fw-measure (register 7 up to its separator), lief, pesign (Authenticode).
They share no code with each other or with us. `KNOWN` says where one of them is known to say something else,
and who is right: a test fails when that is no longer so.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import lief

from mantlet.edge import process
from mantlet_measure.pcr import BANKS, Bank
from tests.vm.agreement.bench import Bench
from tests.vm.agreement.scenarios import Suite

OURS, KERNEL, ADDON, UNEVEN = "our image", "our kernel", "an add-on", "systemd-boot 252, unsigned"
UKIS: tuple[str, ...] = (
    OURS,
    *(f"stub {suite.systemd}, {signed}" for suite in Suite for signed in ("signed", "unsigned")),
)
PROGRAMS: tuple[str, ...] = (
    *(*UKIS, KERNEL, ADDON),
    *(f"systemd-boot {suite.systemd}, signed" for suite in Suite if suite is not Suite.BOOKWORM),
    # Its size is no multiple of 8, and a symbol table follows its sections.
    UNEVEN,
)

SYSTEMD_MEASURE, VIRT_FW_MEASURE, LIEF, PESIGN = "systemd-measure", "virt-fw-measure", "lief", "pesign"
OUR_KEYS, SETUP_MODE = "our keys", "setup mode"
_OLD_STUB = "it takes .sbat, which stubs measure since 254; boots of the stub of 252 do not show it"
KNOWN: Mapping[tuple[str, str], str] = {
    (SYSTEMD_MEASURE, "stub 252, signed"): _OLD_STUB,
    (SYSTEMD_MEASURE, "stub 252, unsigned"): _OLD_STUB,
    (PESIGN, UNEVEN): "it pads the file to 8 bytes before it hashes it, as for a signature; EDK2 does not",
    (VIRT_FW_MEASURE, SETUP_MODE): (
        "it leaves out variables that do not exist; EDK2 measures their names, as boots in setup mode show"
    ),
}

_MEASURE = "/usr/lib/systemd/systemd-measure"
# systemd-measure(1): the sections that it takes, one option each.
_SECTIONS = ("linux", "osrel", "cmdline", "initrd", "ucode", "splash", "dtb", "uname", "sbat", "pcrpkey")
PHASES: tuple[str, ...] = ("", "enter-initrd", "enter-initrd:leave-initrd")


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """Makes the files, and runs the tools on them."""

    bench: Bench
    folder: Path

    def path(self, name: str) -> Path:
        """The file of a subject."""
        bench = self.bench
        if name == OURS:
            return bench.built.path("uki.efi")
        if name == KERNEL:
            return bench.kernel
        if name == ADDON:
            stub = bench.loaders(Suite.FORKY).addon_stub
            return bench.workshop.addon("crosscheck", "one=1", stub=stub, signed=True)
        program, signed = name.split(", ")
        kind, version = program.split(" ")
        suite = next(each for each in Suite if each.systemd == int(version))
        make = bench.uki if kind == "stub" else bench.loader
        return make(suite, signed=signed == "signed")

    def run(self, *argv: str | Path, read: Path) -> bytes:
        """Run a program of the tools tree that sees one file and our folder."""
        words = [str(word) for word in argv]
        return process.run(self.bench.tools.command(words, ro=[read], rw=[self.folder])).stdout


def systemd_measure(subjects: Subjects, name: str) -> Mapping[tuple[str, Bank], bytes]:
    """Register 11 by phase path and bank, of the sections that lief finds in the UKI."""
    words: list[str] = []
    image = lief.PE.parse(str(subjects.path(name)))
    assert isinstance(image, lief.PE.Binary)
    for section in image.sections:
        option = str(section.name).removeprefix(".")
        if option in _SECTIONS:
            file = subjects.folder / option
            file.write_bytes(bytes(section.content)[: section.virtual_size])
            words.append(f"--{option}={file}")
    words += [f"--phase={phase or ':'}" for phase in PHASES]
    said = json.loads(subjects.run(_MEASURE, "calculate", *words, "--json=short", read=subjects.path(name)))
    return {
        (entry.get("phase", ""), bank): bytes.fromhex(entry["hash"]) for bank in BANKS for entry in said[bank]
    }


def virt_fw_measure(subjects: Subjects, store: Path, *, secure_boot: bool) -> Mapping[Bank, bytes]:
    """Register 7 up to the separator behind the variables."""
    words = () if secure_boot else ("--no-secure-boot",)
    banks = [f"--bank={bank}" for bank in BANKS]
    said = subjects.run(
        "virt-fw-measure", f"--vars={store}", "--digests", "--no-shim", *banks, *words, read=store
    )
    return {
        Bank(entry["hashAlg"]): bytes.fromhex(entry["digest"])
        for entry in json.loads(said)["values"]
        if entry["pcr"] == 7
    }


def by_lief(subjects: Subjects, name: str, bank: Bank) -> bytes:
    """The Authenticode hash."""
    image = lief.PE.parse(str(subjects.path(name)))
    assert isinstance(image, lief.PE.Binary)
    algorithm = {Bank.SHA256: lief.PE.ALGORITHMS.SHA_256, Bank.SHA384: lief.PE.ALGORITHMS.SHA_384}[bank]
    return bytes(image.authentihash(algorithm))


def by_pesign(subjects: Subjects, name: str, bank: Bank) -> bytes:
    """The Authenticode hash; pesign knows SHA-256 alone of our banks."""
    assert bank is Bank.SHA256
    path = subjects.path(name)
    said = subjects.run("pesign", "--hash", f"--in={path}", read=path).decode("ascii")
    return next(bytes.fromhex(word) for word in said.split() if len(word) == 2 * bank.size)


AUTHENTICODE: Mapping[str, Callable[[Subjects, str, Bank], bytes]] = {LIEF: by_lief, PESIGN: by_pesign}

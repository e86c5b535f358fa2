# SPDX-License-Identifier: Apache-2.0
"""What lies beside a manifest in a build folder: the UKI, the firmware variables, the packages.

Owns the names and the reading. A build folder has them all; a published manifest stands alone, and then each
can be named by an option.
"""

from dataclasses import dataclass
from pathlib import Path

from mantlet.edge import files
from mantlet.explain import inventory
from mantlet.predict import uki as unified
from mantlet.predict.pe import LIMIT
from mantlet.predict.uki import Uki
from mantlet.predict.variables import LIMIT as STORE_LIMIT
from mantlet.predict.variables import SecureBootKeys, decode_store, secure_boot_keys

UKI_NAME = "uki.efi"
STORE_NAME = "OVMF_VARS.fd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """Paths of what was found, or named; None where there is none."""

    uki: Path | None
    variables: Path | None
    packages: Path | None
    contents: Path | None

    def read_uki(self) -> Uki | None:
        """Read and decode the UKI."""
        return None if self.uki is None else unified.decode(files.read(self.uki, limit=LIMIT, what="UKI"))

    def read_keys(self) -> SecureBootKeys | None:
        """Read the Secure Boot keys out of the variable store."""
        if self.variables is None:
            return None
        data = files.read(self.variables, limit=STORE_LIMIT, what=STORE_NAME)
        return secure_boot_keys(decode_store(data), what=str(self.variables))

    def read_packages(self) -> bytes | None:
        """Read the list of packages, undecoded."""
        return _read(self.packages)

    def read_contents(self) -> bytes | None:
        """Read the list of files, undecoded."""
        return _read(self.contents)


def _read(path: Path | None) -> bytes | None:
    return None if path is None else files.read(path, limit=inventory.LIMIT, what="inventory")


def beside(path: Path, *, uki: Path | None = None, variables: Path | None = None) -> Artefacts:
    """Return what lies in a build folder, or beside nothing when `path` is a file; options win."""

    def found(name: str) -> Path | None:
        candidate = path / name
        return candidate if path.is_dir() and candidate.is_file() else None

    return Artefacts(
        uki=uki or found(UKI_NAME),
        variables=variables or found(STORE_NAME),
        packages=found(inventory.PACKAGES),
        contents=found(inventory.CONTENTS),
    )

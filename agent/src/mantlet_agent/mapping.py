# SPDX-License-Identifier: Apache-2.0
"""Device-mapper tables of a weights pack (docs/formats.md, *Weights pack*). Pure.

Owns the two target lines: dm-crypt below, dm-verity above it. Their syntax is that of the kernel's
Documentation/admin-guide/device-mapper/{dm-crypt,verity}.rst. Who loads them is `mapper`.
"""

from dataclasses import dataclass

from mantlet_measure.deployment import BLOCK, Model
from mantlet_measure.disk_key import SIZE

KEY_DESCRIPTION = "mantlet:weights"
_SECTOR = 512
_CRYPT_OPTIONS = (f"sector_size:{BLOCK}", "iv_large_sectors", "no_read_workqueue", "no_write_workqueue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target that fills a mapping: its length in 512-byte sectors, its type, its parameters."""

    sectors: int
    type: str
    parameters: str


def crypt(model: Model, *, device: str) -> Target:
    """Return the cipher's target over `device` (MAJOR:MINOR); the key is in the session keyring."""
    key = f":{SIZE}:logon:{KEY_DESCRIPTION}"
    options = f"{len(_CRYPT_OPTIONS)} {' '.join(_CRYPT_OPTIONS)}"
    return Target(
        sectors=model.size // _SECTOR,
        type="crypt",
        # <cipher> <key> <iv_offset> <device path> <offset> [<#opt_params> <opt_params>]
        parameters=f"aes-xts-plain64 {key} 0 {device} 0 {options}",
    )


def verity(model: Model, *, device: str) -> Target:
    """Return the target that shows blocks of `device` only as far as they hash to the root hash."""
    return Target(
        sectors=model.data_blocks * BLOCK // _SECTOR,
        type="verity",
        # <version> <dev> <hash_dev> <data_block_size> <hash_block_size> <num_data_blocks> <hash_start_block>
        # <algorithm> <digest> <salt>
        parameters=f"1 {device} {device} {BLOCK} {BLOCK} {model.data_blocks} {model.hash_offset // BLOCK} "
        f"sha256 {model.root_hash.hex()} {model.salt.hex()}",
    )

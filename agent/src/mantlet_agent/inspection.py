# SPDX-License-Identifier: Apache-2.0
"""Stage inspect: is this a measured boot, and is it the agent's first run in it.

Owns the conditions on the TPM and on the logs. They catch a machine that could never prove anything; whether
the measurements are the right ones is for the TPM's policy and for the verifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mantlet_agent import files
from mantlet_agent.stages import Code, StageError
from mantlet_measure.cel import decode_system_log
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import BANKS, Register

if TYPE_CHECKING:
    from pathlib import Path

    from mantlet_agent.places import Places
    from mantlet_agent.tpm import Tpm

_LOG_LIMIT = 1 << 20
_FIRST_PHASE = b"enter-initrd"


def inspect_tpm(tpm: Tpm) -> None:
    """Refuse a TPM without both banks, an unmeasured boot, and a register 15 that is not untouched."""
    active = tpm.active_banks()
    if not {bank.tpm_alg for bank in BANKS} <= active:
        raise StageError(Code.BANKS_INACTIVE, f"expected banks sha256 and sha384, found {sorted(active)}")
    values = tpm.read((Register.PLATFORM_CODE, Register.SECURE_BOOT_POLICY, Register.SYSTEM_IDENTITY))
    for bank in BANKS:
        for register in (Register.PLATFORM_CODE, Register.SECURE_BOOT_POLICY):
            if not any(values[bank][register]):
                raise StageError(Code.REGISTERS_EMPTY, f"{bank.value} register {register.value} is zero")
        if any(values[bank][Register.SYSTEM_IDENTITY]):
            raise StageError(Code.REGISTER_USED, f"{bank.value} register 15 is not zero")


def copy_logs(places: Places) -> None:
    """Copy the firmware's and systemd's logs to where `serve` can read them. StageError."""
    firmware = _read(places.firmware_log, Code.FIRMWARE_LOG_ABSENT)
    system = _read(places.system_log, Code.SYSTEM_LOG_ABSENT)
    try:
        log = decode_system_log(system).complete(BANKS)
    except DecodeError as error:
        raise StageError(Code.SYSTEM_LOG_ABSENT, error.message) from error
    phase = {bank: bank.digest(_FIRST_PHASE) for bank in BANKS}.items()
    # The log has the digests of other active banks too.
    if not any(e.register == Register.KERNEL_BOOT and phase <= e.digests.items() for e in log.events):
        raise StageError(Code.PHASE_ABSENT)
    files.write(places.firmware_log_copy, firmware, mode=0o644)
    files.write(places.system_log_copy, system, mode=0o644)


def _read(path: Path, absent: Code) -> bytes:
    try:
        content = files.read(path, limit=_LOG_LIMIT)
    except (OSError, DecodeError) as error:
        raise StageError(absent, f"{path}: {error}") from error
    if not content:
        raise StageError(absent, f"{path} is empty")
    return content

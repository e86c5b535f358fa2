# SPDX-License-Identifier: Apache-2.0
"""Is this a measured boot, is it the agent's first run in it, and is its kernel closed before a key comes.

Owns the conditions on the TPM, on the logs and on the kernel. They catch a machine that could never prove
anything; whether the measurements are the right ones is for the TPM's policy and for the verifier.
"""

from __future__ import annotations

import time
from contextlib import suppress
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
# The agent starts beside systemd-modules-load and systemd-sysctl, which have long ended when it comes to ask.
_CLOSING_SECONDS = 60.0
_POLL_SECONDS = 0.05


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


def require_closed_kernel(places: Places, *, seconds: float = _CLOSING_SECONDS) -> None:
    """Wait until the kernel takes no module any more: those of the weights are there, and no other comes.

    StageError, when it still takes some after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError):
            if places.modules_disabled.read_bytes() == b"1\n":
                return
        if time.monotonic() >= deadline:
            raise StageError(Code.KERNEL_OPEN, f"{places.modules_disabled}: not 1 after {seconds} s")
        time.sleep(_POLL_SECONDS)


def _read(path: Path, absent: Code) -> bytes:
    try:
        content = files.read(path, limit=_LOG_LIMIT)
    except (OSError, DecodeError) as error:
        raise StageError(absent, f"{path}: {error}") from error
    if not content:
        raise StageError(absent, f"{path} is empty")
    return content

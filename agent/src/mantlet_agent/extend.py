# SPDX-License-Identifier: Apache-2.0
"""One TPM command, TPM2_PCR_Extend, made and asked by hand (TPM 2.0 Library, Part 3, 22.2).

Owns its bytes and their way to the kernel's resource manager, for the one process that must not wait for
tpm2-pytss to load, nor hold it in memory. All else that is asked of the TPM goes through `tpm`.
"""

import os
import struct
import time
from pathlib import Path

from mantlet_agent.stages import Code, StageError
from mantlet_measure.pcr import BANKS

_TPM_ST_SESSIONS = 0x8002
_TPM_CC_PCR_EXTEND = 0x00000182
_TPM_RS_PW = 0x40000009
_HEADER = struct.Struct(">HII")
# TPMS_AUTH_COMMAND: the password session, no nonce, no attribute, an empty password.
_AUTHORISATION = struct.pack(">IHBH", _TPM_RS_PW, 0, 0, 0)
_RESPONSE_LIMIT = 4096
# Part 2, 6.6.3: warnings, which say that the same command may do later.
_RC_WARN = 0x900
_ATTEMPTS = 100
_PAUSE_SECONDS = 0.02


def command(register: int, data: bytes) -> bytes:
    """Return the command that extends a register of both banks with the digest of `data`."""
    digests = b"".join(bank.tpm_alg.to_bytes(2, "big") + bank.digest(data) for bank in BANKS)
    body = (
        register.to_bytes(4, "big")
        + len(_AUTHORISATION).to_bytes(4, "big")
        + _AUTHORISATION
        + len(BANKS).to_bytes(4, "big")
        + digests
    )
    return _HEADER.pack(_TPM_ST_SESSIONS, _HEADER.size + len(body), _TPM_CC_PCR_EXTEND) + body


def open_device(path: Path, *, seconds: float) -> int:
    """Open the resource manager's node, which udev may still have to give to our group. StageError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if time.monotonic() > deadline:
                raise StageError(Code.TPM_ABSENT, str(error)) from error
        time.sleep(_PAUSE_SECONDS)


def send(device: int, sent: bytes) -> None:
    """Have the TPM carry a command out. StageError when it does not."""
    code = 0
    for _ in range(_ATTEMPTS):
        try:
            os.write(device, sent)
            response = os.read(device, _RESPONSE_LIMIT)
            _, _, code = _HEADER.unpack_from(response)
        except (OSError, struct.error) as error:
            raise StageError(Code.TPM_ERROR, str(error)) from error
        if code & ~0x3F != _RC_WARN:
            break
        time.sleep(_PAUSE_SECONDS)
    if code != 0:
        raise StageError(Code.TPM_ERROR, f"TPM2_PCR_Extend: expected response code 0, found {code:#x}")

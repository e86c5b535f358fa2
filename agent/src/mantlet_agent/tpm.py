# SPDX-License-Identifier: Apache-2.0
"""The TPM: its banks, its registers, its primary keys (TPM 2.0 Library, Parts 2 and 3).

Owns the connection, and the only extend of the agent. Unsealing is in `unseal`, quoting in `attest`. The
import of tpm2-pytss takes seconds on an emulated machine, so nothing imports this module before it must.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, TracebackType
from typing import Any, Self

from mantlet_agent.stages import Code, StageError
from mantlet_measure.pcr import BANKS, Bank

# tpm2-tss writes every refused command to stderr unless told so before it is loaded.
os.environ.setdefault("TSS2_LOG", "all+NONE")

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_CAP,
    TPM2B_PUBLIC,
    TPMA_OBJECT,
    TPMA_SESSION,
    TPML_DIGEST_VALUES,
    TPML_PCR_SELECTION,
    TPMT_HA,
    TPMT_SYM_DEF,
    TPMU_HA,
    TSS2_Exception,
    types,
)

REGISTERS = tuple(range(16))
_READ_AT_ONCE = 8
# TPM 2.0 Library, Part 2, TPM2_ALG_ID: the banks that are extended when they are active.
_HASHES: Mapping[int, str] = MappingProxyType(
    {0x0004: "sha1", 0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
)

SRK_HANDLE = 0x81000001  # TCG TPM v2.0 Provisioning Guidance, 7.8
EK_HANDLE = 0x81010001  # the same, table 2
EK_CERTIFICATE_INDEX = 0x01C00002  # TCG EK Credential Profile, 2.2.1.4

_RC_WARN = 0x900

_STORAGE = (
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.DECRYPT
)
# TCG EK Credential Profile, annex B.3: PolicyA, PolicySecret(TPM_RH_ENDORSEMENT)
_EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")


def selection(registers: tuple[int, ...], banks: tuple[Bank, ...] = BANKS) -> Any:
    """Return a TPML_PCR_SELECTION of the registers in each bank, in order, three octets each."""
    numbers = ",".join(str(register) for register in registers)
    return TPML_PCR_SELECTION.parse("+".join(f"{bank.value}:{numbers}" for bank in banks))


def structure(kind: Any, **content: bytes) -> Any:
    """Return a sized TPM structure around foreign bytes. ValueError when they do not fit into it."""
    try:
        return kind(**content)
    except IndexError as error:
        raise ValueError(str(error)) from error


class Tpm:
    """An open TPM. One thread only: ESAPI contexts cannot be shared."""

    def __init__(self, esapi: Any) -> None:
        """Take an ESAPI context. `open` makes one."""
        self.esapi = esapi
        self._keys: dict[str, tuple[Any, Any]] = {}
        self._persistent_keys: set[str] = set()
        self._active_banks: frozenset[int] | None = None

    @classmethod
    def open(cls, tcti: str) -> Self:
        """Connect through a TCTI, such as `device:/dev/tpmrm0`. StageError when no TPM answers."""
        try:
            return cls(ESAPI(tcti))
        except (TSS2_Exception, RuntimeError, OSError) as error:
            raise StageError(Code.TPM_ABSENT, f"{tcti}: {error}") from error

    def __enter__(self) -> Self:
        """Return the TPM itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; the kernel's resource manager flushes what is left."""
        self.esapi.close()

    def active_banks(self) -> frozenset[int]:
        """Return the TPM2_ALG_IDs of the banks that have registers: the same from reset to reset."""
        if self._active_banks is None:
            with commands():
                _, data = self.esapi.get_capability(TPM2_CAP.PCRS, 0, 1)
            self._active_banks = frozenset(
                int(bank.hash) for bank in data.data.assignedPCR if any(bytes(bank.pcrSelect))
            )
        return self._active_banks

    def read(self, registers: tuple[int, ...] = REGISTERS) -> Mapping[Bank, Mapping[int, bytes]]:
        """Read registers of both banks."""
        return {bank: dict(self._read(bank, registers)) for bank in BANKS}

    def _read(self, bank: Bank, registers: tuple[int, ...]) -> Iterator[tuple[int, bytes]]:
        # TPM2_PCR_Read returns eight values at most (Part 3, 22.4).
        for start in range(0, len(registers), _READ_AT_ONCE):
            asked = registers[start : start + _READ_AT_ONCE]
            with commands():
                _, _, values = self.esapi.pcr_read(selection(asked, (bank,)))
            if len(values) != len(asked):
                raise StageError(
                    Code.TPM_ERROR, f"asked for registers {asked} of {bank.value}, got {len(values)}"
                )
            yield from ((register, bytes(value)) for register, value in zip(asked, values, strict=True))

    def extend(self, register: int, data: bytes) -> None:
        """Extend a register of every active bank with the digest of `data`."""
        digests = []
        for algorithm in sorted(self.active_banks()):
            if algorithm not in _HASHES:
                raise StageError(Code.BANKS_INACTIVE, f"bank {algorithm:#06x} cannot be extended")
            name = _HASHES[algorithm]
            digest = hashlib.new(name, data, usedforsecurity=True).digest()
            digests.append(TPMT_HA(hashAlg=algorithm, digest=TPMU_HA(**{name: digest})))
        with commands():
            self.esapi.pcr_extend(ESYS_TR(register), TPML_DIGEST_VALUES(digests=digests))

    def storage_root(self) -> tuple[Any, Any]:
        """Return handle and TPMT_PUBLIC of the SRK: persistent if that is of the template, else the primary.

        TCG EK Credential Profile template L-2 with the attributes of the Provisioning Guidance, as systemd
        makes it: whoever creates it first, the key is the same.
        """
        return self._primary(
            "srk",
            ESYS_TR.OWNER,
            TPM2B_PUBLIC.parse("ecc256:aes128cfb", _STORAGE | TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA),
            persistent=SRK_HANDLE,
        )

    def storage_root_is_persistent(self) -> bool:
        """Whether the SRK outlives the owner's password."""
        self.storage_root()
        return "srk" in self._persistent_keys

    @contextmanager
    def session(self, kind: Any, attributes: Any = TPMA_SESSION.CONTINUESESSION) -> Iterator[Any]:
        """Give a session that is salted to the SRK, with AES-128-CFB for the parameters it encrypts."""
        parent, _ = self.storage_root()
        with commands():
            session = self.esapi.start_auth_session(
                parent,
                ESYS_TR.NONE,
                kind,
                TPMT_SYM_DEF(
                    algorithm=TPM2_ALG.AES,
                    keyBits=types.TPMU_SYM_KEY_BITS(aes=128),
                    mode=types.TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
                ),
                TPM2_ALG.SHA256,
            )
        try:
            with commands():
                self.esapi.trsess_set_attributes(session, attributes)
            yield session
        finally:
            self.esapi.flush_context(session)

    def endorsement(self) -> tuple[Any, Any]:
        """Return handle and TPMT_PUBLIC of the EK: RSA 2048, template L-1 of the EK Credential Profile."""
        template = TPM2B_PUBLIC.parse(
            "rsa2048:aes128cfb", _STORAGE | TPMA_OBJECT.ADMINWITHPOLICY, authPolicy=_EK_POLICY
        )
        template.publicArea.unique.rsa.buffer = bytes(256)
        return self._primary("ek", ESYS_TR.ENDORSEMENT, template, persistent=EK_HANDLE)

    def attestation(self) -> tuple[Any, Any]:
        """Return handle and TPMT_PUBLIC of the AK: an endorsement primary, the same at each boot."""
        attributes = (
            TPMA_OBJECT.FIXEDTPM
            | TPMA_OBJECT.FIXEDPARENT
            | TPMA_OBJECT.SENSITIVEDATAORIGIN
            | TPMA_OBJECT.USERWITHAUTH
            | TPMA_OBJECT.RESTRICTED
            | TPMA_OBJECT.SIGN_ENCRYPT
        )
        template = TPM2B_PUBLIC.parse("ecc256:ecdsa_sha256:null", attributes)
        return self._primary("ak", ESYS_TR.ENDORSEMENT, template, persistent=None)

    def _primary(
        self, name: str, hierarchy: Any, template: Any, *, persistent: int | None
    ) -> tuple[Any, Any]:
        if name not in self._keys:
            found = None if persistent is None else self._persistent(persistent, template)
            if found is not None:
                self._persistent_keys.add(name)
            else:
                with commands():
                    handle, public, *_ = self.esapi.create_primary(None, template, hierarchy)
                found = handle, public.publicArea
            self._keys[name] = found
        return self._keys[name]

    def _persistent(self, handle: int, template: Any) -> tuple[Any, Any] | None:
        try:
            key = self.esapi.tr_from_tpmpublic(handle)
            public = self.esapi.read_public(key)[0].publicArea
        except TSS2_Exception:
            return None
        unlike = template.publicArea
        same = all(
            getattr(public, field) == getattr(unlike, field)
            for field in ("type", "nameAlg", "objectAttributes")
        )
        same = same and bytes(public.authPolicy) == bytes(unlike.authPolicy)
        same = same and public.parameters.marshal(public.type) == unlike.parameters.marshal(unlike.type)
        return (key, public) if same else None


def unmarshal(kind: Any, data: bytes, malformed: Code) -> Any:
    """Return the TPM structure that `data` is, to its last byte. StageError with `malformed`."""
    try:
        value, used = kind.unmarshal(data)
    except TSS2_Exception as error:
        raise StageError(malformed, str(error)) from error
    if used != len(data):
        raise StageError(malformed, f"expected a structure of {used} bytes, found {len(data)}")
    return value


@contextmanager
def commands() -> Iterator[None]:
    """Turn a failed TPM command that has nothing to refuse into a StageError."""
    try:
        yield
    except TSS2_Exception as error:
        raise StageError(Code.TPM_ERROR, str(error)) from error


def refused(error: Any, code: Code) -> StageError:
    """Return what a failed command means: `code`, unless the TPM only says that it cannot just now.

    TPM 2.0 Library, Part 2, 6.6.3: response codes of format zero with RC_WARN, such as a lack of memory.
    """
    warned = error.rc & ~0x3F == _RC_WARN
    return StageError(Code.TPM_ERROR if warned else code, str(error))

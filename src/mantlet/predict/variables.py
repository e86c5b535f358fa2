# SPDX-License-Identifier: Apache-2.0
"""The variable store of OVMF (EDK2, MdeModulePkg/Include/Guid/VariableFormat.h; UEFI PI, *Firmware Volume*).

Owns the decoding of OVMF_VARS.fd into variables, and what variables, from there or elsewhere, say of Secure
Boot. It refuses a store in the middle of an update.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from mantlet_measure.errors import DecodeError, shown
from mantlet_measure.reader import Reader

WHAT = "OVMF_VARS.fd"
LIMIT = 16 << 20
_HINT = "enrol the keys again: `mantlet build` writes a fresh OVMF_VARS.fd"
_NV_DATA = UUID("fff12b8d-7696-4c8b-a985-2747075b4f50")
_AUTHENTICATED_STORE = UUID("aaf32c78-947b-439a-a180-2e144ec37792")
GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
IMAGE_SECURITY = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
SECURE_BOOT_ENABLE = UUID("f0a30bc7-af08-4556-99c4-001009c93a44")

# States clear bits of 0xff: header valid 0x7f, added 0x3f, in deleted transition & 0xfe, deleted & 0xfd.
_ADDED = 0x3F
_DELETED_BIT = 0x02

Variables = Mapping[tuple[UUID, str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureBootKeys:
    """Contents of PK, KEK, db and dbx: EFI signature lists; empty where the variable does not exist."""

    pk: bytes
    kek: bytes
    db: bytes
    dbx: bytes


def decode_store(data: bytes) -> Variables:
    """Return {(vendor GUID, name): data} of an authenticated variable store. DecodeError on anything else."""
    if len(data) > LIMIT:
        raise DecodeError(WHAT, expected=f"at most {LIMIT} bytes", found=str(len(data)))
    volume = Reader(data, WHAT)
    volume.take(16)
    _guid(volume, _NV_DATA, "a firmware volume of variables")
    length = volume.u64le()
    if (signature := volume.take(4)) != b"_FVH" or length > len(data):
        volume.refuse(expected="a firmware volume that the file holds", found=shown(signature))
    volume.take(4)
    header_size = volume.u16le()
    if not 56 <= header_size <= 1024:
        volume.refuse(expected="a firmware volume header of 56 to 1024 bytes", found=str(header_size))
    volume.take(header_size - volume.offset)
    _guid(volume, _AUTHENTICATED_STORE, "an authenticated variable store")
    size = volume.u32le()
    if (state := volume.take(2)) != b"\x5a\xfe" or not 28 <= size <= length - header_size:
        volume.refuse(
            expected="a formatted, healthy store inside its volume",
            found=f"state {state.hex()}, {size} bytes",
        )
    volume.take(6)
    return _variables(Reader(volume.take(size - 28), WHAT))


def _guid(reader: Reader, wanted: UUID, name: str) -> None:
    start = reader.offset
    found = UUID(bytes_le=reader.take(16))
    if found != wanted:
        reader.refuse(expected=f"{name} ({wanted})", found=str(found), offset=start)


def _variables(store: Reader) -> Variables:
    """Read AUTHENTICATED_VARIABLE_HEADERs, each aligned to 4 bytes, until erased flash."""
    variables: dict[tuple[UUID, str], bytes] = {}
    while store.left >= 60:
        start = store.offset
        if (magic := store.u16le()) == 0xFFFF:
            break
        if magic != 0x55AA:
            store.refuse(expected="a variable or erased flash", found=f"0x{magic:04x}", offset=start)
        state = store.u8()
        store.take(1 + 4 + 8 + 16 + 4)  # Reserved, Attributes, MonotonicCount, TimeStamp, PubKeyIndex
        name_size, data_size = store.u32le(), store.u32le()
        vendor = UUID(bytes_le=store.take(16))
        raw_name, content = store.take(name_size), store.take(data_size)
        store.take(min(-(name_size + data_size) % 4, store.left))
        if not state & _DELETED_BIT:
            continue
        name = raw_name.decode("utf-16-le", "replace")
        if state != _ADDED or not name.endswith("\0") or (vendor, name[:-1]) in variables:
            store.refuse(
                expected="a settled variable, once",
                found=f"{shown(name)} in state 0x{state:02x}",
                offset=start,
            )
        variables[vendor, name[:-1]] = content
    return variables


def enforced(variables: Variables) -> bool:
    """Return whether the firmware enforces signatures: a PK is enrolled, and nobody switched it off.

    EDK2, AuthVariableLib: SecureBootEnable is made, and is 1, when it is missing and a PK is there.
    """
    switch = variables.get((SECURE_BOOT_ENABLE, "SecureBootEnable"), b"\x01")
    return bool(variables.get((GLOBAL, "PK"))) and switch == b"\x01"


def secure_boot_keys(variables: Variables, *, what: str = WHAT) -> SecureBootKeys:
    """Return PK, KEK, db and dbx. DecodeError when there are lists that nothing here predicts."""
    for name in ("dbt", "dbr"):
        # EDK2 Tcg2Dxe measures these two when they exist; nobody enrols them here, so nothing predicts them.
        if variables.get((IMAGE_SECURITY, name)):
            raise DecodeError(what, expected=f"no variable {name}", found="one", hint=_HINT)
    return SecureBootKeys(
        pk=variables.get((GLOBAL, "PK"), b""),
        kek=variables.get((GLOBAL, "KEK"), b""),
        db=variables.get((IMAGE_SECURITY, "db"), b""),
        dbx=variables.get((IMAGE_SECURITY, "dbx"), b""),
    )

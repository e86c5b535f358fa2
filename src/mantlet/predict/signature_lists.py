# SPDX-License-Identifier: Apache-2.0
"""EFI signature lists, the contents of PK, KEK, db and dbx (UEFI 2.10, 32.4.1, *Signature Database*).

Owns their decoding. Which entry authorises an image is `mantlet.predict.authorisation`'s matter.
"""

from dataclasses import dataclass
from uuid import UUID

from mantlet_measure.errors import DecodeError
from mantlet_measure.reader import Reader

X509 = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
SHA256 = UUID("c1c41626-504c-4092-aca9-41f936934328")
# Only in dbx: the hash of a certificate's to-be-signed part, then the time from which it is revoked.
X509_SHA256 = UUID("3bd2a492-96c0-4079-b420-fcf98ef103ed")
X509_SHA384 = UUID("7076876e-80c2-4ee6-aad2-28b349a6865b")
X509_SHA512 = UUID("446dbf63-2502-4cda-bcfa-2465d2b0fe9d")
LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """EFI_SIGNATURE_DATA: who enrolled it, and a certificate (DER) or a hash, as `type` says."""

    type: UUID
    owner: UUID
    data: bytes

    def encoded(self) -> bytes:
        """Return EFI_SIGNATURE_DATA, the bytes that an authority event measures."""
        return self.owner.bytes_le + self.data


def decode(data: bytes, *, what: str) -> tuple[Entry, ...]:
    """Return the entries of all lists in `data`, in order; `what` names the variable in a DecodeError."""
    if len(data) > LIMIT:
        raise DecodeError(what, expected=f"at most {LIMIT} bytes", found=str(len(data)))
    reader = Reader(data, what)
    entries: list[Entry] = []
    while reader.left:
        start = reader.offset
        kind = UUID(bytes_le=reader.take(16))
        list_size, header_size, entry_size = reader.u32le(), reader.u32le(), reader.u32le()
        body = list_size - 28 - header_size
        if entry_size <= 16 or body <= 0 or body % entry_size:
            reader.refuse(
                expected="a list of whole signatures",
                found=f"{list_size} bytes, header {header_size}, signatures of {entry_size}",
                offset=start,
            )
        reader.take(header_size)
        for _ in range(body // entry_size):
            owner = UUID(bytes_le=reader.take(16))
            entries.append(Entry(type=kind, owner=owner, data=reader.take(entry_size - 16)))
    return tuple(entries)

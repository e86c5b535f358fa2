# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed, and the sound documents that the damage starts from.

The decoders and their samples are those of the property tests, so that a new one is fuzzed as well; this adds
whole initrds in each compression, whole disks, and what is done with an image or a log once it is decoded.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding

from mantlet.explain import account, inventory
from mantlet.explain import keys as explained
from mantlet.predict import disk, gpt, initrd_content, kernel_boot, pe, uki
from mantlet.predict.authenticode import authenticode_digests
from mantlet.predict.authorisation import UnauthorisedError, authority
from mantlet.predict.secure_boot import variable_data
from mantlet.predict.signature_lists import X509
from mantlet.predict.variables import IMAGE_SECURITY, SecureBootKeys
from mantlet_measure.cel import decode_system_log
from mantlet_measure.eventlog import decode_firmware_log
from mantlet_measure.pcr import BANKS
from tests.property import test_decoders, test_media
from tests.property.test_decoders import DIGEST, UNSIGNED
from tests.unit.measure import recorded, samples
from tests.unit.predict import media, signing, synthetic
from tests.unit.predict.boots import boot
from tests.unit.predict.initrds import PHASE, SEPARATOR, cpio_of
from tests.unit.predict.test_initrd_content import COMPRESSIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A decoder of untrusted bytes, with sound documents."""

    name: str
    decode: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def _log(data: bytes) -> None:
    """Decode a firmware log, and tell it as `explain` does."""
    log = decode_firmware_log(data)
    account.of_events(log.events, name="log", banks=log.banks, locality=log.startup_locality)


def _image(data: bytes) -> None:
    authenticode_digests(pe.decode(data), BANKS)


def _uki(data: bytes) -> None:
    """Decode a UKI, and predict the registers that follow from its sections alone."""
    decoded = uki.decode(data)
    if len(decoded.image.data) and sum(section.virtual_size for section in decoded.image.sections) < 1 << 24:
        kernel_boot.events(boot(decoded), BANKS)


_INITRD = cpio_of(
    {**PHASE, **SEPARATOR, "usr/lib/nvpcr/x.nvpcr": b'{"name":"x","nvIndex":1,"algorithm":"sha256"}'}
)
_PROFILES = [
    *synthetic.sections().items(),
    *(pair for name in ("a", "b") for pair in ((".profile", f"ID={name}\n".encode()), (".cmdline", b"x"))),
]


def _list_of(certificate: bytes) -> bytes:
    """EFI_SIGNATURE_LIST of one certificate, whose owner is nobody."""
    size = 16 + len(certificate)
    head = X509.bytes_le + media.number(28 + size, 4) + bytes(4) + media.number(size, 4)
    return head + bytes(16) + certificate


_TABLE_SIZE = 34 * 512


def _table(data: bytes) -> None:
    """Decode a partition table at the start of a disk of 4 MiB."""
    gpt.decode(memoryview(data.ljust(4 << 20, b"\0")))


def _esp(program: bytes) -> bytes:
    """A FAT12 file system that holds \\EFI\\BOOT\\BOOTX64.EFI, one sector a cluster, by hand."""
    count = -(-len(program) // 512)
    # The folders are clusters 2 and 3, the file what follows.
    chain = [0xFF8, 0xFFF, 0xFFF, 0xFFF, *range(5, 4 + count), 0xFFF]
    chain += [0] * (len(chain) % 2)
    pairs = zip(chain[::2], chain[1::2], strict=True)
    table = b"".join((first | second << 12).to_bytes(3, "little") for first, second in pairs)
    folders = b"".join(
        (name + attribute + bytes(14) + media.number(cluster, 2) + media.number(size, 4)).ljust(512, b"\0")
        for name, attribute, cluster, size in (
            (b"EFI        ", b"\x10", 2, 0),
            (b"BOOT       ", b"\x10", 3, 0),
            (b"BOOTX64 EFI", b"\x20", 4, len(program)),
        )
    )
    head = bytearray(test_media.DECODERS[1].good[:512])
    head[19:21] = media.number(64 + count, 2)
    return bytes(head) + table.ljust(512, b"\0") + folders + program.ljust((count + 60) * 512, b"\0")


_SIGNED = signing.attach(UNSIGNED, signing.entry(signing.pkcs7(signing.Knobs(digest=DIGEST))))
_CERTIFICATE = signing.certificate(signing.rsa_key()).public_bytes(Encoding.DER)
_DB = _list_of(_CERTIFICATE)


def _authorised(image: bytes, db: bytes) -> None:
    """Ask which entry of db lets an image start; that there is none is an answer too."""
    keys = SecureBootKeys(pk=b"", kek=b"", db=db, dbx=b"")
    with contextlib.suppress(UnauthorisedError):
        authority(pe.decode(image), keys, digest=DIGEST)


def _named(data: bytes) -> None:
    explained.difference(None, variable_data(IMAGE_SECURITY, "db", data))


TARGETS: tuple[Target, ...] = (
    *(Target(name=item.name, decode=item.decode, seeds=(item.sample,)) for item in test_decoders.DECODERS),
    *(Target(name=item.name, decode=item.decode, seeds=(item.good,)) for item in test_media.DECODERS[1:]),
    Target(
        name="firmware log, told",
        decode=_log,
        seeds=(recorded.boot().firmware_log, samples.sha1_log(samples.EVENTS)),
    ),
    Target(name="system log, real", decode=decode_system_log, seeds=(recorded.boot().system_log,)),
    Target(name="PE, hashed", decode=_image, seeds=(synthetic.uki(),)),
    Target(name="UKI, predicted", decode=_uki, seeds=(synthetic.uki(), synthetic.uki(_PROFILES))),
    Target(name="db, asked", decode=lambda data: _authorised(_SIGNED, data), seeds=(_DB,)),
    Target(name="db, named", decode=_named, seeds=(_DB,)),
    Target(
        name="signature, asked",
        decode=lambda data: _authorised(signing.attach(UNSIGNED, signing.entry(data)), _DB),
        seeds=(signing.pkcs7(signing.Knobs(digest=DIGEST)),),
    ),
    Target(name="GPT", decode=_table, seeds=(media.with_esp(b"esp")[:_TABLE_SIZE],)),
    Target(name="disk", decode=lambda data: disk.decode(memoryview(data)), seeds=(_esp(synthetic.uki()),)),
    Target(
        name="initrd",
        decode=initrd_content.decode,
        seeds=tuple(pack(_INITRD) for pack in COMPRESSIONS.values()),
    ),
    Target(
        name="list of contents",
        decode=inventory.decode_contents,
        seeds=(b'{"root":{"etc/mtab":"-> ../proc/self/mounts","usr/bin/x":"' + b"ab" * 32 + b'"}}',),
    ),
    Target(
        name="list of packages",
        decode=inventory.decode_packages,
        seeds=(b'{"root":[{"architecture":"amd64","name":"linux","version":"7"}]}',),
    ),
)

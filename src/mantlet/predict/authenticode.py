# SPDX-License-Identifier: Apache-2.0
"""The Authenticode hash of an image, as the firmware measures it.

Follows EDK2, SecurityPkg/Tcg/Tcg2Dxe/MeasureBootPeCoff.c, `MeasurePeImageAndExtend`, whose step numbers stand
at the lines. It does not pad and does not sort differently: `pe.decode` refuses the images on which that
would matter, unless only firmware will ever hash them.
"""

from collections.abc import Iterator, Mapping

from mantlet.predict.parts import digests
from mantlet.predict.pe import Image
from mantlet_measure.pcr import Bank


def hashed(image: Image) -> Iterator[memoryview]:
    """Yield the hashed parts in order: everything but checksum, certificate table and its directory entry."""
    data = image.data
    # 3-4. From the base to the checksum, which is skipped.
    yield data[: image.checksum]
    after = image.checksum + 4
    if image.directory is None:
        # 5. No certificate directory: hash everything up to the end of the headers.
        yield data[after : image.headers]
    else:
        # 6-8. Up to the certificate directory, skip it (8 bytes), and on to the end of the headers.
        yield data[after : image.directory]
        yield data[image.directory + 8 : image.headers]
    # 9-14. Sections that have raw data, in the order of PointerToRawData.
    end = image.headers
    for section in sorted(image.sections, key=lambda item: item.raw_offset):
        if section.raw_size:
            yield data[section.raw_offset : section.raw_offset + section.raw_size]
            end += section.raw_size
    # 15. What lies between the sum of the hashed sizes and the certificates. The sum, not the end of the last
    # section: where there are gaps, the two differ.
    yield data[end : len(data) - len(image.certificates)]


def authenticode(image: Image, bank: Bank) -> bytes:
    """Return the hash of the image in this bank, the same for its signed and its unsigned form."""
    return authenticode_digests(image, (bank,))[bank]


def authenticode_digests(image: Image, banks: tuple[Bank, ...]) -> Mapping[Bank, bytes]:
    """Return the hashes of the image in each of `banks`; what was asked for before is not hashed again."""
    missing = tuple(bank for bank in banks if bank not in image.hashes)
    image.hashes.update(digests(tuple(hashed(image)), missing))
    return {bank: image.hashes[bank] for bank in banks}

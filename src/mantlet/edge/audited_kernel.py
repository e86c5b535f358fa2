# SPDX-License-Identifier: Apache-2.0
"""A UKI as the audit sees it: who signed it, what the keys beside the disk say of that, the kernel inside.

Owns what is read besides the disk, a store of firmware variables. The reading of UKIs, signatures and kernels
is that of `mantlet.predict` and `mantlet.audit`.
"""

import json
from pathlib import Path

from cryptography import x509

from mantlet.audit import kernel_image
from mantlet.audit.image import Kernel, Signature
from mantlet.audit.kernel_image import KernelImage
from mantlet.edge import files
from mantlet.predict import authorisation, signature, uki, variables
from mantlet.predict.authenticode import authenticode
from mantlet.predict.authorisation import UnauthorisedError
from mantlet.predict.uki import Uki
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import Bank


def kernel(path: str, item: Uki, store: Path) -> Kernel:
    """Describe the UKI at `path` of a boot partition. store: of variables; it may be missing.

    DecodeError on a kernel or a store that is damaged.
    """
    sound, signers = _signers(item)
    inside = _inside(item)
    release = item.sections().get(".uname")
    return Kernel(
        path=path,
        cmdline=item.cmdline,
        sections=tuple(section.name for section in item.image.sections),
        signature=sound,
        signers=signers,
        refused=_refused(item, store) if sound is Signature.SOUND else "",
        release="" if release is None else uki.text(item.image, release).strip(),
        configuration=inside.configuration,
        trusted=inside.certificates,
        signed_policies=_signed_policies(item),
    )


def _signers(item: Uki) -> tuple[Signature, tuple[x509.Certificate, ...]]:
    if not len(item.image.certificates):
        return Signature.NONE, ()
    try:
        found = signature.signers(item.image, authenticode(item.image, Bank.SHA256))
    except DecodeError:
        return Signature.BROKEN, ()
    return Signature.SOUND, tuple(signer.certificate for signer in found)


def _refused(item: Uki, store: Path) -> str:
    if not store.is_file():
        return ""
    data = files.read(store, limit=variables.LIMIT, what=variables.WHAT)
    keys = variables.secure_boot_keys(variables.decode_store(data))
    try:
        authorisation.authority(item.image, keys)
    except UnauthorisedError as refusal:
        return refusal.message
    return ""


def _inside(item: Uki) -> KernelImage:
    section = item.sections().get(".linux")
    if section is None:
        return KernelImage()
    return kernel_image.decode(next(iter(item.image.loaded(section)), memoryview(b"")))


def _signed_policies(item: Uki) -> tuple[tuple[int, ...], ...]:
    """Read which registers the policies of .pcrsig are over (systemd-measure(1)). DecodeError on others."""
    section = item.sections().get(".pcrsig")
    if section is None:
        return ()
    try:
        value = json.loads(uki.text(item.image, section))
        policies = [policy["pcrs"] for bank in value.values() for policy in bank]
        found = {tuple(sorted(int(number) for number in policy)) for policy in policies}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DecodeError(".pcrsig", expected="policies over registers", found=str(error)) from None
    return tuple(sorted(found))

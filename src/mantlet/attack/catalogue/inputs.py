# SPDX-License-Identifier: Apache-2.0
"""Other inputs that no enforced register shows: EFI variables, a cloud's identity, DHCP, IPv6, a false clock.

They share the boot of the credentials, but for one.
"""

from mantlet.attack import signs
from mantlet.attack.catalogue.credentials import GROUP
from mantlet.attack.changes import HIBERNATED_UUID, IMAGE, SYSTEMD_GUID, Disk, DiskKind, Qemu, Variable
from mantlet.attack.model import Attack, Control

_METADATA = ("169.254.169.254", "168.63.129.16", "169.254.0.1")


def utf16(text: str) -> bytes:
    """A string as EFI variables hold it."""
    return f"{text}\0".encode("utf-16-le")


# systemd takes a variable for its own when ids of distribution and image are those of os-release.
_HIBERNATE = (
    f'{{"uuid":"{HIBERNATED_UUID}","offset":0,'
    f'"osReleaseId":"debian","osReleaseImageId":"{IMAGE}",'
    '"kernelVersion":"7.2","osReleaseVersionId":"14"}'
)
# Of another boot than this one: a request that a boot makes is for the next one.
_FACTORY_RESET = (
    f'{{"osReleaseId":"debian","osReleaseImageId":"{IMAGE}","bootId":"6f1f0f5e2f0a4c529d6e0c5f6b3d7a97"}}'
)

ATTACKS: tuple[Attack, ...] = (
    Attack(
        id="hibernate-location",
        name="hibernate-location",
        title="An EFI variable that names an image of memory to resume from",
        changes=(
            Variable("HibernateLocation", SYSTEMD_GUID, utf16(_HIBERNATE)),
            Disk(name="hibernated", kind=DiskKind.HIBERNATED),
        ),
        probes=("variable-hibernate-location",),
        sign=signs.found("variable-hibernate-location", words="the variable is consumed"),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
        fast=True,
    ),
    Attack(
        id="factory-reset",
        name="factory-reset",
        title="An EFI variable that asks for a factory reset",
        changes=(Variable("FactoryResetRequest", SYSTEMD_GUID, utf16(_FACTORY_RESET)),),
        probes=("variable-factory-reset",),
        sign=signs.found("variable-factory-reset", words="the variable is consumed"),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
        fast=True,
    ),
    Attack(
        # Under this name it is no QEMU for systemd, which asks no fw_cfg then: a boot of its own.
        id="fake-metadata",
        name="fake-metadata",
        title="A machine that looks like a cloud's, and that cloud's metadata service",
        changes=(
            Qemu(
                (
                    "-smbios",
                    "type=1,manufacturer=Amazon EC2,product=m7i.large,serial=ds=nocloud-net;s=http://10.0.2.73/",
                    "-smbios",
                    "type=3,manufacturer=Amazon EC2,asset=7783-7084-3265-9085-8269-3286-77",
                )
            ),
        ),
        sign=signs.any_of(
            signs.sent(addresses=(*_METADATA, "10.0.2.73"), words="it asks for metadata"),
            signs.found("dns", words="it asks for a name"),
        ),
        probes=("dns",),
        control=Control.WEAKENED_BUILD,
    ),
    Attack(
        id="dhcp-options",
        name="dhcp-options",
        title="Names, name servers and search domains by DHCP",
        probes=("dhcp-options",),
        sign=signs.found("dhcp-options", words="it sends what was suggested, or asks who was suggested"),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
        fast=True,
    ),
    Attack(
        id="router-advertisement",
        name="router-advertisement",
        title="IPv6 advertisements of a neighbour",
        probes=("router-advertisement",),
        sign=signs.sent("icmp6", words="it speaks IPv6"),
        control=Control.WEAKENED_BUILD,
        group=GROUP,
        fast=True,
    ),
)
"""Inputs, all but one in the boot of the credentials."""

# SPDX-License-Identifier: Apache-2.0
"""What the data of a firmware event says of it, in words (TCG PC Client PFP 1.06, *Event Descriptions*).

Owns the wording, in printable characters and of limited length, whatever the bytes. No digest covers the
words: they are for people to read, and nothing is decided by them.
"""

from collections.abc import Callable, Mapping

from mantlet_measure import event_data
from mantlet_measure.device_path import device_path_text
from mantlet_measure.event_data import guid, number
from mantlet_measure.event_types import EventType
from mantlet_measure.logged import printable

_CHARACTERS = 160
_SHORT = 8
_PARTITIONS = 16
_TABLES = 8


def claimed_text(kind: int, data: bytes) -> str:
    """Return the words of an event of type number `kind`; empty when its data says nothing legible."""
    return printable(_WORDS.get(kind, _string_if_legible)(data))


def _string(data: bytes) -> str:
    """Return UTF-16LE or ASCII text, cut at the first NUL; firmware writes both and says not which."""
    head = data[: 4 * _CHARACTERS]
    wide = len(head) >= 2 and len(head) % 2 == 0 and not any(head[1:16:2])
    return head.decode("utf-16-le" if wide else "ascii", "replace").split("\0", 1)[0]


def _string_if_legible(data: bytes) -> str:
    text = _string(data)
    return text if text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text else ""


def _version(data: bytes) -> str:
    # EDK2 without a version string measures two zero bytes; other firmware measures a GUID.
    return _string_if_legible(data) or (guid(data) if len(data) == 16 else "")


def _short_hex(data: bytes) -> str:
    return data.hex() if len(data) <= _SHORT else f"{len(data)} bytes"


def _variable(data: bytes) -> str:
    found = event_data.variable(data)
    if found is None:
        return ""
    return f"{found.name} = {_short_hex(found.data)}" if found.data else f"{found.name}, which is not set"


def _authority(data: bytes) -> str:
    found = event_data.variable(data)
    if found is None:
        return ""
    # EFI_SIGNATURE_DATA (UEFI 2.10, 32.4.1): who enrolled it, then the certificate or digest.
    if len(found.data) <= 16:
        return f"{found.name} = {_short_hex(found.data)}"
    return f"{found.name}: an entry of {len(found.data) - 16} bytes, owner {guid(found.data[:16])}"


def _boot_variable(data: bytes) -> str:
    """Name a boot variable; Boot#### hold an EFI_LOAD_OPTION (UEFI 2.10, 3.1.3)."""
    found = event_data.variable(data)
    if found is None:
        return ""
    if found.name == "BootOrder":
        order = (number(found.data, start, 2) for start in range(0, min(len(found.data), 64), 2))
        return f"BootOrder = {' '.join(f'{item:04X}' for item in order)}"
    # Attributes (4 bytes), length of the path list (2), description, path list, optional data.
    text = found.data[6:].decode("utf-16-le", "replace").split("\0", 1)[0]
    start = 6 + 2 * len(text) + 2
    path = found.data[start : start + number(found.data, 4, 2)]
    if not path or not text:
        return f"{found.name} = {_short_hex(found.data)}"
    return f"{found.name} = {text}: {device_path_text(path)}"


def _tagged(data: bytes) -> str:
    found = event_data.tagged(data)
    return "" if found is None else f"tag 0x{found.tag:08x} {_string_if_legible(found.data)}".rstrip()


def _image(data: bytes) -> str:
    found = event_data.image_load(data)
    if found is None:
        return ""
    return device_path_text(found.device_path) if found.device_path else f"{found.size} bytes in memory"


def _partition_table(data: bytes) -> str:
    table = event_data.partition_table(data)
    if table is None:
        return ""
    names = [partition.name or partition.guid for partition in table.partitions]
    more = [f"{len(names) - _PARTITIONS} more"] if len(names) > _PARTITIONS else []
    return f"disk {table.disk_guid}: {', '.join(names[:_PARTITIONS] + more) or 'no partitions'}"


def _blob(data: bytes) -> str:
    # UEFI_PLATFORM_FIRMWARE_BLOB: base, length.
    if len(data) != 16:
        return _string_if_legible(data)
    return f"{number(data, 8, 8)} bytes at 0x{number(data, 0, 8):x}"


def _described_blob(data: bytes) -> str:
    # UEFI_PLATFORM_FIRMWARE_BLOB2: size of the description (1 byte), description, base, length.
    size = number(data, 0, 1)
    if len(data) != 1 + size + 16:
        return _string_if_legible(data)
    return f"{_string(data[1 : 1 + size])}: {_blob(data[1 + size :])}"


def _tables(data: bytes) -> str:
    # UEFI_HANDOFF_TABLE_POINTERS: count (8 bytes), then GUID and address of each table.
    count = number(data, 0, 8)
    if len(data) != 8 + 24 * count or count > _TABLES:
        return ""
    return f"tables {', '.join(guid(data[start : start + 16]) for start in range(8, len(data), 24))}"


def _described_tables(data: bytes) -> str:
    # UEFI_HANDOFF_TABLE_POINTERS2: size of the description (1 byte), description, the same.
    size = number(data, 0, 1)
    return f"{_string(data[1 : 1 + size])}: {_tables(data[1 + size :])}"


_WORDS: Mapping[int, Callable[[bytes], str]] = {
    EventType.EV_SEPARATOR: _short_hex,
    EventType.EV_ACTION: _string,
    EventType.EV_EVENT_TAG: _tagged,
    EventType.EV_S_CRTM_VERSION: _version,
    EventType.EV_IPL: _string,
    EventType.EV_POST_CODE: _blob,
    EventType.EV_POST_CODE2: _described_blob,
    EventType.EV_EFI_VARIABLE_DRIVER_CONFIG: _variable,
    EventType.EV_EFI_VARIABLE_AUTHORITY: _authority,
    EventType.EV_EFI_VARIABLE_BOOT: _boot_variable,
    EventType.EV_EFI_VARIABLE_BOOT2: _boot_variable,
    EventType.EV_EFI_BOOT_SERVICES_APPLICATION: _image,
    EventType.EV_EFI_BOOT_SERVICES_DRIVER: _image,
    EventType.EV_EFI_RUNTIME_SERVICES_DRIVER: _image,
    EventType.EV_EFI_GPT_EVENT: _partition_table,
    EventType.EV_EFI_GPT_EVENT2: _partition_table,
    EventType.EV_EFI_ACTION: _string,
    EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB: _blob,
    EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB2: _described_blob,
    EventType.EV_EFI_HANDOFF_TABLES: _tables,
    EventType.EV_EFI_HANDOFF_TABLES2: _described_tables,
}

# SPDX-License-Identifier: Apache-2.0
"""Device-mapper tables, and the bytes in which the kernel takes them (include/uapi/linux/dm-ioctl.h)."""

import ctypes
import struct

import pytest

from mantlet_agent import mapper, mapping
from mantlet_measure.deployment import Model

MODEL = Model(
    id="m",
    version="1",
    epoch=1,
    file="f",
    root_hash=b"\x01" * 32,
    salt=b"\x02" * 32,
    data_blocks=100,
    hash_offset=409600,
    size=417792,
)


class Header(ctypes.Structure):
    """struct dm_ioctl, declared as in the kernel's header, so that the compiler's rules lay it out."""

    _fields_ = [
        ("version", ctypes.c_uint32 * 3),
        ("data_size", ctypes.c_uint32),
        ("data_start", ctypes.c_uint32),
        ("target_count", ctypes.c_uint32),
        ("open_count", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("event_nr", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("dev", ctypes.c_uint64),
        ("name", ctypes.c_char * 128),
        ("uuid", ctypes.c_char * 129),
        ("data", ctypes.c_char * 7),
    ]


class Specification(ctypes.Structure):
    """struct dm_target_spec."""

    _fields_ = [
        ("sector_start", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("status", ctypes.c_int32),
        ("next", ctypes.c_uint32),
        ("target_type", ctypes.c_char * 16),
    ]


def test_the_cipher_covers_the_pack_and_names_its_key_without_holding_it() -> None:
    target = mapping.crypt(MODEL, device="254:33")
    assert target.sectors * 512 == MODEL.size
    assert (target.type, target.parameters) == (
        "crypt",
        "aes-xts-plain64 :64:logon:mantlet:weights 0 254:33 0 "
        "4 sector_size:4096 iv_large_sectors no_read_workqueue no_write_workqueue",
    )


def test_verity_shows_the_data_blocks_alone_and_takes_everything_from_the_document() -> None:
    target = mapping.verity(MODEL, device="253:0")
    assert target.sectors * 512 == MODEL.data_blocks * 4096
    assert target.type == "verity"
    assert target.parameters == (
        f"1 253:0 253:0 4096 4096 100 100 sha256 {MODEL.root_hash.hex()} {MODEL.salt.hex()}"
    )


def test_a_command_has_the_layout_of_the_kernels_header() -> None:
    table = mapper.encode_target(mapping.crypt(MODEL, device="254:33"))
    command = mapper.encode_header("mantlet-weights", table=table)
    header = Header.from_buffer_copy(command)
    assert header.data_start == ctypes.sizeof(Header) == 312
    assert header.data_size == len(command)
    assert (tuple(header.version), header.target_count, header.name) == ((4, 0, 0), 1, b"mantlet-weights")
    assert header.flags & 1, "read-only"


def test_a_table_has_the_layout_of_the_kernels_specification() -> None:
    target = mapping.verity(MODEL, device="253:0")
    table = mapper.encode_target(target)
    specification = Specification.from_buffer_copy(table)
    assert (specification.sector_start, specification.length) == (0, target.sectors)
    assert specification.target_type == b"verity"
    assert specification.next == len(table)
    assert len(table) % 8 == 0
    assert table[ctypes.sizeof(Specification) :].rstrip(b"\0").decode() == target.parameters


COMMANDS = [("CREATE", 3), ("REMOVE", 4), ("RESUME", 6), ("LOAD", 9), ("STATUS", 12)]


@pytest.mark.parametrize(("command", "number"), COMMANDS)
def test_the_numbers_of_the_commands_are_those_of_the_kernels_macro(command: str, number: int) -> None:
    # include/uapi/asm-generic/ioctl.h: _IOC(_IOC_READ|_IOC_WRITE, 0xfd, number, sizeof(struct dm_ioctl))
    assert mapper._Command[command] == 3 << 30 | ctypes.sizeof(Header) << 16 | 0xFD << 8 | number


@pytest.mark.parametrize(("major", "minor"), [(254, 0), (253, 7), (259, 300), (8, 0xFFFFF)])
def test_the_device_number_of_an_answer_is_read_as_the_kernel_encodes_it(major: int, minor: int) -> None:
    # include/linux/kdev_t.h, new_encode_dev
    number = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    answer = bytearray(mapper.encode_header("x", table=b""))
    struct.pack_into("=Q", answer, Header.dev.offset, number)
    assert mapper._device(bytes(answer)) == {"major": major, "minor": minor}


@pytest.mark.parametrize("said", [b"V", b"C", b"C -"])
def test_what_a_target_says_of_itself_is_read_from_where_the_answer_has_its_data(said: bytes) -> None:
    start = ctypes.sizeof(Header) + 8
    answer = bytearray(mapper.encode_header("x", table=bytes(256)))
    struct.pack_into("=I", answer, Header.data_start.offset, start)
    place = start + ctypes.sizeof(Specification)
    answer[place : place + len(said) + 1] = said + b"\0"
    assert mapper.decode_status(bytes(answer)) == said

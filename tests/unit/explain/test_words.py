# SPDX-License-Identifier: Apache-2.0
"""Tests of the small vocabularies: command lines, signature lists, partition tables, subjects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mantlet.explain import cmdline, keys, partitions
from mantlet.explain.subject import Kind, classify
from mantlet.predict.secure_boot import variable_data
from mantlet.predict.variables import GLOBAL, IMAGE_SECURITY
from mantlet_measure.pcr import BANKS, Bank
from tests.unit.explain.scenes import signature_lists, table


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("a b=1 c", "a b=2 c", ("`b=1` became `b=2`",)),
        ("a b", "a", ("`b` is gone",)),
        ("a", "a b", ("`b` was added",)),
        ('a x="1 2" b', 'a x="1 3" b', ('`x="1 2"` became `x="1 3"`',)),
        ("a  b\n", "a b", ()),
    ],
)
def test_command_lines_are_compared_word_by_word(old: str, new: str, said: tuple[str, ...]) -> None:
    assert cmdline.difference(old, new) == said


@given(st.text(max_size=60), st.text(max_size=60))
def test_command_lines_of_the_same_words_differ_in_nothing(old: str, new: str) -> None:
    assert (cmdline.difference(old, new) == ()) == (cmdline.words(old) == cmdline.words(new))


@pytest.mark.parametrize("spell", [lambda text: text.encode(), lambda text: f"{text}\0".encode("utf-16-le")])
def test_command_line_is_recovered_from_its_digest(spell: object) -> None:
    assert callable(spell)
    old, new = "console=null lockdown=confidentiality quiet", "console=null lockdown=none quiet"
    digests = {bank: bank.digest(spell(new)) for bank in BANKS}
    assert cmdline.recovered(spell(old), digests) == new
    assert cmdline.recovered(spell(old), {Bank.SHA256: bytes(32)}) is None


def test_command_line_of_thousands_of_words_is_not_compared_word_by_word() -> None:
    assert cmdline.difference("a " * 5000, "b " * 5000) == (
        "the command line differs, and is too long to be compared word by word",
    )


def _db(*names: str) -> bytes:
    return variable_data(IMAGE_SECURITY, "db", signature_lists(*names))


def test_certificates_that_came_and_went_are_named() -> None:
    assert keys.difference(_db("one", "two"), _db("two", "three")) == (
        "db no longer holds the certificate “CN=one”",
        "db newly holds the certificate “CN=three”",
    )
    assert keys.difference(_db("one", "two"), _db("two", "one")) == (
        "db holds the same entries in another form or order",
    )


def test_variable_of_which_one_side_is_known_is_listed() -> None:
    assert keys.difference(None, _db("one")) == ("db now holds the certificate “CN=one”",)
    assert keys.difference(_db("one"), None) == ("db should hold the certificate “CN=one”",)
    assert keys.difference(None, variable_data(GLOBAL, "PK", b"")) == ("PK now holds nothing",)


def test_certificate_of_a_version_that_there_is_not_is_said_to_be_unreadable() -> None:
    # RFC 5280, 4.1.2.1: versions are 1 to 3, encoded as 0 to 2.
    odd = _db("one").replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x06", 1)
    assert keys.difference(None, odd) == ("db now holds a certificate that cannot be read",)


@pytest.mark.parametrize("junk", [b"", b"\xff" * 40, variable_data(IMAGE_SECURITY, "dbx", b"\xff" * 50)])
def test_bytes_that_are_no_signature_list_are_called_that_or_left_alone(junk: bytes) -> None:
    said = keys.difference(None, junk)
    assert said == () or "no signature list" in said[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\1", "Secure Boot is on"), (b"\0", "Secure Boot is off"), (b"", "the firmware has no Secure Boot")],
)
def test_state_of_secure_boot_is_put_into_words(content: bytes, said: str) -> None:
    assert keys.difference(None, variable_data(GLOBAL, "SecureBoot", content)) == (said,)


def test_partition_that_grew_is_named_with_its_size() -> None:
    old = table(("esp", 40, 99), ("root", 100, 199))
    new = table(("esp", 40, 99), ("root", 100, 299), last_usable=2000)
    assert partitions.difference(old, new) == (
        "the disk's last usable block 1000 became 2000",
        "partition “root” of 100 blocks is now 200 blocks",
    )


def test_partitions_that_came_went_and_moved_are_named() -> None:
    old = table(("esp", 40, 99), ("root", 100, 199))
    new = table(("root", 110, 199), ("var", 200, 209), disk=2)
    said = partitions.difference(old, new)
    assert said[1:] == (
        "partition “esp” of 60 blocks is gone",
        "partition “root” moved from block 100 to 110, and is 90 blocks",
        "partition “var” of 10 blocks is new",
    )
    assert said[0].startswith("the disk's GUID ")
    assert partitions.difference(None, new)[0].startswith("the disk has 2 partitions")
    assert partitions.difference(old, b"junk") == ()


@pytest.mark.parametrize(
    ("register", "kind", "text", "found"),
    [
        (4, "EV_EFI_ACTION", "Calling EFI Application from Boot Option", Kind.ACTION),
        (7, "EV_EFI_VARIABLE_DRIVER_CONFIG", "dbx, which is not set", Kind.VARIABLE),
        (9, "EV_EVENT_TAG", "tag 0x8f3b22ec Linux initrd", Kind.INITRD),
        (9, "EV_EVENT_TAG", "tag 0x8f3b22ed LOADED_IMAGE::LoadOptions", Kind.LOAD_OPTIONS),
        (9, "nvpcr-init", "nvpcr-init:hardware:0x1d10200:00", Kind.NVPCR),
        (5, "EV_EVENT_TAG", "tag 0xf5bc582a x", Kind.LOADER_CONFIGURATION),
        (12, "EV_IPL", "Global credentials initrd", Kind.CREDENTIALS),
        (12, "EV_IPL", "Configuration extension initrd", Kind.CONFEXTS),
        (13, "EV_IPL", "System extension initrd", Kind.SYSEXTS),
        (12, "EV_IPL", "quiet splash", Kind.COMMAND_LINE),
        (1, "EV_EVENT_TAG", "tag 0xc0b3bd23 smbios:type11", Kind.SMBIOS),
        (15, "cap", "mantlet:cap", Kind.AGENT_WORD),
        (0, "EV_S_CRTM_VERSION", "1", Kind.OTHER),
    ],
)
def test_event_is_classified_by_type_and_text(register: int, kind: str, text: str, found: Kind) -> None:
    assert classify(register, kind, text, {}).kind is found


def test_name_of_a_section_is_told_from_its_content_by_the_digest() -> None:
    named = {bank: bank.digest(b".linux\0") for bank in BANKS}
    other = {bank: bank.digest(b"the kernel") for bank in BANKS}
    assert classify(11, "EV_IPL", ".linux", named).kind is Kind.SECTION_NAME
    assert classify(11, "EV_IPL", ".linux", other).kind is Kind.SECTION


@given(st.integers(0, 23), st.text(max_size=20), st.text(max_size=200))
def test_any_claim_has_a_subject_with_words(register: int, kind: str, text: str) -> None:
    assert classify(register, kind, text, {}).words
    assert classify(register, "EV_IPL", text, {}).words
    assert classify(register, "EV_EVENT_TAG", text, {}).words

# SPDX-License-Identifier: Apache-2.0
"""Tests of what the stub of each release measures: sections, the inner kernel, profiles, and what it packs.

The tables are those of systemd's sources at the tags v252 to v262: src/fundamental/{tpm-pcr,uki}.c and
src/boot/{linux,stub}.c.
"""

import hashlib

import pytest

from mantlet.predict import boot_loader, initrd, kernel_boot, kernel_config, pe, uki
from mantlet.predict.archive import META, archive
from mantlet.predict.authenticode import authenticode
from mantlet.predict.boot import Basis, BootSecret, Loader, UserSpace
from mantlet.predict.pe import Layout
from mantlet.predict.uki import UnpredictableError
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import ALL_BANKS, Bank
from tests.unit.predict import synthetic
from tests.unit.predict.boots import KERNEL, RELEASES, addon, boot, described, image, sha256, stub
from tests.unit.predict.synthetic import CMDLINE, OPTIONAL, OS_RELEASE, TABLE, patched, sections

ALL = {
    name: name.encode()
    for name in ("ucode", "splash", "dtb", "uname", "sbat", "pcrsig", "pcrpkey", "profile", "hwids")
}
BASE_252 = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"]
BASE_254 = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey"]
BASE_256 = [*BASE_254[:4], ".ucode", *BASE_254[4:]]
BASE_257 = [*BASE_256, ".profile", ".hwids"]
MEASURED = {252: BASE_252, 253: BASE_252, 254: BASE_254, 255: BASE_254, 256: BASE_256}


@pytest.mark.parametrize("release", RELEASES)
def test_sections_of_register_11_are_those_that_the_release_knows(release: int) -> None:
    contents = sections(**ALL, sdmagic=stub("252.39" if release == 252 else str(release)))
    contents[".profile"] = contents.pop(".profile")
    prediction = kernel_boot.events(boot(uki.decode(synthetic.uki(contents))))
    expected = MEASURED.get(release, BASE_257)
    assert described(prediction)[::2] == [f"name of section {name}" for name in expected]
    assert described(prediction)[1::2] == [f"section {name}" for name in expected]
    first = hashlib.sha256(b".linux\0").digest(), hashlib.sha256(contents[".linux"]).digest()
    assert tuple(sha256(prediction)[:2]) == first


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("release", RELEASES)
def test_inner_kernel_is_in_register_4_only_before_258_and_without_secure_boot(
    release: int, secure: bool
) -> None:
    prediction = boot_loader.events(boot(release, secure=secure))
    kernel = ["Authenticode hash of the kernel in .linux"] if release < 258 and not secure else []
    assert described(prediction) == [
        "Calling EFI Application from Boot Option",
        "end of pre-OS environment",
        "Authenticode hash of the UKI",
        *kernel,
    ]
    if kernel:
        assert sha256(prediction)[3] == authenticode(pe.decode(KERNEL), Bank.SHA256)


def test_kernel_older_than_its_efi_stub_is_not_handed_to_the_firmware() -> None:
    old = patched(KERNEL, OPTIONAL + 44, 0, 2)
    assert len(boot_loader.events(boot(image(257, linux=old), secure=False)).events) == 3


def test_kernel_that_is_no_image_is_refused_with_its_offset() -> None:
    with pytest.raises(DecodeError, match=r"kernel in \.linux at byte 0") as refused:
        boot_loader.events(boot(image(257, linux=b"ZM no image"), secure=False))
    assert refused.value.hint


def test_kernel_with_a_gap_and_an_odd_tail_is_hashed_as_edk2_does() -> None:
    # MeasureBootPeCoff.c, step 15: the rest starts at the sum of what was hashed, not behind the sections.
    whole = bytearray(KERNEL)
    whole[1024:1024] = bytes(range(256)) * 2
    gapped = patched(bytes(whole) + b"tail", TABLE + 20, 1536, 4)
    headers = gapped[: OPTIONAL + 64] + gapped[OPTIONAL + 68 : OPTIONAL + 144] + gapped[OPTIONAL + 152 : 1024]
    expected = hashlib.sha256(headers + gapped[1536:2048] + gapped[1536:]).digest()
    assert authenticode(pe.decode(gapped, taken=Layout.FIRMWARE), Bank.SHA256) == expected
    with pytest.raises(DecodeError, match="multiple of 8"):
        pe.decode(gapped)
    with pytest.raises(DecodeError, match="right behind"):
        pe.decode(gapped[:-4])
    with pytest.raises(DecodeError, match="right behind"):
        pe.decode(patched(gapped, TABLE + 20, 512, 4), taken=Layout.FIRMWARE)


def test_certificates_of_a_kernel_are_left_out_of_its_hash() -> None:
    signed = patched(patched(KERNEL + b"certs ab", OPTIONAL + 144, len(KERNEL), 4), OPTIONAL + 148, 8, 4)
    plain = pe.decode(KERNEL)
    assert authenticode(pe.decode(signed, taken=Layout.FIRMWARE), Bank.SHA256) == authenticode(
        plain, Bank.SHA256
    )


def test_boot_loader_comes_before_the_uki_and_add_ons_behind_it() -> None:
    loader = Loader(image=pe.decode(synthetic.uki({".text": b"boot"})), version=262, configuration=None)
    beside = (
        addon("b.addon.efi", {".cmdline": b"b"}),
        addon("a.addon.efi", {".cmdline": b"a"}),
        addon("z.addon.efi", {".other": b"z"}, is_global=True),
    )
    prediction = boot_loader.events(boot(257, secure=False, loader=loader, addons=beside))
    assert described(prediction)[2:] == [
        "Authenticode hash of the boot loader",
        "Authenticode hash of the UKI",
        "Authenticode hash of the add-on z.addon.efi",
        "Authenticode hash of the add-on a.addon.efi",
        "Authenticode hash of the add-on b.addon.efi",
        "Authenticode hash of the kernel in .linux",
    ]


@pytest.mark.parametrize("release", ["252.3", "252.39-1~deb12u2", "257.13", "258", "259~rc1", "262-1"])
def test_stub_of_a_checked_release_is_taken(release: str) -> None:
    assert str(image(release).stub) == release[:3]


@pytest.mark.parametrize(
    ("release", "why"),
    [("251.9", "measures otherwise"), ("252.2", "measures otherwise"), ("263", "nobody has checked")],
)
def test_stub_of_another_release_is_refused_with_what_must_be_done(release: str, why: str) -> None:
    with pytest.raises(UnpredictableError, match=why) as refused:
        image(release)
    assert refused.value.hint


def test_older_stub_takes_a_longer_name_for_the_one_it_knows_and_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"\.dtbauto"):
        image(256, dtbauto=b"tree").sections()


def test_section_that_is_there_twice_is_refused_with_its_offset() -> None:
    twice = (*sections().items(), (".initrd", b"another"))
    with pytest.raises(DecodeError, match=r"one section \.initrd") as refused:
        uki.decode(synthetic.uki(twice))
    assert refused.value.offset is not None


def _profiles(*, release: str = "262") -> uki.Uki:
    return uki.decode(
        synthetic.uki(
            (
                *sections(sdmagic=stub(release), linux=KERNEL).items(),
                (".profile", b"ID=main"),
                (".profile", b"ID=other"),
                (".cmdline", b"console=null other"),
            )
        )
    )


def test_profile_overrides_the_base_and_is_measured_into_register_12() -> None:
    other = boot(_profiles(), profile=1)
    assert initrd.events(other).events[0].digests[Bank.SHA256] == (
        hashlib.sha256("console=null other\0".encode("utf-16-le")).digest()
    )
    assert described(kernel_boot.events(other))[-2:] == ["name of section .profile", "section .profile"]
    assert sha256(kernel_boot.events(other))[-1] == hashlib.sha256(b"ID=other").digest()
    assert sha256(kernel_config.events(other)) == [hashlib.sha256("1\0".encode("utf-16-le")).digest()]
    assert kernel_config.events(other).events[0].type == "EV_EVENT_TAG"
    assert b"ID=other" in b"".join(initrd.combined(other))


def test_first_profile_is_the_default_and_adds_no_event() -> None:
    main = boot(_profiles())
    assert sha256(kernel_boot.events(main))[-1] == hashlib.sha256(b"ID=main").digest()
    assert kernel_config.events(main).events == ()
    assert main.uki.cmdline == CMDLINE


@pytest.mark.parametrize(("release", "profile"), [("262", 2), ("262", -1), ("256.1", 1)])
def test_profile_that_the_uki_lacks_is_refused(release: str, profile: int) -> None:
    made = _profiles() if release == "262" else image(release)
    with pytest.raises(DecodeError, match="a profile from 0 to"):
        kernel_boot.events(boot(made, profile=profile))


@pytest.mark.parametrize("release", RELEASES)
def test_stub_packs_signatures_and_since_257_the_release_file(release: int) -> None:
    made = image(release, pcrsig=b"{}", pcrpkey=b"key")
    packed = b"".join(initrd.combined(boot(made)))
    parts = [
        b"an initrd of nineteen\0\0\0",
        b"".join(archive(META, [("tpm2-pcr-signature.json", b"{}")])),
        b"".join(archive(META, [("tpm2-pcr-public-key.pem", b"key")])),
    ]
    if release >= 257:
        parts.append(b"".join(archive(META, [("os-release", OS_RELEASE.encode())])))
    assert packed == b"".join(parts)


def test_lone_initrd_is_not_padded_and_lone_microcode_was_until_257() -> None:
    assert b"".join(initrd.combined(boot(256))) == b"an initrd of nineteen"
    alone = {"osrel": None, "initrd": None, "ucode": b"ucode"}
    assert b"".join(initrd.combined(boot(image(256, **alone)))) == b"ucode\0\0\0"
    assert b"".join(initrd.combined(boot(image(257, **alone)))) == b"ucode"


def test_kernel_without_an_initrd_measures_none() -> None:
    bare = {"osrel": None, "initrd": None}
    assert len(initrd.events(boot(image(260, **bare))).events) == 1
    prediction = initrd.events(boot(image(257, **bare)))
    assert prediction.basis is Basis.UNPREDICTABLE
    assert "never set" in prediction.reason


@pytest.mark.parametrize(
    ("release", "secret", "reason"),
    [
        (260, BootSecret.UNKNOWN, ""),
        (261, BootSecret.ABSENT, ""),
        (261, BootSecret.RANDOM, "another one on each machine"),
        (262, BootSecret.UNKNOWN, "boot-secret-mixin"),
    ],
)
def test_boot_secret_makes_register_9_unpredictable_since_261(
    release: int, secret: BootSecret, reason: str
) -> None:
    prediction = initrd.events(boot(release, boot_secret=secret))
    assert prediction.basis is (Basis.UNPREDICTABLE if reason else Basis.COMPUTED)
    assert (reason in prediction.reason) if reason else prediction.reason == ""


@pytest.mark.parametrize(("release", "settled"), [(260, True), (261, False), (262, False)])
def test_command_line_without_a_console_is_the_machines_matter_since_261(release: int, settled: bool) -> None:
    prediction = initrd.events(boot(image(release, cmdline=b"quiet xconsole=null")))
    assert (prediction.basis is Basis.COMPUTED) is settled
    assert settled or "console=" in prediction.reason


# The texts of Linux, drivers/firmware/efi/libstub/efi-stub-helper.c, as they lie in Debian's 6.1 kernel.
LOGGED = b"Linux initrd\0 some bytes LOADED_IMAGE::LoadOptions\0"


@pytest.mark.parametrize(
    ("uname", "logged", "reason"),
    [
        (b"6.1.0-50-cloud-amd64", b"", ""),
        (b"5.14.0-362", LOGGED, ""),
        (b"5.14.0-362", LOGGED[:13], "kernel is 5.14"),
        (None, LOGGED, ""),
        (None, b"", "of unknown version"),
        (b"generic", b"", "of unknown version"),
    ],
)
def test_kernel_that_does_not_measure_leaves_register_9_open(
    uname: bytes | None, logged: bytes, reason: str
) -> None:
    prediction = initrd.events(boot(image(262, uname=uname, linux=KERNEL + logged)))
    assert prediction.basis is (Basis.UNPREDICTABLE if reason else Basis.COMPUTED)
    assert reason in prediction.reason


def test_kernel_names_its_version_in_its_setup_header() -> None:
    kernel = bytearray(KERNEL)
    kernel[0x202:0x206] = b"HdrS"
    kernel[0x20E:0x210] = (0x40).to_bytes(2, "little")
    kernel[0x240:0x252] = b"5.10.9-cloud (us)\0"
    assert "kernel is 5.10" in initrd.events(boot(image(262, linux=bytes(kernel)))).reason


def test_kernel_that_is_longer_in_memory_than_in_the_file_ends_in_zeros() -> None:
    contents = sections(sdmagic=stub("257"), linux=KERNEL)
    where = TABLE + 40 * list(contents).index(".linux") + 8
    # The last bytes of the file fill up to 512; in memory 8 more follow.
    grown = patched(synthetic.uki(contents), where, len(KERNEL) + 8, 4)
    loaded = boot_loader.events(boot(uki.decode(grown), secure=False)).events[3]
    plain = pe.decode(KERNEL + bytes(8), taken=Layout.FIRMWARE)
    assert loaded.digests[Bank.SHA256] == authenticode(plain, Bank.SHA256)


def test_large_sections_are_hashed_in_every_bank_side_by_side() -> None:
    large = bytes(range(256)) * 5000
    event = kernel_boot.events(boot(image(262, initrd=large)), ALL_BANKS).events[7]
    assert event.description == "section .initrd"
    assert event.digests == {bank: hashlib.new(bank.value, large).digest() for bank in ALL_BANKS}


@pytest.mark.parametrize("section", ["dtbauto", "efifw"])
def test_section_for_some_hardware_leaves_register_11_open(section: str) -> None:
    prediction = kernel_boot.events(boot(image(262, **{section: b"x"})))
    assert prediction.basis is Basis.UNPREDICTABLE
    assert section in prediction.reason


def test_every_prefix_of_the_phases_has_its_value() -> None:
    values = kernel_boot.phase_values(boot())
    assert list(values)[:4] == [
        "",
        "enter-initrd",
        "enter-initrd:leave-initrd",
        "enter-initrd:leave-initrd:sysinit",
    ]
    running = boot(user_space=UserSpace(os_separator=False, phases=("enter-initrd", "leave-initrd")))
    assert values["enter-initrd:leave-initrd"] == kernel_boot.events(running)
    assert sha256(values["enter-initrd"])[-1] == hashlib.sha256(b"enter-initrd").digest()

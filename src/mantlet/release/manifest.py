# SPDX-License-Identifier: Apache-2.0
"""measurements.json: the reference values of an image (docs/formats.md, *measurements.json*).

Owns the strict decoding and the canonical bytes. Its SHA-256 is in the deployment document, so
`decode` refuses every other spelling, and a value that is not the fold of its events.
"""

from collections.abc import Mapping

from mantlet.release.reference_values import (
    Basis,
    Expected,
    ImageIdentity,
    Manifest,
    ManifestEvent,
    Platform,
    Proof,
)
from mantlet_measure import strictjson
from mantlet_measure.deployment import EPOCH_LIMIT, ID_PATTERN, VERSION_PATTERN
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import ALL_BANKS, BANKS, Bank, Register, replay
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-measurements/v1"
ARCHITECTURE = "x86-64"
WHAT = "measurements.json"
LIMIT = 1 << 20
_EVENTS = 256
_PLATFORM = r"[a-z0-9][a-z0-9-]{0,30}"
_TYPE = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_LINE = r"[ -~]*"
_REASON = 400

__all__ = [
    "ARCHITECTURE",
    "FORMAT",
    "LIMIT",
    "WHAT",
    "Basis",
    "Expected",
    "ImageIdentity",
    "Manifest",
    "ManifestEvent",
    "Platform",
    "Proof",
    "decode",
    "encode",
    "to_value",
]


def decode(data: bytes) -> Manifest:
    """Decode the canonical bytes of a manifest, at most 1 MiB. DecodeError on anything else."""
    fields = Fields(strictjson.decode(data, what=WHAT, limit=LIMIT), WHAT)
    fields.constant("format", FORMAT)
    image = _image(fields.fields("image"))
    platforms = fields.fields("platforms")
    names = [_platform_name(name) for name in fields.mapping("platforms")]
    if not names:
        fields.refuse("platforms", "at least one")
    manifest = Manifest(image=image, platforms={name: _platform(platforms.fields(name)) for name in names})
    fields.done()
    if encode(manifest) != data:
        raise DecodeError(WHAT, expected="canonical JSON", found="another spelling of the same document")
    return manifest


def _platform_name(name: str) -> str:
    return Fields({"name": name}, f"{WHAT}: platforms").text("name", pattern=_PLATFORM)


def _image(fields: Fields) -> ImageIdentity:
    image = ImageIdentity(
        id=fields.text("id", pattern=ID_PATTERN) if fields.has("id") else "",
        version=fields.text("version", pattern=VERSION_PATTERN) if fields.has("version") else "",
        architecture=fields.text("architecture", pattern=ARCHITECTURE),
        uki_sha256=fields.hex("uki_sha256", 32),
        roothash=fields.hex("roothash", 32) if fields.has("roothash") else b"",
        cmdline=fields.text("cmdline", pattern=_LINE),
        stub=fields.text("stub", pattern=r"[0-9]{3}"),
        epoch=fields.integer("epoch", 1, EPOCH_LIMIT) if fields.has("epoch") else 0,
    )
    fields.done()
    return image


def _platform(fields: Fields) -> Platform:
    enforced = fields.sequence("enforced", limit=len(Register))
    if not enforced or any(isinstance(item, bool) or item not in tuple(Register) for item in enforced):
        fields.refuse("enforced", "registers from 0 to 15, at least one")
    registers = tuple(int(item) for item in enforced if isinstance(item, int))
    if list(registers) != sorted(set(registers)):
        fields.refuse("enforced", "each register once, in order")
    by_bank = fields.fields("banks")
    banks = {
        bank: _bank(by_bank.fields(bank.value), bank)
        for bank in ALL_BANKS
        if bank in BANKS or by_bank.has(bank.value)
    }
    by_bank.done()
    platform = Platform(
        enforced=registers,
        banks=banks,
        recorded=_recorded(fields.fields("basis")),
        firmware_sha256=fields.hex("firmware_sha256", 32) if fields.has("firmware_sha256") else b"",
        unpredictable=_reasons(fields.fields("unpredictable")),
        tested=_tested(fields),
    )
    fields.done()
    _agree(fields.what, platform)
    return platform


def _tested(fields: Fields) -> Proof:
    return Proof(fields.text("tested", pattern="|".join(Proof)))


def _recorded(fields: Fields) -> tuple[int, ...]:
    """Return the recorded registers; that the others are computed is checked by the canonical form."""
    pattern = "|".join(Basis)
    basis = {
        int(register): fields.text(str(int(register)), pattern=pattern)
        for register in Register
        if fields.has(str(int(register)))
    }
    fields.done()
    return tuple(register for register, value in basis.items() if value == Basis.RECORDED)


def _reasons(fields: Fields) -> Mapping[int, str]:
    reasons = {
        int(register): fields.text(str(int(register)), pattern=r"[ -~]+", limit=_REASON)
        for register in Register
        if fields.has(str(int(register)))
    }
    fields.done()
    return reasons


def _bank(fields: Fields, bank: Bank) -> Mapping[int, Expected]:
    expected: dict[int, Expected] = {}
    for register in Register:
        name = str(int(register))
        if fields.has(name):
            expected[int(register)] = _expected(fields.fields(name), bank)
    fields.done()
    return expected


def _expected(fields: Fields, bank: Bank) -> Expected:
    value = fields.hex("value", bank.size)
    events = tuple(
        _event(item, f"{fields.what}: event {index}", bank)
        for index, item in enumerate(fields.sequence("events", limit=_EVENTS))
    )
    fields.done()
    if replay(bank, (event.digest for event in events)) != value:
        fields.refuse("value", "the fold of its events")
    return Expected(value=value, events=events)


def _event(item: object, what: str, bank: Bank) -> ManifestEvent:
    fields = Fields(item, what)
    event = ManifestEvent(
        digest=fields.hex("digest", bank.size),
        type=fields.text("type", pattern=_TYPE),
        description=fields.text("description", pattern=_LINE, limit=256),
    )
    fields.done()
    return event


def _agree(what: str, platform: Platform) -> None:
    """Refuse banks that tell different stories, and members that contradict the registers that are there."""
    stories = [
        {
            register: [(event.type, event.description) for event in expected.events]
            for register, expected in bank.items()
        }
        for bank in platform.banks.values()
    ]
    known = stories[0]
    if any(story != known for story in stories):
        raise DecodeError(what, expected="the same events in all banks", found="different ones")
    if missing := [register for register in platform.enforced if register not in known]:
        raise DecodeError(
            what, expected=f"values of registers {list(platform.enforced)}", found=f"none of {missing}"
        )
    if known.get(int(Register.SYSTEM_IDENTITY)):
        raise DecodeError(what, expected="no events of register 15, which is the agent's", found="some")
    if both := [register for register in platform.unpredictable if register in known]:
        raise DecodeError(what, expected="no value of an unpredictable register", found=f"one of {both}")
    if enforced := [register for register in platform.enforced if register in platform.recorded]:
        raise DecodeError(what, expected="no recorded register enforced", found=str(enforced))
    if bool(platform.recorded) != bool(platform.firmware_sha256):
        raise DecodeError(what, expected="a firmware exactly when registers are recorded", found="otherwise")


def encode(manifest: Manifest) -> bytes:
    """Return the canonical bytes, whose SHA-256 deployment documents name."""
    return strictjson.encode(to_value(manifest))


def to_value(manifest: Manifest) -> Mapping[str, object]:
    """Return the manifest as JSON has it."""
    image = manifest.image
    identity = {
        "id": image.id,
        "version": image.version,
        "architecture": image.architecture,
        "uki_sha256": image.uki_sha256.hex(),
        "roothash": image.roothash.hex(),
        "cmdline": image.cmdline,
        "stub": image.stub,
        "epoch": image.epoch,
    }
    absent = {name for name in ("id", "version", "roothash", "epoch") if not identity[name]}
    return {
        "format": FORMAT,
        "image": {name: value for name, value in identity.items() if name not in absent},
        "platforms": {name: _platform_value(platform) for name, platform in manifest.platforms.items()},
    }


def _platform_value(platform: Platform) -> Mapping[str, object]:
    firmware = platform.firmware_sha256
    return {
        "enforced": list(platform.enforced),
        "tested": platform.tested.value,
        "basis": {str(register): basis.value for register, basis in platform.basis.items()},
        "unpredictable": {str(register): reason for register, reason in platform.unpredictable.items()},
        **({"firmware_sha256": firmware.hex()} if firmware else {}),
        "banks": {
            bank.value: {str(register): _expected_value(expected) for register, expected in values.items()}
            for bank, values in platform.banks.items()
        },
    }


def _expected_value(expected: Expected) -> Mapping[str, object]:
    return {
        "value": expected.value.hex(),
        "events": [
            {"digest": event.digest.hex(), "type": event.type, "description": event.description}
            for event in expected.events
        ],
    }

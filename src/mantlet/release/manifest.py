# SPDX-License-Identifier: Apache-2.0
"""measurements.json: the reference values of an image (docs/formats.md, *measurements.json*).

Owns the types, the strict decoding and the canonical bytes. Its SHA-256 is in the deployment document, so
`decode` refuses every other spelling, and a value that is not the fold of its events.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mantlet_measure import strictjson
from mantlet_measure.deployment import ID_PATTERN, VERSION_PATTERN
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import BANKS, Bank, Register, replay
from mantlet_measure.strictjson import Fields

FORMAT = "mantlet-measurements/v1"
ARCHITECTURE = "x86-64"
WHAT = "measurements.json"
LIMIT = 1 << 20
_EVENTS = 256
_PLATFORM = r"[a-z0-9][a-z0-9-]{0,30}"
_TYPE = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_LINE = r"[ -~]*"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIdentity:
    """Which image it is: its name, and the digests that its boot hangs on."""

    id: str
    version: str
    architecture: str
    uki_sha256: bytes
    roothash: bytes
    cmdline: str
    stub: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEvent:
    """One extend, in one bank, with the words that explain it."""

    digest: bytes
    type: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The value of one register in one bank, and the events that make it from zero."""

    value: bytes
    events: tuple[ManifestEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The values on one kind of machine; `enforced` registers must be equal, others are for explanation."""

    enforced: tuple[int, ...]
    banks: Mapping[Bank, Mapping[int, Expected]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The reference values of one image."""

    image: ImageIdentity
    platforms: Mapping[str, Platform]


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
        id=fields.text("id", pattern=ID_PATTERN),
        version=fields.text("version", pattern=VERSION_PATTERN),
        architecture=fields.text("architecture", pattern=ARCHITECTURE),
        uki_sha256=fields.hex("uki_sha256", 32),
        roothash=fields.hex("roothash", 32),
        cmdline=fields.text("cmdline", pattern=_LINE),
        stub=fields.text("stub", pattern=r"[0-9]{3}"),
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
    banks = {bank: _bank(by_bank.fields(bank.value), bank) for bank in BANKS}
    by_bank.done()
    fields.done()
    _agree(fields.what, registers, banks)
    return Platform(enforced=registers, banks=banks)


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


def _agree(what: str, enforced: tuple[int, ...], banks: Mapping[Bank, Mapping[int, Expected]]) -> None:
    """Refuse banks that tell different stories, and a register 15 that is not the agent's to extend."""
    stories = [
        {
            register: [(event.type, event.description) for event in expected.events]
            for register, expected in bank.items()
        }
        for bank in banks.values()
    ]
    if any(story != stories[0] for story in stories):
        raise DecodeError(what, expected="the same events in both banks", found="different ones")
    missing = [register for register in enforced if register not in stories[0]]
    if missing:
        raise DecodeError(what, expected=f"values of registers {list(enforced)}", found=f"none of {missing}")
    if stories[0].get(int(Register.SYSTEM_IDENTITY)):
        raise DecodeError(what, expected="no events of register 15, which is the agent's", found="some")


def encode(manifest: Manifest) -> bytes:
    """Return the canonical bytes, whose SHA-256 deployment documents name."""
    image = manifest.image
    return strictjson.encode(
        {
            "format": FORMAT,
            "image": {
                "id": image.id,
                "version": image.version,
                "architecture": image.architecture,
                "uki_sha256": image.uki_sha256.hex(),
                "roothash": image.roothash.hex(),
                "cmdline": image.cmdline,
                "stub": image.stub,
            },
            "platforms": {name: _platform_value(platform) for name, platform in manifest.platforms.items()},
        }
    )


def _platform_value(platform: Platform) -> Mapping[str, object]:
    return {
        "enforced": list(platform.enforced),
        "banks": {
            bank.value: {
                str(register): {
                    "value": expected.value.hex(),
                    "events": [
                        {"digest": event.digest.hex(), "type": event.type, "description": event.description}
                        for event in expected.events
                    ],
                }
                for register, expected in registers.items()
            }
            for bank, registers in platform.banks.items()
        },
    }

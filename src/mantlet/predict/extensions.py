# SPDX-License-Identifier: Apache-2.0
"""Files beside the UKI: credentials, system and configuration extensions; and register 13, sysexts.

Owns which archives the stub packs of them, in which order and into which register it measures each. Follows
systemd's src/boot/stub.c, `generate_sidecar_initrds`, releases 252 to 262.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mantlet.predict.archive import Target, archive
from mantlet.predict.boot import Boot, Extra, ExtraKind, RegisterPrediction
from mantlet.predict.names import in_order
from mantlet.predict.parts import measured_parts
from mantlet_measure.errors import DecodeError
from mantlet_measure.pcr import BANKS, Bank, Event, Register

CREDENTIAL_SUFFIX = ".cred"
SYSEXT_SUFFIX = ".raw"
CONFEXT_SUFFIX = ".confext.raw"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    kind: ExtraKind
    since: int
    suffix: str
    register: Register
    target: Target


def _secret(directory: str) -> Target:
    return Target(directory=directory, directory_mode=0o040500, file_mode=0o100400)


def _public(directory: str) -> Target:
    return Target(directory=directory, directory_mode=0o040555, file_mode=0o100444)


# In the order of the calls, which is that of the INITRD_* enumeration too.
_CONFIG, _SYSEXTS = Register.KERNEL_CONFIG, Register.SYSEXTS
_ROWS: tuple[_Row, ...] = tuple(
    _Row(kind=kind, since=since, suffix=suffix, register=register, target=target)
    for kind, since, suffix, register, target in (
        (ExtraKind.CREDENTIAL, 252, CREDENTIAL_SUFFIX, _CONFIG, _secret(".extra/credentials")),
        (ExtraKind.GLOBAL_CREDENTIAL, 252, CREDENTIAL_SUFFIX, _CONFIG, _secret(".extra/global_credentials")),
        (ExtraKind.SYSEXT, 252, SYSEXT_SUFFIX, _SYSEXTS, _public(".extra/sysext")),
        (ExtraKind.GLOBAL_SYSEXT, 258, SYSEXT_SUFFIX, _SYSEXTS, _public(".extra/global_sysext")),
        (ExtraKind.CONFEXT, 256, CONFEXT_SUFFIX, _CONFIG, _public(".extra/confext")),
        (ExtraKind.GLOBAL_CONFEXT, 258, CONFEXT_SUFFIX, _CONFIG, _public(".extra/global_confext")),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """An archive that the stub adds to the initrd: its bytes in parts, and what they are measured into."""

    kind: ExtraKind
    register: Register
    parts: tuple[bytes | memoryview, ...]

    def event(self, banks: tuple[Bank, ...]) -> Event:
        """Return the event of measuring the archive."""
        return measured_parts(
            self.register,
            self.parts,
            type="EV_IPL",
            description=f"initrd archive of every {self.kind}",
            banks=banks,
        )


def packed(boot: Boot) -> tuple[Packed, ...]:
    """Return the archives in the order in which the stub packs, measures and appends them.

    DecodeError on a file whose name the stub passes over.
    """
    return tuple(_packed(boot))


def _packed(boot: Boot) -> Iterator[Packed]:
    extras = tuple(_as_seen_by(boot.uki.stub, extra) for extra in boot.extras)
    for row in _ROWS:
        own = {extra.name: extra.content for extra in extras if extra.kind is row.kind}
        if not own or boot.uki.stub < row.since:
            continue
        names = in_order(own, row.suffix, f"{row.kind}")
        for name in names:
            if boot.uki.stub >= 256 and row.suffix == SYSEXT_SUFFIX and name.lower().endswith(CONFEXT_SUFFIX):
                raise DecodeError(
                    f"{row.kind} {name}", expected=f"a name that does not end in {CONFEXT_SUFFIX}", found=name
                )
        yield Packed(
            kind=row.kind,
            register=row.register,
            parts=archive(row.target, ((name, own[name]) for name in names)),
        )


def _as_seen_by(stub: int, extra: Extra) -> Extra:
    """Before 256 a configuration extension of a UKI is one more *.raw."""
    if stub < 256 and extra.kind is ExtraKind.CONFEXT:
        return Extra(kind=ExtraKind.SYSEXT, name=extra.name, content=extra.content)
    return extra


def events(boot: Boot, banks: tuple[Bank, ...] = BANKS) -> RegisterPrediction:
    """Return what the stub measures into register 13: an archive of system extensions, if there are any."""
    return RegisterPrediction(
        events=tuple(item.event(banks) for item in packed(boot) if item.register is Register.SYSEXTS)
    )

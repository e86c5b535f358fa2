# SPDX-License-Identifier: Apache-2.0
"""The boots that predictions are held against: our image in all its situations, and UKIs of others.

Data alone. What differs from a clean boot on purpose says so, with the words by which it must be explained.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

OURS = "our image"


class Suite(StrEnum):
    """Whose boot loader and stub: a Debian suite, with the version of systemd that it has."""

    BOOKWORM = "bookworm"
    TRIXIE = "trixie"
    FORKY = "forky"

    @property
    def systemd(self) -> int:
        """The version of systemd."""
        return {"bookworm": 252, "trixie": 257, "forky": 262}[self.value]


class Companion(StrEnum):
    """Files that stand beside the UKI on the ESP (systemd-stub(7)); a value names what it is."""

    ADDON = "add-on"
    GLOBAL_ADDON = "global add-on"
    CREDENTIAL = "credential"
    GLOBAL_CREDENTIAL = "global credential"
    SYSEXT = "system extension"
    CONFEXT = "configuration extension"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliberate:
    """What was changed on purpose: the enforced registers that move, and words of the explanation."""

    moves: tuple[int, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One boot.

    stub: None for our own image; loader: systemd-boot of that suite starts the UKI. whole: it goes on through
    systemd until the agent speaks; else it ends where the kernel takes over. machine: boots
    of one name share TPM and firmware variables, in order. open: registers that nothing can predict, beside
    those that the firmware's build settles.
    """

    name: str
    secure_boot: bool = True
    whole: bool = False
    stub: Suite | None = None
    loader: Suite | None = None
    mixin: bool = True
    companions: tuple[Companion, ...] = ()
    profiles: tuple[str, ...] = ()
    smbios_cmdline: str | None = None
    memory_mib: int = 2048
    processors: int = 2
    machine: str = ""
    open: tuple[int, ...] = ()
    deliberate: Deliberate | None = None

    @property
    def id(self) -> str:
        """The name as a file name."""
        return "".join(char if char.isalnum() else "-" for char in self.name.lower())


FIRST = Scenario(name=OURS, whole=True, machine="ours")
_OWN: tuple[Scenario, ...] = (
    FIRST,
    replace(FIRST, name=f"{OURS}, second boot, other memory and processors", memory_mib=3072, processors=1),
    Scenario(
        name=f"{OURS}, Secure Boot off",
        secure_boot=False,
        deliberate=Deliberate(moves=(7,), words=("Secure Boot",)),
    ),
    Scenario(
        name=f"{OURS} and an add-on",
        companions=(Companion.ADDON,),
        deliberate=Deliberate(moves=(4, 9, 12), words=("add-on",)),
    ),
    Scenario(
        name=f"{OURS} and a credential",
        companions=(Companion.CREDENTIAL,),
        deliberate=Deliberate(moves=(9, 12), words=("credential",)),
    ),
    Scenario(
        name=f"{OURS} and a command line from SMBIOS",
        smbios_cmdline="debug",
        deliberate=Deliberate(moves=(9, 12), words=("command line", "debug")),
    ),
)
_EVERYTHING: Mapping[Suite, tuple[Companion, ...]] = {
    # systemd 252 knows neither add-ons nor configuration extensions.
    Suite.BOOKWORM: (Companion.CREDENTIAL, Companion.GLOBAL_CREDENTIAL, Companion.SYSEXT),
    Suite.TRIXIE: tuple(Companion),
    Suite.FORKY: tuple(Companion),
}


def _of_others() -> tuple[Scenario, ...]:
    clean = [
        Scenario(name=f"stub {suite.systemd}, Secure Boot {word}", stub=suite, secure_boot=word == "on")
        for suite in Suite
        for word in ("on", "off")
    ]
    full = [
        Scenario(
            name=f"stub {suite.systemd} and all companions",
            stub=suite,
            secure_boot=suite is Suite.TRIXIE,
            companions=companions,
        )
        for suite, companions in _EVERYTHING.items()
    ]
    return (
        *clean,
        *full,
        Scenario(name="stub 257, two profiles", stub=Suite.TRIXIE, profiles=("console=null second",)),
        Scenario(
            name="systemd-boot 252, then a UKI", stub=Suite.BOOKWORM, loader=Suite.BOOKWORM, secure_boot=False
        ),
        Scenario(
            name="systemd-boot 257, then a UKI", stub=Suite.TRIXIE, loader=Suite.TRIXIE, secure_boot=True
        ),
        Scenario(
            name="systemd-boot 262, then a UKI, a boot secret",
            stub=Suite.FORKY,
            loader=Suite.FORKY,
            secure_boot=False,
            mixin=False,
            open=(9,),
        ),
    )


SCENARIOS: tuple[Scenario, ...] = (*_OWN, *_of_others())

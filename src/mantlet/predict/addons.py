# SPDX-License-Identifier: Apache-2.0
"""Add-ons: PE files beside the UKI that extend its command line, microcode, initrd or device tree.

Owns which add-ons the stub loads, in which order, and what it takes from each. Follows systemd's
src/boot/stub.c, `load_addons`, releases 254 to 262. Whether the firmware lets an add-on be loaded is Secure
Boot's matter: see `mantlet.predict.secure_boot`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mantlet.predict.boot import Addon, Boot
from mantlet.predict.names import in_order
from mantlet.predict.pe import Image, Section
from mantlet.predict.uki import located, text

SUFFIX = ".addon.efi"
_SINCE = 254
# 255.0 to 255.4 look for add-ons before they know their own .uname, and so check none.
_UNAME_CHECKED_IN_255 = 5
_WANTED: Mapping[int, tuple[str, ...]] = {
    254: (".cmdline",),
    255: (".cmdline", ".dtb"),
    256: (".cmdline", ".dtb"),
}
_WANTED_SINCE_257 = (".cmdline", ".dtb", ".dtbauto", ".initrd", ".ucode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """An add-on that the stub takes something from, with the sections that it takes."""

    addon: Addon
    sections: Mapping[str, Section]

    @property
    def image(self) -> Image:
        """The image of the add-on."""
        return self.addon.image


def loaded(boot: Boot) -> tuple[Addon, ...]:
    """Return the add-ons that the firmware loads, in order: global ones first, each folder by name."""
    if boot.uki.stub < _SINCE:
        return ()
    names = {addon.name for addon in boot.addons}
    in_order(names, SUFFIX, "add-on")
    return tuple(sorted(boot.addons, key=lambda addon: (not addon.is_global, addon.name)))


def applied(boot: Boot) -> tuple[Applied, ...]:
    """Return those of the loaded add-ons that the stub takes something from, in the same order."""
    return tuple(_applied(boot))


def _applied(boot: Boot) -> Iterator[Applied]:
    stub = boot.uki.stub
    wanted = _WANTED.get(stub, _WANTED_SINCE_257)
    for addon in loaded(boot):
        sections = located(addon.image.sections, stub, addon.image.what)
        taken = {name: section for name, section in sections.items() if name in wanted}
        # An add-on must not be a UKI, and its .uname, if it has one, must be that of the UKI.
        if not taken or ".linux" in sections or not _same_kernel(boot, addon.image, sections):
            continue
        yield Applied(addon=addon, sections=taken)


def _same_kernel(boot: Boot, image: Image, sections: Mapping[str, Section]) -> bool:
    uki = boot.uki
    own = uki.sections(boot.profile)
    if (uki.stub, uki.point) < (255, _UNAME_CHECKED_IN_255) and uki.stub == 255:
        return True
    if ".uname" not in own or ".uname" not in sections:
        return True
    # strneq8: no further than the section of the add-on reaches, and no further than the first NUL.
    theirs = image.content(sections[".uname"])
    ours = text(uki.image, own[".uname"]).encode("utf-8") + b"\0"
    end = theirs.find(b"\0")
    return ours.startswith(theirs if end < 0 else theirs[: end + 1])

# SPDX-License-Identifier: Apache-2.0
"""Which entry systemd-boot starts when nobody is there to choose (src/boot/boot.c; UAPI.1, *Boot Loader*).

Owns the sorting of entries and the reading of loader.conf, for a machine whose firmware variables do not name
an entry. It predicts unified kernel images in \\EFI\\Linux; an entry of type #1 that would win is refused.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cmp_to_key

from mantlet.predict import pe, version_order
from mantlet.predict.fat import Volume
from mantlet.predict.fat_directory import Entry as File
from mantlet.predict.uki import UnpredictableError
from mantlet_measure.errors import DecodeError, shown

FOLDER = "\\EFI\\Linux"
# NEWS of systemd 260.
PREFERRED_SINCE = 260
_TYPE1_FOLDER = "\\loader\\entries"
_ENTRIES_LIMIT = 256
_CONF_LIMIT = 64 << 10
_VALUE_LIMIT = 256
# `boot_entry_parse_tries`: foobar+LEFT.efi or foobar+LEFT-DONE.efi
_TRIES = re.compile(
    r"(?P<stem>.*)\+(?P<left>[0-9]{1,9})(?:-(?P<done>[0-9]{1,9}))?(?P<suffix>\.[^.]*)", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One menu entry; `file` is its UKI in FOLDER, None for an entry of type #1."""

    id: str
    file: File | None
    sort_key: str
    machine_id: str
    version: str
    left: int | None
    done: int


def without_tries(name: str) -> str:
    """Return a file name without its boot counters (src/boot/util.c, `remove_boot_count`)."""
    counted = _TRIES.fullmatch(name)
    return f"{counted['stem']}{counted['suffix']}" if counted else name


def choose(
    volume: Volume, *, configuration: bytes | None, version: int, wanted: str | None = None
) -> tuple[str, File]:
    """Return the UKI that systemd-boot starts from this EFI system partition: its path, and the file.

    configuration: the content of loader.conf. version: that of systemd-boot. wanted: the name of another
    entry's file, for who chooses it. DecodeError when there is no entry, UnpredictableError when the disk
    alone does not decide.
    """
    if wanted is not None:
        return _named(volume, wanted)
    entries = sorted((*_unified(volume), *_type1(volume)), key=cmp_to_key(_compare))
    if not entries:
        raise DecodeError(
            "systemd-boot", expected=f"an entry in {FOLDER}", found="none", hint="put the UKI there"
        )
    settings = key_values(configuration or b"", " \t", what="loader.conf")
    if version < PREFERRED_SINCE:
        settings = {key: value for key, value in settings.items() if key != "preferred"}
    chosen = next(_matching(entries, settings), entries[0])
    if chosen.file is None:
        raise UnpredictableError(
            f"systemd-boot: expected a unified kernel image as its default entry, found {shown(chosen.id)}, "
            "an entry of type #1",
            hint="name one of the UKIs with --uki, or make one the default in loader.conf",
        )
    return f"{FOLDER}\\{chosen.file.name}", chosen.file


def key_values(content: bytes, separators: str, *, what: str) -> Mapping[str, str]:
    """Return the assignments of a text; the last one counts (efi-string.c, `line_get_key_value`)."""
    if len(content) > _CONF_LIMIT:
        raise DecodeError(what, expected=f"at most {_CONF_LIMIT} bytes", found=str(len(content)))
    found: dict[str, str] = {}
    for raw in re.split(r"[\r\n]", content.split(b"\0", 1)[0].decode("utf-8", "replace")):
        line = raw.strip(" \t")
        parts = re.split(f"[{separators}]+", line, maxsplit=1)
        if line.startswith("#") or len(parts) < 2:
            continue
        key, value = parts
        if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]:
            value = value[1:-1]
        found[key] = value
    return found


def _named(volume: Volume, wanted: str) -> tuple[str, File]:
    name = wanted.replace("/", "\\")
    path = name if "\\" in name else f"{FOLDER}\\{name}"
    file = volume.find(path)
    if file is None:
        names = ", ".join(found.name for found in _files(volume)) or "none"
        raise DecodeError(
            "systemd-boot",
            expected=f"an entry {shown(wanted)}",
            found=f"entries {names}",
            hint="give --uki one of these names",
        )
    return path, file


def _matching(entries: Iterable[_Entry], settings: Mapping[str, str]) -> Iterator[_Entry]:
    """Yield the entries that loader.conf wants, `preferred` before `default`."""
    listed = tuple(entries)
    for key in ("preferred", "default"):
        pattern = settings.get(key, "").lower()
        # `@saved` is the entry of the boot before, which only a firmware variable knows; at first there is
        # none.
        if not pattern or pattern == "@saved":
            continue
        if "@" in pattern or "\\" in pattern:
            raise UnpredictableError(
                f"loader.conf: expected a pattern without profile, found {key} {shown(pattern)}",
                hint="name the UKI with --uki and its profile with --profile",
            )
        for entry in listed:
            if fnmatchcase(entry.id, pattern) and (key == "default" or entry.left != 0):
                yield entry


def _files(volume: Volume) -> Iterator[File]:
    files = volume.entries(FOLDER)
    if len(files) > _ENTRIES_LIMIT:
        raise DecodeError(
            "systemd-boot", expected=f"at most {_ENTRIES_LIMIT} files in {FOLDER}", found=str(len(files))
        )
    for file in files:
        name = file.name.lower()
        if not file.is_directory and name.endswith(".efi") and not name.startswith((".", "auto-")):
            yield file


def _unified(volume: Volume) -> Iterator[_Entry]:
    """Yield the entries of `config_load_type2_entries`, without those of further profiles."""
    for file in _files(volume):
        image = pe.decode(volume.read(file, limit=pe.LIMIT), what=file.name)
        section = next((item for item in image.sections if item.name == ".osrel"), None)
        if section is None or section.virtual_size > _CONF_LIMIT:
            continue
        release = key_values(image.content(section), "=", what=f"{file.name}: .osrel")
        # src/fundamental/bootspec.c, `bootspec_pick_name_version_sort_key`
        if not any(release.get(key) for key in ("PRETTY_NAME", "IMAGE_ID", "NAME", "ID")):
            continue
        versions = (release.get(key) for key in ("IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"))
        yield _entry(
            file.name,
            file=file,
            sort_key=release.get("IMAGE_ID") or release.get("ID") or "",
            version=next((version for version in versions if version), ""),
        )


def _type1(volume: Volume) -> Iterator[_Entry]:
    for file in volume.entries(_TYPE1_FOLDER)[:_ENTRIES_LIMIT]:
        name = file.name.lower()
        if file.is_directory or not name.endswith(".conf") or name.startswith((".", "auto-")):
            continue
        content = bytes(volume.read(file, limit=_CONF_LIMIT))
        settings = key_values(content, " \t", what=file.name)
        yield _entry(
            file.name,
            file=None,
            sort_key=settings.get("sort-key", ""),
            machine_id=settings.get("machine-id", ""),
            version=settings.get("version", ""),
        )


def _entry(name: str, *, file: File | None, sort_key: str, version: str, machine_id: str = "") -> _Entry:
    counted = _TRIES.fullmatch(name)
    return _Entry(
        id=without_tries(name).lower(),
        file=file,
        sort_key=sort_key[:_VALUE_LIMIT],
        machine_id=machine_id[:_VALUE_LIMIT],
        version=version[:_VALUE_LIMIT],
        left=int(counted["left"]) if counted else None,
        done=int(counted["done"] or 0) if counted else 0,
    )


def _compare(a: _Entry, b: _Entry) -> int:
    """Compare as `boot_entry_compare` does: negative when `a` comes first."""
    if result := (a.left == 0) - (b.left == 0) or (not a.sort_key) - (not b.sort_key):
        return result
    if a.sort_key:
        for left, right in ((a.sort_key, b.sort_key), (a.machine_id, b.machine_id)):
            if left != right:
                return -1 if left < right else 1
        # Downwards: the newest first.
        if result := version_order.compare(b.version, a.version):
            return result
    if result := version_order.compare(b.id, a.id):
        return result
    if a.left is None or b.left is None:
        return 0
    return (b.left - a.left) or (a.done - b.done)

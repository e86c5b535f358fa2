# SPDX-License-Identifier: Apache-2.0
"""The requirements: every library pinned by version and digests, and no word about where it comes from."""

import re
import tomllib

from tests.house.tree import read

ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})+)$")


def normal(name: str) -> str:
    """Normalise the name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    """Map each pinned distribution to its version; fail on a line that pins nothing."""
    text = re.sub(r" \\\n +", " ", read("requirements/dev.txt"))
    versions = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        entry = ENTRY.match(line)
        assert entry, f"requirements/dev.txt: neither pin nor digest: {line}"
        versions[normal(entry[1])] = entry[2]
    return versions


def test_each_library_that_is_asked_for_is_pinned_with_its_digests() -> None:
    asked = {
        normal(line) for line in read("requirements/dev.in").splitlines() if line and not line.startswith("#")
    }
    assert len(asked) > 10
    assert asked <= set(pinned())


def test_each_dependency_of_the_distributions_is_pinned_or_built_here() -> None:
    for project in ("pyproject.toml", "agent/pyproject.toml"):
        declared = tomllib.loads(read(project))
        needed = {
            normal(re.split(r"[ <>=!~;\[]", requirement, maxsplit=1)[0])
            for requirement in (
                *declared["project"].get("dependencies", ()),
                *declared["build-system"]["requires"],
            )
        }
        assert needed <= set(pinned()) | {"mantlet-agent"}, project

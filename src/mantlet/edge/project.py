# SPDX-License-Identifier: Apache-2.0
"""The checkout that the tool works in: where the recipes are, and the ignored folders it fills."""

from pathlib import Path

from mantlet_measure.errors import UnavailableError


def root() -> Path:
    """Find the checkout: the working directory or one above it, else the one this module lies in."""
    for start in (Path.cwd(), Path(__file__).resolve()):
        for folder in (start, *start.parents):
            if (folder / "image" / "parameters.yaml").is_file():
                return folder
    raise UnavailableError(
        f"expected a checkout of Mantlet around {Path.cwd()}, found none",
        hint="change into the checkout; `verify` and `ask` work without one",
    )


def build_folder() -> Path:
    """`build/`: images, and what is rendered on the way to them."""
    return root() / "build"


def key_folder() -> Path:
    """`keys/`: the secrets of this checkout, made on first use."""
    return root() / "keys"


def state_folder() -> Path:
    """`state/`: machines that were booted here, their TPMs and disks."""
    return root() / "state"


def tools_folder() -> Path:
    """`tools/`: the tools tree and the caches that belong to it."""
    return root() / "tools"

# SPDX-License-Identifier: Apache-2.0
"""The tools tree: one Debian tree with mkosi, QEMU and swtpm, so that the host needs almost nothing.

A tree is named by a digest of its package list and of the mirror's Release file: the same name, the same
programs. Programs run inside it through mkosi's own sandbox, which needs no daemon and, where the host allows
user namespaces, no root.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from mantlet.edge import files, mirror, output, process, project
from mantlet_measure.errors import UnavailableError

# Beside the tree and independent of it: what mantlet.edge.boot_loaders fetches.
KEPT = "boot-loaders"
_LINK = "current"
# Inside the sandbox, where it is empty and ours.
_TMP = "/tmp"  # noqa: S108, see above
_SANDBOX = "usr/lib/python3/dist-packages/mkosi/sandbox.py"


@dataclass(frozen=True, slots=True)
class ToolsTree:
    """A finished tree at `root`."""

    root: Path

    @classmethod
    def current(cls) -> "ToolsTree":
        """The tree that was made last, or a new one when there is none."""
        link = project.tools_folder() / _LINK
        return cls(link.resolve()) if link.exists() else make()

    @property
    def key(self) -> str:
        """What the tree is named by; caches that depend on the same packages are named by it too."""
        return self.root.name

    def command(
        self,
        argv: Sequence[str],
        *,
        ro: Sequence[Path] = (),
        rw: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> list[str]:
        """Words that run `argv` in the tree, with the paths `ro` and `rw` in it where they are outside.

        The working directory stays if it is under one of those paths. options: further words for the sandbox.
        """
        words = [sys.executable, "-SI", str(self.root / _SANDBOX)]
        words += ["--ro-bind", f"{self.root}/usr", "/usr", "--ro-bind", f"{self.root}/etc", "/etc"]
        for name in ("bin", "lib", "lib64", "sbin"):
            words += ["--symlink", f"usr/{name}", f"/{name}"]
        words += ["--dev", "/dev", "--bind", "/proc", "/proc", "--ro-bind", "/sys", "/sys"]
        words += ["--tmpfs", _TMP, "--dir", f"/var{_TMP}", "--dir", "/run"]
        for flag, paths in (("--ro-bind", ro), ("--bind", rw)):
            for path in paths:
                words += [flag, str(path.absolute()), str(path.absolute())]
        words += ["--setenv", "PATH", "/usr/bin:/usr/sbin", "--setenv", "HOME", _TMP]
        words += ["--setenv", "LC_ALL", "C.UTF-8"]
        for name, value in (env or {}).items():
            words += ["--setenv", name, value]
        if os.geteuid() != 0:
            words.append("--become-root")
        here = Path.cwd()
        inside = any(here.is_relative_to(path.absolute()) for path in (*ro, *rw))
        words += ["--chdir", str(here) if inside else "/", *options, "--"]
        return words + list(argv)


def make() -> ToolsTree:
    """Make the tree if it is missing or out of date, and point `tools/current` to it."""
    wanted = yaml.safe_load((project.root() / "image" / "tools.yaml").read_text("utf-8"))
    suite = str(wanted["suite"])
    packages = sorted(map(str, wanted["packages"]))
    source = mirror.find(suite)
    folder = project.tools_folder()
    key = hashlib.sha256("\n".join((suite, source.release_sha256, *packages)).encode()).hexdigest()[:16]
    tree = folder / key
    if not tree.exists():
        folder.mkdir(parents=True, exist_ok=True)
        output.step(f"Making the tools tree {key}: {len(packages)} packages of {suite} and what they need…")
        debootstrap(tree, packages, source, variant="apt")
        for other in folder.iterdir():
            if other.is_dir() and not other.is_symlink() and other not in (tree, folder / KEPT):
                shutil.rmtree(other)
    if not (folder / _LINK).exists() or (folder / _LINK).resolve() != tree:
        files.link_atomic(folder / _LINK, key)
    return ToolsTree(tree)


def debootstrap(tree: Path, packages: Sequence[str], source: mirror.Mirror, *, variant: str) -> None:
    """Unpack packages of one suite into the new folder `tree`; it has its name only when it is whole.

    variant: of mmdebstrap: `apt` installs them and what they need, `extract` unpacks them and no more. apt
    checks signatures and digests. UnavailableError without Debian's keyring, ProcessError when it fails.
    """
    if not mirror.KEYRING.exists():
        raise UnavailableError(
            f"expected Debian's archive keyring at {mirror.KEYRING}, found none",
            hint="apt-get install debian-archive-keyring",
        )
    partial = tree.with_name(f".{tree.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    archive = partial.with_suffix(".tar")
    as_root = os.geteuid() == 0
    argv = [
        "mmdebstrap", "--quiet", f"--variant={variant}", f"--include={','.join(packages)}",
        # A frozen mirror is past the date until which its Release file calls itself valid.
        "--aptopt=Acquire::Check-Valid-Until \"false\"",
        # Without root the tree comes as an archive: its files would belong to users that do not exist here.
        "--mode=root" if as_root else "--mode=unshare",
        source.suite, str(partial if as_root else archive),
        f"deb [signed-by={mirror.KEYRING}] {source.uri} {source.suite} main",
    ]  # fmt: skip
    try:
        process.run(argv, log=tree.parent / "mmdebstrap.log")
        if not as_root:
            partial.mkdir()
            process.run(
                ["tar", "-x", "--no-same-owner", "--exclude=./dev/*", "-C", str(partial), "-f", str(archive)]
            )
        partial.rename(tree)
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(partial, ignore_errors=True)

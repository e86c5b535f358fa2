# SPDX-License-Identifier: Apache-2.0
"""The archive that a shell's script registers as an initrd: what cpio makes of it, it was made of."""

from mantlet.edge.attack.esp import cpio
from mantlet.predict import cpio as reader


def test_an_archive_holds_its_files_and_the_folders_above_them() -> None:
    archive = cpio({"etc/systemd/system/x.service": b"[Unit]\n", ".extra/x.cred": b"abc"})
    assert len(archive) % 4 == 0
    found = {entry.path: entry.content for entry in reader.entries(archive, keep=64)}
    assert found == {
        ".extra": b"",
        "etc": b"",
        "etc/systemd": b"",
        "etc/systemd/system": b"",
        "etc/systemd/system/x.service": b"[Unit]\n",
        ".extra/x.cred": b"abc",
    }

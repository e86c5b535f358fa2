# SPDX-License-Identifier: Apache-2.0
"""The kernel executes what db has signed: a root that nobody signed, or somebody else, starts nothing.

Hash, data and tree are whole, and every register is as the release predicts. Without a signature veritysetup
has no root to offer. With one of a foreign key it tries again without: then it is the kernel's policy that
keeps the root's first program from starting. (Without the policy the agent went
on to configure.)
"""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from mantlet.edge.attack import damage, tpm_trace
from mantlet.edge.attack.tpm_trace import Trace
from mantlet.edge.keys import KeyFolder
from tests.vm.rig import BOOT_SECONDS, Rig, Site
from tests.vm.test_refusals import FIRMWARE_STARTS, copied_disk, moved

pytestmark = pytest.mark.vm

_OPTIONS = (pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes, pkcs7.PKCS7Options.DetachedSignature)


def emptied(signed: bytes, folder: Path) -> bytes:
    """No signature at all."""
    return b""


def of_another_signer(signed: bytes, folder: Path) -> bytes:
    """A signature over the same root hash by a key that the firmware does not hold."""
    document = json.loads(signed)
    keys = KeyFolder(folder / "foreign")
    keys.secure_boot()
    key = serialization.load_pem_private_key((keys.folder / "db.key").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((keys.folder / "db.pem").read_bytes())
    content = document["rootHash"].encode("ascii")
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
    # The loader's type is any private key's; ours is RSA.
    builder = builder.add_signer(certificate, key, hashes.SHA256())  # type: ignore[arg-type]
    document["signature"] = base64.b64encode(builder.sign(serialization.Encoding.DER, _OPTIONS)).decode(
        "ascii"
    )
    document["certificateFingerprint"] = certificate.fingerprint(hashes.SHA256()).hex()
    return json.dumps(document).encode("ascii")


@pytest.mark.parametrize("change", [emptied, of_another_signer])
def test_a_root_whose_hash_db_did_not_sign_gets_no_key_and_ends(
    rig: Rig, sealed: Site, tmp_path: Path, change: Callable[[bytes, Path], bytes]
) -> None:
    site = sealed.copy(tmp_path)
    disk = copied_disk(rig, tmp_path)
    damage.rewrite_signature(disk, lambda signed: change(signed, tmp_path), rig.tools)
    machine = rig.boot(site, replace(rig.hardware(site), disk=disk))
    machine.wait_until_off(seconds=BOOT_SECONDS)
    assert FIRMWARE_STARTS in machine.serial.read_bytes()
    assert machine.lines() == ()
    trace = Trace(machine.trace)
    assert trace.results(tpm_trace.UNSEAL) == []
    # The table of the disk is as it was, and nothing measures the partition: no register tells.
    assert moved(rig, trace) == ()

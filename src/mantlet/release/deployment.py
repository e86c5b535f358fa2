# SPDX-License-Identifier: Apache-2.0
"""The making of deployment documents: a release, a model, a runtime and a policy key, tied together and
signed.

Owns the two steps from a manifest to an envelope. The document itself, which the agent decodes too, is
`mantlet_measure.deployment`.
"""

import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mantlet.release import manifest
from mantlet_measure import deployment, dsse
from mantlet_measure.deployment import Deployment, Model
from mantlet_measure.remote import Remote


def new_deployment(
    manifest_bytes: bytes,
    model: Model,
    *,
    id: str,
    runtime: str,
    policy_key: bytes,
    fetch: Remote | None = None,
) -> Deployment:
    """Return the document that deploys `model` on the image of this measurements.json.

    policy_key: the Name of the policy key whose approvals, and no other's, open the model's key there. fetch:
    from where the machine gets the body of a stream pack, if not from its disk.
    DecodeError when the manifest is not one, or when an identifier breaks the document's own rules.
    """
    image = manifest.decode(manifest_bytes).image
    document = Deployment(
        id=id,
        image_id=image.id,
        image_version=image.version,
        manifest_sha256=hashlib.sha256(manifest_bytes).digest(),
        model=model,
        policy_key=policy_key,
        runtime=runtime,
        fetch=fetch,
    )
    # What the agent would refuse is refused here, before it is signed.
    return deployment.decode(deployment.encode(document))


def sign(document: Deployment, keys: Sequence[Ed25519PrivateKey]) -> dsse.Envelope:
    """Sign the canonical bytes of a document with every key. ValueError without keys."""
    if not keys:
        raise ValueError("a deployment document needs a signature")
    return dsse.sign(deployment.PAYLOAD_TYPE, deployment.encode(document), keys)

# SPDX-License-Identifier: Apache-2.0
"""Register 15, system-identity: zero until the agent tells of its deployment.

Owns what the agent will measure for a given deployment document; the words are `mantlet_measure.words`, and
what systemd's user space would measure before it is in `Boot.user_space`.
"""

import hashlib

from mantlet.predict.boot import RegisterPrediction
from mantlet_measure.deployment import Deployment
from mantlet_measure.words import agent_events


def events(
    payload: bytes, deployment: Deployment, *, runtime_sha256: bytes, capped: bool
) -> RegisterPrediction:
    """Return what the agent measures under this deployment document, with the cap or just before it.

    payload: the bytes that the document's envelope signs, which `deployment` was decoded from.
    runtime_sha256: of the runtime declaration in the image.
    """
    return RegisterPrediction(
        events=agent_events(
            deployment_sha256=hashlib.sha256(payload).digest(),
            runtime_sha256=runtime_sha256,
            root_hash=deployment.model.root_hash,
            capped=capped,
        )
    )

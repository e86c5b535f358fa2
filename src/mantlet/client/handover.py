# SPDX-License-Identifier: Apache-2.0
"""Handing a sealed key and its approvals to a machine that awaits them, and asking how far it has come
(docs/formats.md, *Evidence*).

Neither is secret: only the machine's TPM opens the key. Verifying the machine comes first, and is the
caller's.
"""

from dataclasses import dataclass

from mantlet.client.transport import Transport, error_text, expect
from mantlet_measure import handover, strictjson
from mantlet_measure.errors import MantletError
from mantlet_measure.handover import Handover
from mantlet_measure.strictjson import Fields

SEALED_KEY_PATH = "/.well-known/mantlet/sealed-key"
STATUS_PATH = "/.well-known/mantlet/status"
_LIMIT = 4096
_WORD = r"[a-z][a-z-]{0,47}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The last stage that the agent has reached, and its code."""

    stage: str
    code: str


def hand_over(transport: Transport, given: Handover) -> None:
    """Give the machine its sealed key and the approvals. MantletError when it awaits none, or refuses."""
    response = transport.request("POST", SEALED_KEY_PATH, handover.encode(given), limit=_LIMIT)
    if response.status == 409:
        raise MantletError(
            f"sealed key: expected a machine that awaits one, "
            f"found one that does not ({error_text(response.body)})",
            hint="ask it with `mantlet verify --state serving`; "
            "to give it another key, boot it with an empty slot",
        )
    expect(response, 202, what="sealed key")


def fetch_status(transport: Transport) -> Status:
    """Ask how far the machine has come. It is the machine's word, signed by nobody."""
    response = transport.request("GET", STATUS_PATH, limit=_LIMIT)
    what = "status"
    fields = Fields(strictjson.decode(expect(response, 200, what=what), what=what), what)
    status = Status(stage=fields.text("stage", pattern=_WORD), code=fields.text("code", pattern=_WORD))
    fields.done()
    return status

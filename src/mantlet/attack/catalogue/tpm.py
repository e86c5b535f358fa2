# SPDX-License-Identifier: Apache-2.0
"""The TPM and what releases the key: another, none, cleared, one bank, an old release, replays."""

from mantlet.attack import signs
from mantlet.attack.changes import Change, Deployment, Replay, Tpm
from mantlet.attack.model import Attack, Control


def _refused(name: str, title: str, *changes: Change, rule: str | None = None) -> Attack:
    return Attack(
        id=name,
        name=rule or name,
        title=title,
        changes=changes,
        sign=signs.any_of(signs.stays_on(), signs.serves()),
        control=Control.WEAKENED_BUILD,
        releases=False,
    )


def _replayed(name: str, title: str, replay: Replay) -> Attack:
    return Attack(
        id=name,
        name=name,
        title=title,
        changes=(replay,),
        sign=signs.released(),
        control=Control.APPROVED_ANYTHING,
        releases=False,
        fast=True,
    )


ATTACKS: tuple[Attack, ...] = (
    _refused("no-tpm", "No TPM", Tpm.ABSENT),
    _refused("sha1-tpm", "A TPM with the bank of SHA-1 alone", Tpm.SHA1_ONLY),
    _refused("another-tpm", "The disks in another machine", Tpm.OTHER, rule="foreign-tpm"),
    _refused("cleared-tpm", "A cleared TPM", Tpm.CLEARED, rule="foreign-tpm"),
    _refused("counter-deleted", "The counter of epochs deleted", Tpm.COUNTER_DELETED, rule="counter-attacks"),
    _refused(
        "counter-created-again",
        "The counter of epochs created again",
        Tpm.COUNTER_CREATED_AGAIN,
        rule="counter-attacks",
    ),
    _refused("no-approvals", "No approvals", Deployment.NO_APPROVALS, rule="foreign-approvals"),
    _refused(
        "foreign-approvals",
        "Approvals of another policy key",
        Deployment.FOREIGN_APPROVALS,
        rule="foreign-approvals",
    ),
    Attack(
        id="old-release",
        name="old-release",
        title="A release that was withdrawn",
        changes=(Tpm.EPOCH_RAISED,),
        sign=signs.released(),
        control=Control.NOT_WITHDRAWN,
        releases=False,
    ),
    _replayed(
        "register-replay", "What software can extend is replayed after a foreign boot", Replay.REACHABLE
    ),
    _replayed("early-unseal", "The key asked for when the initrd is left", Replay.EARLY),
    _replayed("second-unseal", "The key asked for after the cap", Replay.CAPPED),
)
"""Each has its own boot; the replays need none."""

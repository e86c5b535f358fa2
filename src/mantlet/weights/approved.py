# SPDX-License-Identifier: Apache-2.0
"""What an approval is over: it holds a digest alone, so each policy that could be meant is computed.

The digests are those of `mantlet.weights.approve`, over every set of the registers whose values are given. A
digest that is none of them is over other values, or of another form; which of the two nobody can tell.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import NamedTuple

from mantlet.weights.approve import boot_policy
from mantlet.weights.policy import pcr_policy
from mantlet_measure.epoch_counter import EpochCounter
from mantlet_measure.pcr import BANKS, Bank
from mantlet_measure.policy import START


class Covered(NamedTuple):
    """The registers that a policy is over, ascending, and the epoch up to which the counter may stand.

    epoch: None where the counter is not asked.
    """

    registers: tuple[int, ...]
    epoch: int | None


def policies(
    values: Mapping[Bank, Mapping[int, bytes]], *, epochs: Iterable[int], policy_key: bytes
) -> Mapping[bytes, Covered]:
    """Return each policy over a set of registers, with and without the counter, by its digest.

    values: of the same registers in both banks, eight as a rule: the sets are 2 to the power of their number.
    epochs: each is tried. policy_key: TPMT_PUBLIC.
    """
    known = sorted(values[BANKS[0]])
    tried = tuple(dict.fromkeys(epochs))
    counter = EpochCounter(policy_key=policy_key)
    found = {counter.at_most(epoch, START): Covered((), epoch) for epoch in tried}
    for size in range(1, len(known) + 1):
        for registers in combinations(known, size):
            found[pcr_policy(values, registers)] = Covered(registers, None)
            for epoch in tried:
                policy = boot_policy(values, registers, epoch=epoch, policy_key=policy_key)
                found[policy] = Covered(registers, epoch)
    return found

# SPDX-License-Identifier: Apache-2.0
"""The policy digest of a boot, computed without a TPM from the registers that it leaves.

Follows TPM 2.0 Library, Part 3, *PolicyPCR* (23.7), over SHA-256, and the section *Approvals* of
docs/formats.md. The formulas that the agent needs too are `mantlet_measure.policy`. It decides neither which
values are right nor who may approve them.
"""

import hashlib
from collections.abc import Iterable, Mapping

from mantlet_measure.pcr import BANKS, Bank
from mantlet_measure.policy import START, Command, update


def pcr_selection(banks: Iterable[Bank], registers: Iterable[int]) -> bytes:
    """Marshal a TPML_PCR_SELECTION of the same registers in each bank, in the order of `banks`.

    Source: TPM 2.0 Part 2, 10.6.1: register n is bit n mod 8 of octet n div 8. sizeofSelect is 3, as the
    platform profile's PCR_SELECT_MIN says; another size is another digest.
    """
    mask = sum(1 << register for register in set(registers))
    selected = mask.to_bytes(3, "little")
    entries = [bank.tpm_alg.to_bytes(2, "big") + b"\x03" + selected for bank in banks]
    return len(entries).to_bytes(4, "big") + b"".join(entries)


def pcr_policy(values: Mapping[Bank, Mapping[int, bytes]], registers: Iterable[int]) -> bytes:
    """Compute the SHA-256 digest of PolicyPCR over `registers` of both banks.

    values: per bank, the value of each register. Raises KeyError for a register that has none.
    Source: Part 3, 23.7: H(old ‖ TPM_CC_PolicyPCR ‖ pcrs ‖ H(values in the order of the selection)).
    """
    chosen = sorted(set(registers))
    concatenated = b"".join(values[bank][register] for bank in BANKS for register in chosen)
    digest = hashlib.sha256(concatenated).digest()
    return update(START, Command.POLICY_PCR, pcr_selection(BANKS, chosen) + digest)

# SPDX-License-Identifier: Apache-2.0
"""The fuse's one TPM command, made by hand, on a TPM that was not written for the test."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tpm2_pytss import TCTILdr

from mantlet_agent import extend
from mantlet_agent.fuse import Fuse
from mantlet_agent.places import Places
from mantlet_agent.stages import Code, StageError
from mantlet_measure.pcr import BANKS, replay
from mantlet_measure.words import FuseKind, fuse_event


@pytest.fixture
def device(tcti: str) -> Iterator[int]:
    """A descriptor that is asked as the resource manager is: a command is written, an answer is read."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    chip = TCTILdr(*tcti.split(":", 1))

    def carry() -> None:
        while command := theirs.recv(4096):
            chip.transmit(command)
            theirs.send(chip.receive())

    carrier = threading.Thread(target=carry)
    carrier.start()
    yield ours.fileno()
    ours.close()
    carrier.join()
    chip.close()
    theirs.close()


@pytest.mark.parametrize("kind", FuseKind)
def test_a_fuse_that_burns_leaves_its_word_in_register_15_of_both_banks(
    device: int, tmp_path: Path, kind: FuseKind
) -> None:
    places = Places(root=tmp_path)
    places.fuse_word.parent.mkdir(parents=True)
    Fuse(places, device).burn(kind)
    assert places.fuse_word.read_text() == kind.word
    expected = {bank: replay(bank, [fuse_event(kind).digests[bank]]) for bank in BANKS}
    assert read_15(device) == expected


def test_a_command_that_the_tpm_refuses_is_no_success(device: int) -> None:
    # TPM_RC_VALUE for the first handle: there is no register 77.
    with pytest.raises(StageError) as caught:
        extend.send(device, extend.command(77, b"x"))
    assert caught.value.code is Code.TPM_ERROR


def read_15(device: int) -> dict:
    """TPM2_PCR_Read of register 15, each bank by itself (Part 3, 22.4): the digest is the last field."""
    values = {}
    for bank in BANKS:
        selection = b"\0\0\0\1" + bank.tpm_alg.to_bytes(2, "big") + b"\3\0\x80\0"
        os.write(device, b"\x80\x01" + (10 + len(selection)).to_bytes(4, "big") + b"\0\0\1\x7e" + selection)
        values[bank] = os.read(device, 4096)[-bank.size :]
    return values

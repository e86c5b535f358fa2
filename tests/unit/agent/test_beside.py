# SPDX-License-Identifier: Apache-2.0
"""Work beside: it is done when the body is, and its failure is ours."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from mantlet_agent.beside import beside
from mantlet_agent.stages import Code, StageError


def test_work_beside_is_done_when_the_body_has_ended(tmp_path: Path) -> None:
    with beside(lambda: (tmp_path / "done").touch()):
        pass
    assert (tmp_path / "done").exists()


def refuse() -> NoReturn:
    raise StageError(Code.FRONT_FAILED)


def stumble() -> NoReturn:
    raise ZeroDivisionError


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("work", "code"), [(refuse, Code.FRONT_FAILED), (stumble, Code.UNEXPECTED), (die, Code.UNEXPECTED)]
)
def test_work_that_fails_fails_the_stage_with_its_code(work: Callable[[], None], code: Code) -> None:
    with pytest.raises(StageError) as refusal, beside(work):
        pass
    assert refusal.value.code is code


def test_a_failure_of_the_body_comes_first() -> None:
    with pytest.raises(StageError) as refusal, beside(refuse):
        raise StageError(Code.TPM_ABSENT)
    assert refusal.value.code is Code.TPM_ABSENT


def test_ok_is_the_first_code_so_that_it_is_exit_code_zero() -> None:
    assert next(iter(Code)) is Code.OK

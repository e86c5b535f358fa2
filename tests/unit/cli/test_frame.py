# SPDX-License-Identifier: Apache-2.0
"""The frame of the command line: exit codes, usage errors, the options that every verb has."""

import argparse
import json
import signal
import subprocess
import sys
import types
from collections.abc import Callable

import pytest

from mantlet import cli
from mantlet.cli import options
from mantlet_measure.errors import DecodeError, MantletError, UnavailableError


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[argparse.Namespace], int]], None]:
    """Return a function that makes `probe`, a verb that runs what it is given, the only verb there is."""

    def install(handler: Callable[[argparse.Namespace], int]) -> None:
        def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
            parser = verbs.add_parser("probe", help="a verb of this test")
            parser.add_argument("--deployment-key", required=True)
            parser.add_argument("--state", choices=("serving", "awaiting-key"), default="serving")
            parser.add_argument("--count", type=int, default=1)
            parser.add_argument("--root", action="append", type=int)
            parser.set_defaults(handler=handler)

        module = types.ModuleType("mantlet.cli.probe")
        module.register = register  # type: ignore[attr-defined]  # a module made here
        monkeypatch.setitem(sys.modules, "mantlet.cli.probe", module)
        monkeypatch.setattr(cli, "VERBS", (cli.Verb("probe", "probe", "a verb of this test"),))

    return install


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def handler(_arguments: argparse.Namespace) -> int:
        raise error

    return handler


REQUIRED = ["probe", "--deployment-key", "key"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MantletError("refused", hint="mend"), 1),
        (DecodeError("evidence", expected="JSON", found="nothing"), 1),
        (UnavailableError("no TPM", hint="mend"), 3),
        (FileNotFoundError(2, "No such file or directory", "x"), 3),
        (OSError(28, "No space left on device"), 3),
        # Of a peer's socket, that is: our own reader is there.
        (BrokenPipeError(32, "Broken pipe"), 3),
        (KeyboardInterrupt(), 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_refused_and_unreachable_never_share_a_number(
    error: BaseException, code: int, verb: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(raising(error))
    assert cli.main(REQUIRED, {}) == code
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: ")


def test_an_error_is_json_for_who_asked_for_json(
    verb: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(raising(UnavailableError("no TPM", hint="mend")))
    assert cli.main([*REQUIRED, "--json"], {}) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"message": "no TPM", "hint": "mend", "exit": 3}}
    assert err == ""


@pytest.mark.parametrize(
    "words",
    [[], ["no-such-verb"], ["probe"], ["probe", "--no-such-option"], [*REQUIRED, "--count", "many"]],
    ids=" ".join,
)
def test_a_usage_error_is_one_line_and_exit_code_2(
    words: list[str], verb: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(lambda _arguments: 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(words, {})
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "--help" in err


def test_each_option_has_a_twin_in_the_environment_and_the_command_line_wins(
    verb: Callable[..., None],
) -> None:
    seen: list[argparse.Namespace] = []
    verb(lambda arguments: seen.append(arguments) or 0)
    environment = {
        "MANTLET_DEPLOYMENT_KEY": "from-environment",
        "MANTLET_STATE": "awaiting-key",
        "MANTLET_COUNT": "7",
        "MANTLET_ROOT": "1 2",
        "MANTLET_JSON": "1",
        "MANTLET_VERBOSE": "no",
    }
    assert cli.main(["probe"], environment) == 0
    assert cli.main(["probe", "--deployment-key", "typed", "--count", "8"], environment) == 0
    first, second = (vars(arguments) for arguments in seen)
    expected = {"deployment_key": "from-environment", "state": "awaiting-key", "count": 7, "root": [1, 2]}
    assert {name: first[name] for name in expected} == expected
    assert (first["json"], first["verbose"]) == (True, False)
    assert (second["deployment_key"], second["count"], second["state"]) == ("typed", 8, "awaiting-key")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MANTLET_STATE", "asleep"),
        ("MANTLET_COUNT", "many"),
        ("MANTLET_ROOT", "1 x"),
        ("MANTLET_JSON", "perhaps"),
    ],
)
def test_a_twin_with_a_wrong_value_is_a_usage_error(name: str, value: str, verb: Callable[..., None]) -> None:
    verb(lambda _arguments: 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(REQUIRED, {name: value})
    assert stop.value.code == 2


def test_the_name_of_a_twin_is_the_name_of_its_option() -> None:
    assert options.twin("--ek-roots") == "MANTLET_EK_ROOTS"


def test_help_imports_no_verb_and_nothing_heavy() -> None:
    script = (
        "import sys, mantlet.cli\n"
        "try: mantlet.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'cryptography', 'rich', 'yaml', 'jinja2', 'asyncio', 'ssl', 'http.client'}\n"
        "verbs = {f'mantlet.cli.{verb.module}' for verb in mantlet.cli.VERBS}\n"
        "sys.exit(' '.join(sorted((heavy | verbs) & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_verb_of_the_table_registers_under_its_name_and_has_the_common_options() -> None:
    for row in cli.VERBS:
        parser = cli._parser([row.name], {})
        verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        leaves = list(options._leaves(verbs.choices[row.name]))
        assert leaves, row
        for leaf in leaves:
            assert {"--json", "--verbose"} <= set(leaf._option_string_actions), row
            assert leaf.get_default("handler") is not None, f"mantlet {row.name}: {leaf.prog} runs nothing"


def test_a_request_to_end_is_met_like_an_interruption(
    verb: Callable[[Callable[[argparse.Namespace], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def be_ended(_: argparse.Namespace) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    verb(be_ended)
    try:
        assert cli.main(REQUIRED, {}) == 3
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "interrupted" in capsys.readouterr().err

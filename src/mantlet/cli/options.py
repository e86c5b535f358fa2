# SPDX-License-Identifier: Apache-2.0
"""What all verbs' options have in common: one-line usage errors, `--json`, `-v`, `MANTLET_…` twins.

The twin of `--deployment-key` is `MANTLET_DEPLOYMENT_KEY`, for every verb that has the option. The command
line wins over the environment. The twins are added here, after a verb has registered, so that no verb can
forget them.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import NoReturn

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose usage errors are one line and the command that helps."""

    @override
    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments and exit with 2."""
        hint = f"{self.prog} --help"
        if "--json" in sys.argv[1:]:
            text = json.dumps({"error": {"message": message, "hint": hint, "exit": 2}}, indent=2)
            sys.stdout.write(f"{text}\n")
            self.exit(2)
        self.exit(2, f"{self.prog}: {message} (see `{hint}`)\n")


def complete(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """Give every verb below `parser` its common options, and every option its twin from `environ`."""
    for leaf in _leaves(parser):
        known = leaf._option_string_actions
        if "--json" not in known:
            leaf.add_argument(
                "--json", action="store_true", help="write the result, or the error, as JSON to stdout"
            )
        if "--verbose" not in known:
            leaf.add_argument("-v", "--verbose", action="store_true", help="tell more on stderr")
        for action in leaf._actions:
            if action.option_strings and not isinstance(
                action, argparse._HelpAction | argparse._VersionAction
            ):
                _give_twin(leaf, action, environ)


def twin(option: str) -> str:
    """Name the environment variable of a long option: `--ek-roots` → `MANTLET_EK_ROOTS`."""
    return "MANTLET_" + option.removeprefix("--").replace("-", "_").upper()


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers below `parser` that have no sub-verbs of their own, itself included."""
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        yield parser
    for action in nested:
        for child in action.choices.values():
            yield from _leaves(child)


def _give_twin(parser: argparse.ArgumentParser, action: argparse.Action, environ: Mapping[str, str]) -> None:
    long = next((option for option in action.option_strings if option.startswith("--")), None)
    if long is None:
        return
    name = twin(long)
    if action.help is not argparse.SUPPRESS:
        action.help = f"{action.help or ''} [{name}]".lstrip()
    if name not in environ:
        return
    action.required = False
    action.default = _default(parser, action, name, environ[name])


def _default(parser: argparse.ArgumentParser, action: argparse.Action, name: str, text: str) -> object:
    """The value of an option that its twin gives; a string is converted later, by argparse, as if typed."""
    if action.nargs == 0:
        if text.lower() in _TRUE:
            return action.const
        if text.lower() in _FALSE:
            return action.default
        parser.error(f"{name}: expected 1 or 0, found {text!r}")
    if action.choices is not None and text not in {str(choice) for choice in action.choices}:
        parser.error(f"{name}: expected one of {', '.join(map(str, action.choices))}, found {text!r}")
    if action.nargs is None and not isinstance(action, argparse._AppendAction):
        return text
    convert = action.type if callable(action.type) else str
    try:
        return [convert(word) for word in text.split()]
    except (ValueError, argparse.ArgumentTypeError) as problem:
        parser.error(f"{name}: {problem}")

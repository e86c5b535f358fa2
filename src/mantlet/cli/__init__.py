# SPDX-License-Identifier: Apache-2.0
"""The command line: one table of verbs, one place that prints errors, one map from errors to exit codes.

A verb is a module with `register(verbs)` and `run(arguments) -> int`. Only the module of the verb that was
called is imported, so that `mantlet --help` stays quick and a verb costs nothing to the others. What every
verb has (`--json`, `-v`, the `MANTLET_…` twins of options) is added in `mantlet.cli.options`.
"""

import argparse
import errno
import importlib
import os
import select
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from mantlet import __version__
from mantlet.cli import options
from mantlet.edge import output
from mantlet_measure.errors import MantletError, UnavailableError

_STDOUT = 1


class ExitCode(IntEnum):
    """What a verb's exit code says. Refused and unreachable never share a number."""

    ACCEPTED = 0
    REFUSED = 1
    USAGE = 2
    COULD_NOT_ASK = 3


class Verb(NamedTuple):
    """A row of the table: the verb, its module under `mantlet.cli`, its line in `mantlet --help`."""

    name: str
    module: str
    summary: str


VERBS: tuple[Verb, ...] = (
    Verb("up", "up", "build, boot, verify and ask: the whole promise kept once"),
    Verb("tools", "tools", "make the tools tree, or run a program in it"),
    Verb("build", "build", "build the image and its reference values"),
    Verb("predict", "predict", "compute the expected PCRs of an image"),
    Verb("record", "record", "take the firmware's registers from a boot"),
    Verb("weights", "weights", "pack a model; seal its key for one machine"),
    Verb("release", "release", "report on a build and sign it; approve a boot; raise the epoch"),
    Verb("deploy", "deploy", "write the signed deployment document and its volume"),
    Verb("boot", "boot", "boot an image in QEMU with Secure Boot and a TPM"),
    Verb("verify", "verify", "verify a running machine; sends no prompt"),
    Verb("ask", "ask", "verify a machine, then send it one prompt"),
    Verb("explain", "explain", "say in words why registers differ"),
    Verb("audit", "audit", "look at a built image for ways in"),
    Verb("attack", "attack", "attack a build as its operator would, from outside"),
    Verb("diff", "diff", "say what moved between two builds, and why"),
    Verb("bench", "bench", "measure speed and size against the stated bounds"),
)


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one verb and return its exit code.

    argv: the arguments after the program's name; environ: where the options' `MANTLET_…` twins are looked up.
    Raises SystemExit for `--help`, `--version` and usage errors, as argparse does.
    """
    if threading.current_thread() is threading.main_thread():
        # A request to end is met like Ctrl-C: machines are powered off and nothing partial stays.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser(words, os.environ if environ is None else environ).parse_args(words)
    try:
        return int(arguments.handler(arguments))
    except MantletError as refusal:
        code = ExitCode.COULD_NOT_ASK if isinstance(refusal, UnavailableError) else ExitCode.REFUSED
        return _report(refusal.message, refusal.hint, code=code, as_json=arguments.json)
    except OSError as failure:
        if isinstance(failure, BrokenPipeError) and _reader_left():
            # There is nobody to tell, and the interpreter must not try at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
            return ExitCode.COULD_NOT_ASK
        message, hint = _system_failure(failure)
        return _report(message, hint, code=ExitCode.COULD_NOT_ASK, as_json=arguments.json)
    except KeyboardInterrupt:
        return _report(
            "interrupted", "run the same command again", code=ExitCode.COULD_NOT_ASK, as_json=arguments.json
        )


def _reader_left() -> bool:
    """Whether stdout is a pipe that nobody reads any more; a pipe may break elsewhere too."""
    poller = select.poll()
    poller.register(_STDOUT, 0)
    return any(flags & select.POLLERR for _, flags in poller.poll(0))


def _parser(words: Sequence[str], environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """Build the parser; of the verbs, only the one that `words` calls is imported and complete."""
    parser = options.Parser(
        prog="mantlet",
        description="Build, boot and verify sealed machines that serve AI inference and have no way in.",
        epilog="Exit codes: 0 accepted, 1 refused, 2 usage, 3 could not ask. Options have MANTLET_… twins.",
    )
    parser.add_argument("--version", action="version", version=f"mantlet {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    called = next((word for word in words if not word.startswith("-")), None)
    for verb in VERBS:
        if verb.name == called:
            importlib.import_module(f"mantlet.cli.{verb.module}").register(verbs)
            options.complete(verbs.choices[verb.name], environ)
        else:
            verbs.add_parser(verb.name, help=verb.summary)
    return parser


def _report(message: str, hint: str, *, code: ExitCode, as_json: bool) -> int:
    if as_json:
        output.document({"error": {"message": message, "hint": hint, "exit": int(code)}})
    else:
        output.error(message, hint=hint)
    return code


def _system_failure(failure: OSError) -> tuple[str, str]:
    """Message and hint for a failure of the operating system that no verb foresaw."""
    where = f"{failure.filename}: " if failure.filename is not None else ""
    message = f"{where}{failure.strerror or failure}"
    match failure.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return (
                message,
                "make room on that file system and run the same command again; nothing partial was kept",
            )
        case errno.EACCES | errno.EPERM:
            return message, "give this user access to the path, or choose another one"
        case errno.ENOENT:
            return message, "check the path for a misspelling"
        case _:
            return message, "mend what the operating system reports, then run the same command again"

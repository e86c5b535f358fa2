# SPDX-License-Identifier: Apache-2.0
"""The options of `deploy` that name where a machine fetches the body of its weights from.

Owns their meaning and their refusals. What the document makes of them is `mantlet_measure.remote`'s matter;
nobody is asked here whether the server answers.
"""

import argparse
import ssl
from pathlib import Path

from mantlet.edge import files
from mantlet_measure import strictjson
from mantlet_measure.deployment import Model
from mantlet_measure.errors import MantletError
from mantlet_measure.remote import Remote, remote_from_fields

_LIMIT = 1 << 20
_END = "-----END CERTIFICATE-----"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the three options, which go together."""
    parser.add_argument(
        "--fetch",
        metavar="URL",
        help="the machine fetches the stream pack's disk image from this https URL, and has no weights disk",
    )
    parser.add_argument("--fetch-address", metavar="IPV4", help="where that host is; no machine looks it up")
    parser.add_argument(
        "--fetch-authority",
        type=Path,
        metavar="FILE",
        help="PEM: certificates, one of which has issued the server's, or is it",
    )


def given(arguments: argparse.Namespace, model: Model) -> Remote | None:
    """Return what the options name, None without them. Usage error, or MantletError."""
    options = (arguments.fetch, arguments.fetch_address, arguments.fetch_authority)
    if all(option is None for option in options):
        return None
    if any(option is None for option in options):
        arguments.usage_error("--fetch, --fetch-address and --fetch-authority go together")
    if model.stream is None:
        raise MantletError(
            f"{model.id}: expected a stream body to fetch, found a disk body",
            hint="pack the model with --body stream",
        )
    value = {
        "url": arguments.fetch,
        "address": arguments.fetch_address,
        "authorities": [strictjson.base64_text(der) for der in _certificates(arguments.fetch_authority)],
    }
    return remote_from_fields(strictjson.Fields(value, "--fetch"))


def _certificates(path: Path) -> tuple[bytes, ...]:
    """Decode the concatenated PEM certificates of a file. MantletError when it holds none."""
    text = files.read(path, limit=_LIMIT, what="authorities").decode("ascii", "replace")
    parts = [part + _END for part in text.split(_END)[:-1]]
    try:
        found = tuple(ssl.PEM_cert_to_DER_cert(part[part.index("-----BEGIN CERT") :]) for part in parts)
    except ValueError:
        found = ()
    if not found:
        raise MantletError(
            f"{path}: expected certificates in PEM, found none",
            hint="pass the certificate of the server's authority, or the server's own",
        )
    return found

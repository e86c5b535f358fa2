# SPDX-License-Identifier: Apache-2.0
"""Reads both sides of an explanation: reference values, and what was observed in whatever form it comes.

Owns the files, the connection and the recognition of forms: evidence (live or saved), a firmware log with or
without systemd's, the YAML of `tpm2_pcrread`, another manifest. Evidence is examined before anything is read
out of it. What the sides say is compared in `mantlet.explain`.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mantlet.client.attest import fetch_evidence
from mantlet.edge import deployment_source, files, runtime_declaration
from mantlet.edge.https import AttestedConnection, address
from mantlet.explain import account
from mantlet.explain.account import Account
from mantlet.release import manifest as manifests
from mantlet.release.manifest import Manifest
from mantlet.verifier.quote import Session
from mantlet.verifier.unbound import examine
from mantlet_measure import deployment, evidence, strictjson
from mantlet_measure.cel import decode_system_log
from mantlet_measure.errors import DecodeError, MantletError, shown
from mantlet_measure.eventlog import decode_firmware_log
from mantlet_measure.evidence import NONCE_SIZE, Evidence
from mantlet_measure.logged import LoggedEvent
from mantlet_measure.pcr import BANKS, Bank
from mantlet_measure.words import agent_events

MANIFEST_NAME = "measurements.json"
_LIMIT = 4 << 20
_LOG = 1 << 20
_REGISTERS = 24
# tpm2-tools, tpm2_pcrread(1): `sha256:` and, below it, `0 : 0x…`.
_READ = re.compile(rb"^ *(sha1|sha256|sha384|sha512):", re.M)
_RUNTIME = re.compile(r"mantlet:runtime:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was observed; `evidence` where it is evidence, which has the agent's words in it."""

    account: Account
    evidence: Evidence | None = None


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, or the one of a build folder."""
    file = path / MANIFEST_NAME if path.is_dir() else path
    return manifests.decode(files.read(file, limit=manifests.LIMIT, what="manifest"))


def choose_platform(manifest: Manifest, wanted: str | None, *, path: object) -> str:
    """Return the platform to compare with. MantletError when it is not there, or one of several is meant."""
    names = tuple(manifest.platforms)
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return str(wanted)
    raise MantletError(
        f"{path}: expected {f'platform {wanted}' if wanted else 'one platform'}, found {', '.join(names)}",
        hint=f"name one of them: --platform {names[0]}",
    )


def manifest_account(path: Path, *, platform: str | None) -> Account:
    """Read a manifest as an account of its registers."""
    manifest = read_manifest(path)
    chosen = choose_platform(manifest, platform, path=path)
    image = manifest.image
    name = f"{image.id or path} {image.version}".rstrip()
    return account.of_manifest(manifest, chosen, name=f"{name} on {chosen}")


def observe(source: str, *, platform: str | None, system_log: Path | None, timeout: float) -> Observation:
    """Read what was observed: an https:// address, or a file in one of the forms.

    RefusedError when evidence is not authentic, DecodeError when the file is none of the forms, OSError,
    UnavailableError when nobody answers.
    """
    if source.startswith("https://"):
        return _live(source, timeout=timeout)
    path = Path(source)
    if path.is_dir():
        return Observation(account=manifest_account(path, platform=platform))
    data = files.read(path, limit=_LIMIT, what="observation")
    if data.lstrip()[:1] == b"{":
        return _document(path, data, platform=platform)
    if _READ.search(data[:4096]) is not None:
        return Observation(account=_pcrread(path))
    return Observation(account=_logs(path, data, system_log))


def _live(source: str, *, timeout: float) -> Observation:
    with AttestedConnection(address(source), timeout=timeout) as connection:
        nonce = secrets.token_bytes(NONCE_SIZE)
        found = evidence.decode(fetch_evidence(connection, nonce))
        examine(found, session=Session(nonce=nonce, tls_spki_sha256=connection.tls_spki_sha256))
    return Observation(account=evidence_account(found, name=source), evidence=found)


def _document(path: Path, data: bytes, *, platform: str | None) -> Observation:
    value = strictjson.decode(data, what=f"observation {path}", limit=_LIMIT)
    form = value.get("format") if isinstance(value, dict) else None
    if form == manifests.FORMAT:
        return Observation(account=manifest_account(path, platform=platform))
    if form == evidence.FORMAT:
        found = evidence.decode(data)
        examine(found, session=None)
        return Observation(account=evidence_account(found, name=f"evidence {path}"), evidence=found)
    raise DecodeError(
        f"observation {path}",
        expected=f"{manifests.FORMAT} or {evidence.FORMAT}",
        found=shown(form),
        hint="pass evidence, a manifest, an event log, the output of tpm2_pcrread, or https://HOST:PORT",
    )


def evidence_account(found: Evidence, *, name: str) -> Account:
    """Return what the logs of examined evidence say of its quoted values. MantletError if they contradict."""
    firmware = decode_firmware_log(found.firmware_log).complete(BANKS)
    system = decode_system_log(found.system_log).complete(BANKS)
    words = (record.extended() for record in found.agent_log)
    told = account.of_events(
        (*firmware.events, *system.events, *words),
        name=name,
        banks=BANKS,
        locality=firmware.startup_locality,
        values={bank: {number: value for number, value in held.items()} for bank, held in found.pcrs.items()},
    )
    # The kernel extends register 10 by itself, and evidence holds no log of it.
    contradicted = [note for note in told.notes if not note.startswith("register 10:")]
    if contradicted:
        raise MantletError(
            f"{name}: expected logs that replay to the quoted values, found {'; '.join(contradicted)}",
            hint="the evidence is not authentic: a log was cut or altered; ask the machine again",
        )
    note = (
        "authentic to its own attestation key; whether that key is in a genuine TPM is for `mantlet verify`"
    )
    return Account(name=told.name, registers=told.registers, notes=(note,))


def _logs(path: Path, data: bytes, system_log: Path | None) -> Account:
    firmware = decode_firmware_log(data)
    events: tuple[LoggedEvent, ...] = firmware.events
    notes = (
        [] if not firmware.truncated else [f"{path} is cut at byte {firmware.whole}: what follows is missing"]
    )
    if system_log is not None:
        system = decode_system_log(files.read(system_log, limit=_LOG, what="system log"))
        events = (*events, *system.events)
        notes += [f"{system_log} is cut: its last record is missing"] if system.truncated else []
    else:
        notes.append("without --system-log, what user space measured is missing")
    banks = tuple(bank for bank in firmware.banks if all(bank in event.digests for event in events))
    told = account.of_events(events, name=f"log {path}", banks=banks, locality=firmware.startup_locality)
    return Account(name=told.name, registers=told.registers, notes=tuple(notes))


def _pcrread(path: Path) -> Account:
    """Read the output of `tpm2_pcrread`: registers by bank, as hexadecimal numbers."""
    what = f"tpm2_pcrread {path}"
    # YAML would make numbers of the digests, and lose their leading zeros; the form is plain enough.
    values: dict[Bank, dict[int, bytes]] = {}
    current: Bank | None = None
    text = files.read(path, limit=_LIMIT, what="tpm2_pcrread").decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, value = (part.strip() for part in line.partition(":"))
        if not name and not value:
            continue
        if not value and name in tuple(Bank):
            current = Bank(name)
            values[current] = {}
        elif not value and re.fullmatch(r"[a-z0-9_]{1,16}", name):
            # A bank that is not known here, for example sm3_256.
            current = None
        elif current is not None:
            values[current].update(_register(f"{what}: line {number}", name, value, current))
    return account.of_values({bank: held for bank, held in values.items() if held}, name=f"registers {path}")


def _register(what: str, name: str, value: str, bank: Bank) -> Iterable[tuple[int, bytes]]:
    digits = value.removeprefix("0x")
    if re.fullmatch(rf"[0-9A-Fa-f]{{{2 * bank.size}}}", digits) is None:
        raise DecodeError(what, expected=f"{bank.size} bytes in hexadecimal", found=shown(value))
    if re.fullmatch(r"[0-9]{1,2}", name) is None or int(name) >= _REGISTERS:
        raise DecodeError(what, expected=f"a register below {_REGISTERS}", found=shown(name))
    return ((int(name), bytes.fromhex(digits)),)


def with_deployment(
    expected: Account, document: Path, observed: Observation, runtime: Path | None
) -> Account:
    """Add to register 15 the agent's words for a deployment document, in the state that was observed.

    runtime: the runtime's declaration as the image holds it; without it, the digest is taken from the agent's
    log. DecodeError when the document is none; MantletError when there is neither declaration nor log.
    """
    payload = deployment_source.payload(document)
    digest = _runtime(observed, runtime)
    capped = observed.evidence is None or observed.evidence.state is evidence.State.SERVING
    words = agent_events(
        deployment_sha256=sha256(payload).digest(),
        runtime_sha256=digest,
        root_hash=deployment.decode(payload).model.root_hash,
        capped=capped,
    )
    return account.with_words(expected, words)


def _runtime(observed: Observation, runtime: Path | None) -> bytes:
    if runtime is not None:
        return runtime_declaration.digest(runtime, runtime="")
    for record in () if observed.evidence is None else observed.evidence.agent_log:
        found = _RUNTIME.fullmatch(record.word)
        if found is not None:
            return bytes.fromhex(found[1])
    raise MantletError(
        "expected the digest of the runtime's declaration, found neither --runtime nor an agent log",
        hint="pass the declaration as the image holds it: --runtime FILE",
    )


def read_known(paths: Iterable[Path], *, platform: str | None) -> tuple[Account, ...]:
    """Read the manifests of other releases, for the search."""
    return tuple(manifest_account(path, platform=platform) for path in paths)

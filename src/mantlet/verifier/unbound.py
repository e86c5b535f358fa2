# SPDX-License-Identifier: Apache-2.0
"""Evidence that holds together by itself, from a TPM that nobody has vouched for.

Enough to explain registers, never to trust a machine: it shows that one key signed these values, that the
key's attributes are those of an attestation key, and that the quote was made for the nonce. Whether the key
lives in a genuine TPM is what `verify` asks, and this module does not.
"""

from mantlet.verifier.keys import attestation_key
from mantlet.verifier.quote import Session, check_signed
from mantlet.verifier.steps import Checks
from mantlet_measure.evidence import EVIDENCE_LABEL, Evidence, qualifying_data


def examine(evidence: Evidence, *, session: Session | None) -> None:
    """Check that quote, values and qualifying data of the evidence agree. RefusedError, or DecodeError.

    session: the nonce sent and the TLS key seen, for evidence that was just asked for; None for evidence from
    a file, which may be old.
    """
    attest = check_signed(evidence, attestation_key(evidence.ak_public))
    checks = Checks()
    if session is not None:
        checks.equal("nonce", expected=session.nonce, observed=evidence.nonce)
        checks.equal("TLS key (SPKI)", expected=session.tls_spki_sha256, observed=evidence.tls_spki_sha256)
    expected = qualifying_data(
        EVIDENCE_LABEL,
        nonce=evidence.nonce,
        spki_sha256=evidence.tls_spki_sha256,
        manifest_sha256=evidence.manifest_sha256,
    )
    checks.equal("qualifying data of the quote", expected=expected, observed=attest.extra_data)
    checks.done(hint="the evidence is not authentic: it explains nothing about any machine")

# SPDX-License-Identifier: Apache-2.0
"""The verifier (RATS, RFC 9334): evidence, reference values and a policy go in, an attestation result comes
out.

Pure: no TPM library, no clock, no network. Trust is a type: a `Quote` is authenticated into an
`AuthenticQuote`, logs are replayed against it into `AuthenticEvents`, and only those are appraised. No
function here answers with a bool.
"""

# SPDX-License-Identifier: Apache-2.0
"""The ground floor: what the attester and the verifier both execute.

Digests, register algebra, event logs, evidence and strict JSON, as docs/formats.md defines them. Everything
here is pure: bytes come in, values or a `MantletError` come out. It reads no file, asks no clock and holds no
secret.
"""

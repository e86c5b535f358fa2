# SPDX-License-Identifier: Apache-2.0
"""Releases: what was said of an image, in bytes that are signed. Pure.

Owns the manifest of reference values and the making of deployment documents. It computes no reference value
(`mantlet.predict`) and compares none (`mantlet.verifier`).
"""

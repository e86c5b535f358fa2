# SPDX-License-Identifier: Apache-2.0
"""Releases: what was said of an image, in bytes that are signed. Pure.

Owns the manifest of reference values, the making of deployment documents, the report on a build and the
statement that it is released. It computes no reference value (`mantlet.predict`), compares none
(`mantlet.verifier`), and looks at no image (`mantlet.audit`).
"""

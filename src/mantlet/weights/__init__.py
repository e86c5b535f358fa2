# SPDX-License-Identifier: Apache-2.0
"""Weights: packing a model so that its root hash names it, and sealing its key for one image on one
machine."""

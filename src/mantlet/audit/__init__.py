# SPDX-License-Identifier: Apache-2.0
"""The static audit: what a built image holds, and what of it is a way in. Pure: trees in, findings out."""

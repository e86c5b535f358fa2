# SPDX-License-Identifier: Apache-2.0
"""The tool of engineers, operators and customers: builds, packs, seals, verifies. Never in the image."""

__version__ = "0.1.0"

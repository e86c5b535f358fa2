# SPDX-License-Identifier: Apache-2.0
"""The battery: what an operator would try on a machine, and how each try is judged from outside. Pure."""

# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of everything that decodes bytes of others, in a process with bounded memory and time."""

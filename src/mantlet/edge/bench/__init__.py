# SPDX-License-Identifier: Apache-2.0
"""Speed and size against stated bounds: every time is set beside another one, taken in the same run.

A part is a function from a `Site` to outcomes. Rounds of the two sides of a ratio take turns, so that a busy
moment of the host meets both; the ratio is of medians. No test asserts a time.
"""

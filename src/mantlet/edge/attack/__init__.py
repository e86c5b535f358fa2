# SPDX-License-Identifier: Apache-2.0
"""The running of attacks: copies of machines, what is done to them, and what is seen from outside."""

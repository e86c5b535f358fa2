# SPDX-License-Identifier: Apache-2.0
"""The relying party's side of the conversation: requests out, answers in, over one attested connection.

Pure: it is given a `Transport` and neither opens a socket nor asks the clock.
"""

# SPDX-License-Identifier: Apache-2.0
"""Why registers are not what they should be: expected and observed events, aligned and put into words. Pure.

`account` holds what one side says of the registers, `align` lays two lists of events beside each other,
`explanation` puts it together. It decides nothing: what is accepted is the verifier's matter, and the words
here rest partly on what a log claims of its events, which is marked as claimed.
"""

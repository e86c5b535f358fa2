# SPDX-License-Identifier: Apache-2.0
"""The boot agent: the attester of a Mantlet machine (RFC 9334), in two processes.

`boot` runs once, as root, through a straight line of stages, and ends. `serve` runs for the life of the
machine as a user of its own and answers for evidence. They share no memory and no socket: only the files that
`places` names.
"""

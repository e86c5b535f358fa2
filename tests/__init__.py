# SPDX-License-Identifier: Apache-2.0
"""The tests: most on the host, `tpm` in the tools tree, `vm` in machines that they boot."""

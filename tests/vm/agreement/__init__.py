# SPDX-License-Identifier: Apache-2.0
"""Agreement: what is predicted of a boot, beside what the TPM of that boot was given."""

# SPDX-License-Identifier: Apache-2.0
"""What a TPM expects of a party that holds only a public key: protected storage, without a TPM at hand."""

# SPDX-License-Identifier: Apache-2.0
"""The release of a data key, as `boot` sees it: one question, and one proof that it is over.

Owns the interface alone. A key that is sealed to this machine's TPM is released by `unseal`; a key that comes
from elsewhere will be released behind the same two calls.
"""

from typing import Protocol


class Release(Protocol):
    """One way to a data key, for one boot."""

    def data_key(self) -> bytearray:
        """Return the 32-byte data key, which the caller wipes. StageError."""

    def prove_closed(self) -> None:
        """Try the same way again, after the cap, and see it refused. StageError when it is not."""

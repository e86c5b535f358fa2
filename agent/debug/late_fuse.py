# SPDX-License-Identifier: Apache-2.0
"""The login fuse of the debug image: whatever is open there may start until the machine serves.

Owns that one difference: from `serve ok` on the judgement is production's, and nothing may start. It is in no
other image.
"""

import sys

from mantlet_agent import fuse, fuse_list
from mantlet_agent.places import Places
from mantlet_agent.proc_events import ProcEvent
from mantlet_measure.words import FuseKind


class Late(fuse_list.Watched):
    """Watched from the moment that the machine serves."""

    def present(self) -> FuseKind | None:
        """Take whatever runs."""
        return None

    def judge(self, event: ProcEvent) -> FuseKind | None:
        """Take whatever starts, until the machine serves."""
        return super().judge(event) if fuse.is_serving(Places()) else None


if __name__ == "__main__":
    fuse.Watched = Late
    sys.exit(fuse.main())

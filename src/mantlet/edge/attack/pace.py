# SPDX-License-Identifier: Apache-2.0
"""How long an effect is waited for, so that a verdict does not depend on how busy the host is.

The weakened build, whose effects come, is watched until they do. The sealed one is watched for twice as long
as the same effect took there. Nothing here knows what an effect is.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_POLL = 0.2
# A console that is asked answers within a second on a quiet host.
_LEAST = 3.0
# Emulation on a busy host: a getty that starts again took 20; a download had not come after 60.
_PATIENCE = 120.0
_TIMES_LONGER = 2.0


@dataclass(slots=True, kw_only=True)
class Pace:
    """Waits of at most so many seconds, by what is tried; `limit` for what has none of its own.

    trying: what is tried now; took: the longest after which an effect of each showed.
    """

    limit: float = _LEAST
    limits: Mapping[str, float] = field(default_factory=dict)
    trying: str = field(default="", init=False)
    took: dict[str, float] = field(default_factory=dict, init=False)

    def wait(self, shows: Callable[[], object], *, least: float = 0.0) -> None:
        """Wait until `shows` tells something, or the limit is over, or `least` seconds where that is more."""
        started = time.monotonic()
        limit = max(self.limits.get(self.trying, self.limit), least)
        while (waited := time.monotonic() - started) < limit:
            if shows():
                self.took[self.trying] = max(self.took.get(self.trying, 0.0), waited)
                return
            time.sleep(_POLL)


def of_a_control() -> Pace:
    """As long as it takes, within reason."""
    return Pace(limit=_PATIENCE)


def after(control: Pace) -> Pace:
    """For a machine on which nothing should show: twice what its control took."""
    return Pace(limits={name: max(_LEAST, _TIMES_LONGER * took) for name, took in control.took.items()})

# SPDX-License-Identifier: Apache-2.0
"""The explanation as one self-contained HTML page, out of a template that the caller has read.

Owns the environment of the template: everything is escaped, an unknown name is an error. The text of the page
comes from logs, which anybody may have written.
"""

import jinja2

from mantlet.explain.account import Entry
from mantlet.explain.explanation import Explanation
from mantlet.explain.lanes import lanes
from mantlet.explain.registers import Outcome

TEMPLATE = "page.html.j2"


def render(explanation: Explanation, template: str) -> str:
    """Return the page. template: the text of `page.html.j2`, which lies beside this module."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    differing = [result.register for result in explanation.of(Outcome.DIFFERS)]
    title = f"PCR {', '.join(map(str, differing))} differ" if differing else "All registers are equal"
    page = environment.from_string(template).render(
        title=title if len(differing) != 1 else f"PCR {differing[0]} differs",
        explanation=explanation,
        lanes=lanes(explanation),
        digest=_digest,
    )
    return f"{page}\n"


def _digest(entry: Entry) -> str:
    """Return the digest of an event in the first bank that it has."""
    return next(iter(entry.digests.values())).hex()

# SPDX-License-Identifier: Apache-2.0
"""The report as one self-contained HTML page, out of a template that the caller has read.

Owns the environment of the template: everything is escaped, an unknown name is an error. The text of the page
comes from images, which anybody may have built.
"""

import jinja2

from mantlet.audit.finding import Report

TEMPLATE = "page.html.j2"


def render(report: Report, template: str) -> str:
    """Return the page. template: the text of `page.html.j2`, which lies beside this module."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    count = len(report.findings)
    title = f"{count} finding{'' if count == 1 else 's'}" if count else "No findings"
    found = {item.rule for item in report.findings}
    kept = {rule: words for rule, words in report.rules.items() if rule not in found}
    page = environment.from_string(template).render(title=title, report=report, kept=kept)
    return f"{page}\n"

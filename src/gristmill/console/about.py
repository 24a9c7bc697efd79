"""The verb `parts`: which sources, steps and exports there are, and all about one.

Not here: finding them (`survey`, `core.find`). Invariant: what is told comes from the parts themselves.
"""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.console import terminal
from gristmill.console.session import answer, room


def parts(name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)] = None) -> None:
    """List the parts there are, or tell all about one."""
    from gristmill.console import survey

    found = survey.parts(name)
    answer(found, lambda: terminal.part_lines(found, room()) if name else terminal.part_table(found, room()))

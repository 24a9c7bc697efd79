"""The verb `report`: the page of a run, made again from its files.

Not here: what stands on it (`gristmill.report`). Invariant: standard output holds the path of the page, or one line of JSON.
"""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.console.options import Seq
from gristmill.console.runs import newest
from gristmill.console.session import answer, open_to_read


def report(
    seq: Seq = None,
    show: Annotated[bool, typer.Option("--open", help="show it in a browser")] = False,
) -> None:
    """Make the page of a run again, and tell where it lies."""
    from gristmill.report import page

    _, dataset = open_to_read()
    number = seq if seq is not None else newest(dataset.log())
    path = page.write(dataset.layout, dataset.report(number))
    answer({"run": number, "path": str(path), "bytes": path.stat().st_size}, lambda: [str(path)])
    if show:
        import webbrowser

        webbrowser.open(path.absolute().as_uri())

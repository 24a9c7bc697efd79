"""The verb `adopt`: records that are clean already become a snapshot.

Not here: how (`engine.adopt`). Invariant: it is a run, with the progress, the report and the exit codes of one.
"""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.console import session
from gristmill.console.options import Accept, Setting, Wait, Why, Workers
from gristmill.console.session import open_pipeline


def adopt(
    path: Annotated[str, typer.Argument(metavar="PATH", help="a file, folder, glob or URL: Parquet or JSON lines")],
    source: Annotated[str, typer.Option(metavar="NAME", help="the source the records are to be of")] = "adopted",
    mapping: Annotated[list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="the field for text, id, url, time, lang or license")] = None,
    workers: Workers = None,
    accept_gate: Accept = None,
    why: Why = "",
    wait: Wait = 0.0,
    setting: Setting = None,
) -> None:  # fmt: skip
    """Take clean records in as they are, without the steps."""
    fields = {}
    for each in mapping or []:
        column, equals, field = each.partition("=")
        if not equals or not field:
            raise typer.BadParameter(f"--map {each}: write COLUMN=FIELD, such as text=body")
        if column in fields:
            raise typer.BadParameter(f"--map {each}: {column} is given twice; it comes from one field")
        fields[column] = field
    if workers != 1:
        session.start_fork_server()
    pipeline = open_pipeline(setting)
    raise typer.Exit(
        session.conduct(
            pipeline,
            lambda events: pipeline.adopt(
                path,
                source=source,
                fields=fields,
                workers=workers,
                accept_gate=accept_gate or [],
                why=why,
                wait_s=wait,
                events=events,
            ),
        )
    )

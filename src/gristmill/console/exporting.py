"""The verb `export`: the exports of the newest snapshot are made whole.

Not here: how (`engine.exports`). Invariant: what was done is told export by export.
"""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.console import session, terminal
from gristmill.console.options import Wait
from gristmill.console.session import ASKED, open_dataset, out_json, tell


def export(
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False, help="default: all of them")] = None,
    snapshot: Annotated[int | None, typer.Option(metavar="SEQ", help="only the newest can be exported")] = None,
    wait: Wait = 0.0,
) -> None:  # fmt: skip
    """Make the exports of the newest snapshot whole."""
    pipeline, dataset = open_dataset()
    newest = dataset.manifest().seq
    if snapshot is not None and snapshot != newest:
        known = snapshot in dataset.seqs()
        instead = (
            f"read snapshot {snapshot} with Dataset.read({snapshot})" if known else f"there is no snapshot {snapshot}"
        )
        raise typer.BadParameter(f"only the newest snapshot, {newest}, can be exported; {instead}")
    with session.listening() as events:
        made = pipeline.export(name, events, wait)
    if ASKED.json:
        chunks = {each: done["chunks_written"] for each, done in made.items() if "chunks_written" in done}
        out_json({"snapshot": newest, "chunks_written": chunks, "exports": made})
    tell(*(terminal.export_line(each, done) for each, done in made.items()))
    if not made:
        tell("the config has no exports")

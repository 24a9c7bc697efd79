"""The verbs `stage plan`, `stage work` and `stage commit`: a run in parts, for schedulers.

Not here: what the parts do (`engine.seams`). Invariant: standard output holds one line of JSON, which is all a scheduler hands on.
"""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.console import session
from gristmill.console.options import Accept, Setting, Why, Workers
from gristmill.console.session import ASKED, open_pipeline, out_json

app = typer.Typer(help="The three seams of a run, for schedulers.", rich_markup_mode=None)


@app.command("plan")
def plan(
    wait: Annotated[float, typer.Option(metavar="[SECONDS]", show_default=False)] = 0.0, setting: Setting = None
) -> None:
    """Claim the next run and freeze its plan."""
    out_json(open_pipeline(setting).stage_plan(wait_s=wait))


@app.command("work")
def work(
    seq: Annotated[int, typer.Argument(metavar="SEQ")],
    name: Annotated[str, typer.Argument(metavar="STAGE")],
    part: Annotated[str, typer.Option(metavar="I/N", help="the I-th of N parts of the work")] = "1/1",
    setting: Setting = None,
) -> None:
    """Do a part of one stage of a planned run."""
    this, slash, of = part.partition("/")
    if not (slash and this.isdecimal() and of.isdecimal()):
        raise typer.BadParameter(f"--part {part!r} is none; write I/N, such as 1/4")
    pipeline = open_pipeline(setting)
    with session.listening() as events:
        done = pipeline.stage_work(seq, name, int(this), int(of), events)
    out_json(done)


@app.command("commit")
def commit(
    seq: Annotated[int, typer.Argument(metavar="SEQ")],
    workers: Workers = None,
    accept_gate: Accept = None,
    why: Why = "",
    setting: Setting = None,
) -> None:
    """Do what is left of a planned run, judge it and publish it."""
    ASKED.json = True
    if workers != 1:  # it loads the kernels while this process reads the config and plans
        session.start_fork_server()
    pipeline = open_pipeline(setting)
    accepted = accept_gate or []
    raise typer.Exit(
        session.conduct(
            pipeline, lambda events: pipeline.stage_commit(seq, workers=workers, accept_gate=accepted, why=why)
        )
    )

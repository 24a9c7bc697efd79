"""The verbs `stage plan`, `stage work`, `stage gate` and `stage commit`: a run in parts, for schedulers.

Not here: what the parts do (`engine.seams`). Invariant: standard output holds one line of JSON, which is all a scheduler hands on.
"""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.console import session
from gristmill.console.options import Accept, Setting, Wait, Why, Workers
from gristmill.console.session import ASKED, open_pipeline, out_json

app = typer.Typer(help="The seams of a run, for schedulers.", rich_markup_mode=None)
Run = Annotated[int, typer.Argument(metavar="SEQ")]


@app.command("plan")
def plan(wait: Wait = 0.0, setting: Setting = None) -> None:
    """Claim the next run and freeze its plan."""
    pipeline = open_pipeline(setting)
    with session.listening() as events:
        planned = pipeline.stage_plan(wait_s=wait, events=events)
    out_json(planned)


@app.command("work")
def work(
    seq: Run,
    names: Annotated[list[str], typer.Argument(metavar="STAGE...")],
    part: Annotated[str, typer.Option(metavar="I/N", help="the I-th of N parts of the work")] = "1/1",
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="worker processes")] = 1,
    setting: Setting = None,
) -> None:
    """Do a part of one stage of a planned run, or of several in a row."""
    this, slash, of = part.partition("/")
    if not (slash and this.isdecimal() and of.isdecimal()):
        raise typer.BadParameter(f"--part {part!r} is none; write I/N, such as 1/4")
    pipeline = open_pipeline(setting)
    ASKED.run = seq
    with session.listening() as events:
        done = [pipeline.stage_work(seq, name, (int(this), int(of)), workers=workers, events=events) for name in names]
    out_json(done[0] if len(done) == 1 else {**done[-1], "stage": names, "tasks": sum(each["tasks"] for each in done)})


@app.command("gate")
def gate(
    seq: Run, workers: Workers = None, accept_gate: Accept = None, why: Why = "", wait: Wait = 0.0, setting: Setting = None
) -> None:  # fmt: skip
    """Do what is left of a planned run, judge it, keep the candidate."""
    pipeline = open_pipeline(setting)
    with session.listening() as events:
        report = pipeline.stage_gate(
            seq, workers=workers, accept_gate=accept_gate or [], why=why, wait_s=wait, events=events
        )
    idle = report.status == "nothing_new" or (report.status == "partial" and report.snapshot != seq)
    out_json(
        {"status": report.status if idle else "passed", "seq": seq, "gate": report.gate, "quality": report.quality}
    )


@app.command("commit")
def commit(
    seq: Run,
    workers: Workers = None,
    accept_gate: Accept = None,
    why: Why = "",
    wait: Wait = 0.0,
    exports: Annotated[bool, typer.Option("--exports/--no-exports", help="make the exports too")] = True,
    setting: Setting = None,
) -> None:
    """Publish the candidate that the gate kept; without one do first what is left."""
    ASKED.json = True
    if workers != 1:  # it loads the kernels while this process reads the config
        session.start_fork_server()
    pipeline = open_pipeline(setting)
    accepted = accept_gate or []
    raise typer.Exit(
        session.conduct(
            pipeline,
            lambda events: pipeline.stage_commit(
                seq, workers=workers, accept_gate=accepted, why=why, wait_s=wait, exported=exports, events=events
            ),
        )
    )

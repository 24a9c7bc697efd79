"""The command line: each verb parses, calls and prints; the work is done elsewhere.

Not here: streams and failures (`session`), what lines look like (`terminal`), the work behind `init`, `try`, `plan`,
`status` and `parts` (`scaffold`, `trial`, `survey`). Invariant: nothing heavy is imported before a verb needs it, so
that `--help` is there at once.
"""

from __future__ import annotations

import functools
import gc
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gristmill import __version__
from gristmill.console import (
    about,
    adoption,
    airflow,
    catalogue,
    drift,
    examples,
    exporting,
    history,
    options,
    quarantine,
    runs,
    session,
    stages,
    streams,
    terminal,
    watching,
)
from gristmill.console import report as page
from gristmill.console import ui as web
from gristmill.console.options import Accept, Setting, Source, Wait, Why, Window, Workers, each_decider, mode_of
from gristmill.console.session import (
    ASIDE,
    ASKED,
    answer,
    complain,
    open_pipeline,
    open_to_read,
    out,
    out_json,
    room,
    tell,
)
from gristmill.core import stopping

# What is imported stays: looking for garbage among it every 700 objects, as Python does, takes a tenth of a small run.
_YOUNG_OBJECTS = 20_000
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # Click's own, wherever this Typer keeps Click
CODES = (
    "Exit codes: 0 done (also: nothing new), 1 failed and safe to run again, 2 wrong usage or config, "
    "3 refused by the gate, 4 verify found damage, 5 another run holds the dataset, 130 and 143 stopped by a signal."
)

app = typer.Typer(
    name="gristmill",
    help="Text in, a clean, deduplicated, versioned dataset out.",
    epilog=CODES,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": terminal.WIDTH},
)
app.add_typer(stages.app, name="stage", hidden=True)
app.add_typer(airflow.app, name="airflow")
app.add_typer(quarantine.app, name="quarantine")


def each_verb(
    config: Annotated[Path | None, typer.Option("-c", "--config", metavar="FILE", help="default: gristmill.yml, here or above")] = None,
    overlay: Annotated[str | None, typer.Option(metavar="NAME", envvar="GRISTMILL_OVERLAY", show_envvar=False, help="the overlay of the config; default: GRISTMILL_OVERLAY, or what it says")] = None,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON on standard output")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="no progress and no summary")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="a line for each stage")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of a failure")] = False,
    log_format: Annotated[Literal["text", "json"] | None, typer.Option("--log-format", metavar="text|json", help="standard error for people or for machines; default: as the config says")] = None,
) -> None:  # fmt: skip
    """Declare the options that every verb takes."""


def each_worker(
    engine: Annotated[Literal["local", "ray"] | None, typer.Option(show_choices=False, metavar="local|ray", help="where tasks run; default: as the config says")] = None,
) -> None:  # fmt: skip
    """Declare the options that every verb takes which may start workers."""


@app.callback()
def top(version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False) -> None:
    """Text in, a clean, deduplicated, versioned dataset out."""
    if version:  # reached only where it stands beside other words
        out(f"gristmill {__version__}")
        raise typer.Exit


# --- verbs -------------------------------------------------------------------------------------------------------


@app.command()
def init(
    target: Annotated[str, typer.Argument(metavar="DIR|DATA", help="a new folder, or data to start from")] = ".",
) -> None:
    """Write a gristmill.yml that runs: for DATA, or with a sample."""
    from gristmill.config.schema import schema as make_schema
    from gristmill.console import scaffold

    if ASKED.config is not None:
        raise typer.BadParameter("init writes gristmill.yml; -c names a config that is there")
    made = scaffold.begin(Path(target), Path.cwd())
    (made.config.parent / scaffold.SCHEMA_NAME).write_text(terminal.to_json(make_schema()) + "\n", "utf-8")
    problems = open_pipeline(config=made.config).problems()
    if ASKED.json:
        out_json(made.to_json() | {"problems": problems})
    tell(*map(terminal.visible, made.lines()))
    complain(*problems)
    folder = made.config.parent
    tell(f"next: {'' if folder == Path.cwd() else f'cd {shlex.quote(str(folder))} && '}gristmill run")


@app.command()
def check(setting: Setting = None) -> None:
    """Look for everything that would stop a run; changes nothing.

    An object store is asked to take an object, which is removed again.
    """
    from gristmill.core.errors import ConfigError

    notes: list[str] = []
    try:
        pipeline = open_pipeline(setting)
        problems, notes = pipeline.examine()
    except ConfigError as error:
        problems = list(error.problems)
    if ASKED.json:
        out_json({"ok": not problems, "problems": problems, "notes": notes})
    tell(*(f"note: {terminal.visible(note)}" for note in notes))
    options.must_be_none(problems)
    if not ASKED.json:
        config = pipeline.config
        parts = [(len(config.sources), "source"), (len(config.steps), "step"), (len(config.exports), "export")]
        out(f"ok: {terminal.visible(str(config.file))}: " + ", ".join(terminal.plural(n, word) for n, word in parts))


@app.command(name="try")
def try_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a file with data")],
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="records to show")] = 5,
    setting: Setting = None,
) -> None:
    """Show a few records of FILE before and after each step."""
    from gristmill.console import scaffold, trial

    if ASKED.config is None and scaffold.nearest(Path.cwd()) is None:
        tell("no gristmill.yml here or above: these are the default steps")
        with tempfile.TemporaryDirectory(prefix="gristmill-try-") as folder:
            trials = trial.attempt(open_pipeline(setting, scaffold.passing(file, Path(folder))), file, n)
    else:
        trials = trial.attempt(open_pipeline(setting), file, n)
    ink = terminal.Ink(sys.stdout)
    answer([one.to_json() for one in trials], lambda: trial.lines(trials, ink, room()))


app.command(name="test")(examples.try_out)


@app.command()
def plan(
    source: Source = None,
    window: Window = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="do a part of it, and say what time, memory, storage and money all takes")] = False,
    machines: Annotated[int, typer.Option(min=1, metavar="N", help="with --estimate: on so many machines like this one")] = 1,
    setting: Setting = None,
) -> None:  # fmt: skip
    """Show what is new or changed, and what a run would do."""
    from gristmill.console import outlook, prices, survey

    if estimate:
        session.start_fork_server()
    asked = source, session.window_of(window), machines if estimate else 0, mode_of(ASKED)
    found = survey.planned(open_pipeline(setting), *asked)
    answer(found, lambda: [*outlook.plan_lines(found, room()), *prices.estimate_lines(found["estimate"], room())])
    if found["estimate"] and found["estimate"]["over"]:
        complain(f"the estimate is over cost.max_cost {found['estimate']['max_cost']:g}: a run would stop at its plan")
        raise typer.Exit(3)
    options.must_be_none(found["problems"])


@app.command()
def run(
    workers: Workers = None,
    accept_gate: Accept = None,
    why: Why = "",
    wait: Wait = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="the same as plan")] = False,
    source: Source = None,
    window: Window = None,
    setting: Setting = None,
) -> None:  # fmt: skip
    """Make the next snapshot and its exports, if anything is new."""
    if dry_run:
        plan(source, window, setting=setting)
        return
    if workers != 1:  # it loads the kernels while this process reads the config and plans
        session.start_fork_server()
    pipeline = open_pipeline(setting)
    raise typer.Exit(
        session.conduct(
            pipeline,
            lambda events: pipeline.run(
                workers=workers,
                accept_gate=accept_gate or [],
                why=why,
                wait_s=wait,
                events=events,
                source=source,
                window=session.window_of(window),
                mode=mode_of(ASKED),
            ),
        )
    )


@app.command()
def status(
    check: Annotated[bool, typer.Option("--check", help="end with 1 if anything is wrong, and say what")] = False,
) -> None:
    """Show how the dataset stands: snapshot, sources, exports, lock."""
    from gristmill.console import outlook, prices, survey

    pipeline = open_pipeline(spare=ASIDE)
    found = survey.standing(pipeline)
    found |= watching.health(pipeline, held=found["lock"] is not None)
    complain(*(watching.problems(found) if check else found["problems"]))
    lines = [*outlook.status_lines(found, room()), *watching.lines(found), *prices.trend_lines(found["costs"], room())]
    answer(found, lambda: lines)
    if check and found["health"]:
        raise typer.Exit(1)


app.command()(watching.alert)


app.command()(runs.log)
app.command()(runs.show)


@app.command()
def explain(wanted: Annotated[str, typer.Argument(metavar="ID|URL", help="as `inspect` shows it")]) -> None:
    """Tell one record's whole path, verdict by verdict."""
    found = open_to_read()[1].explain(wanted)
    answer(found, lambda: terminal.explained(found, room()))


@app.command()
def inspect(
    kept: Annotated[bool, typer.Option("--kept", help="records that were published")] = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="records a filter dropped")] = False,
    duplicates: Annotated[bool, typer.Option("--duplicates", help="records that repeat others")] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="what could not be read, or made a step fail")] = False,
    step: Annotated[str | None, typer.Option(metavar="S", help="of this step only")] = None,
    reason: Annotated[str | None, typer.Option(metavar="R", help="with this reason or code only")] = None,
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="how many at most")] = 20,
    seq: Annotated[int | None, typer.Option("--run", metavar="SEQ", help="of this run; default: the newest")] = None,
) -> None:  # fmt: skip
    """Show records kept, dropped, duplicate or quarantined."""
    asked = {"kept": kept, "dropped": dropped, "duplicates": duplicates, "quarantined": quarantined}
    chosen = [kind for kind, given in asked.items() if given]
    if len(chosen) != 1:
        raise typer.BadParameter("give exactly one of --kept, --dropped, --duplicates, --quarantined")
    kind: Any = chosen[0]
    dataset = open_to_read()[1]
    rows = dataset.inspect(kind, step=step, reason=reason, n=n, seq=seq)
    answer(rows, lambda: terminal.inspected(kind, rows, room()) if rows else [])
    if not rows:
        there = dataset.reasons(kind, seq=seq) if step or reason else []
        more = f"; there are: {', '.join(there)}" if there else ""
        tell(
            f"no {'records ' if kind in {'kept', 'dropped', 'quarantined'} else ''}{kind} in this run, as asked for{more}"
        )


app.command()(adoption.adopt)
app.command()(exporting.export)


app.command()(runs.verify)
app.command()(history.diff)
app.command()(history.rollback)
app.command()(history.gc)
app.command()(history.upgrade)
app.command()(drift.drift)
app.command()(page.report)
app.command()(web.ui)
app.command()(catalogue.docs)


app.command()(about.parts)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the config, for editors."""
    from gristmill.config.schema import schema as make_schema

    out_json(make_schema())


@app.command()
def warmup() -> None:
    """Compile the kernels now, instead of in the first run."""
    from gristmill.kernels.warm import warm

    began = time.monotonic()
    warm()
    seconds = time.monotonic() - began
    answer({"seconds": round(seconds, 2)}, lambda: [f"kernels are compiled ({seconds:.1f} s)"])


# --- the way in --------------------------------------------------------------------------------------------------


@functools.cache  # a tenth of a second of a processor, which a notebook or a server pays once
def command() -> Any:
    """Give the whole command, with the shared options on every verb."""
    whole: Any = typer.main.get_command(app)
    shared, of_workers, of_deciding = _declared(each_verb), _declared(each_worker), _declared(each_decider)
    for verb in _verbs(whole):
        works = any(option.name == "workers" for option in verb.params)
        verb.params += [*(of_workers if works else []), *(of_deciding if verb.name in {"run", "plan"} else []), *shared]
    return whole


def _declared(function: Any) -> list[Any]:
    """Give the options that a function declares, as ones that are remembered and not handed to the verb."""
    one = typer.Typer(add_completion=False)
    one.command()(function)
    options: list[Any] = typer.main.get_command(one).params
    for option in options:
        option.expose_value = False
        option.callback = ASKED.remember
    return options


def _verbs(group: Any) -> Iterator[Any]:
    """Give the verbs of a group and of the groups in it."""
    for verb in group.commands.values():
        if hasattr(verb, "commands"):
            yield from _verbs(verb)
        else:
            yield verb


def perform(argv: list[str]) -> int:
    """Do what a command line says; give its exit code."""
    as_json = "--json" in argv
    try:
        code = command().main(args=session.normalised(argv), prog_name="gristmill", standalone_mode=False)
    except USAGE_ERROR as error:
        return session.misused(error, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return session.interrupted(as_json=as_json)
    except BaseException as error:  # Stopped is no Exception, nor is what a user's code ends with
        return session.failed(stopping.behind(error), as_json=as_json)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line of this process, and exit."""
    gc.set_threshold(_YOUNG_OBJECTS)
    streams.make_ready()
    if sys.argv[1:] == ["--version"]:
        out(f"gristmill {__version__}")
        session.leave(0)
    stopping.stop_by_sigterm()
    code = perform(sys.argv[1:])
    session.leave(code)

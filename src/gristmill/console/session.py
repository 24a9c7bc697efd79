"""One command line in the making: what every verb may be asked for, the two streams, and how a failure ends it.

Not here: the verbs (`cli`), the look of lines (`terminal`). Invariants: data goes to standard output and everything
else to standard error; a failure that is expected is told without a traceback, with the exit code of its type and the
place of a log; a log holds code places, never values.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from gristmill.console import failures, streams, terminal
from gristmill.core import access

if TYPE_CHECKING:
    from gristmill.core.source import Window
    from gristmill.dataset import Dataset
    from gristmill.engine.report import Report
    from gristmill.observe.events import Events
    from gristmill.pipeline import Pipeline

Json = dict[str, Any]


class Asked:
    """What every verb may be asked for, and what is known when it fails."""

    def __init__(self) -> None:
        self.config: Path | None = None
        self.log_format: str | None = None
        self.overlay: str | None = None
        self.forward = self.redecide = self.full_refresh = False
        self.json = self.quiet = self.verbose = self.debug = False
        self.engine: str | None = None
        self.pipeline: Pipeline | None = None
        self.lost = False  # whether standard output did not take what a verb was called for
        self.run: int | None = None

    def remember(self, context: Any, parameter: Any, value: Any) -> Any:
        """Keep the value of a shared option (a callback)."""
        setattr(self, parameter.name, value)
        return value

    @property
    def json_lines(self) -> bool:
        """Whether standard error is for machines: as asked for here, else as the config says once it is read."""
        if self.log_format is not None or self.pipeline is None:
            return self.log_format == "json"
        return self.pipeline.config.monitoring.log == "json"


ASKED = Asked()
ASIDE = {
    "sources",
    "steps",
    "require",
    "exports",
    "alerts",
    "monitoring",
    "tests",
    "airflow",
}  # what only runs need whole
_VALUED = {"-c", "--config", "--overlay", "--log-format"}
_SHARED = {*_VALUED, "--json", "-q", "--quiet", "-v", "--verbose", "--debug"}


def normalised(argv: list[str]) -> list[str]:
    """Give a command line as Click reads it: `--wait` without a number is for ever, shared options go behind the verb."""
    end = argv.index("--") if "--" in argv else len(argv)
    words, lead = argv[:end], []
    while words and words[0] in _SHARED:
        lead.append(words.pop(0))
        if lead[-1] in _VALUED and words:
            lead.append(words.pop(0))
    for at, word in enumerate(words):
        follows = words[at + 1] if at + 1 < len(words) else ""
        if word == "--wait" and not follows.replace(".", "", 1).isdecimal():
            words[at] = "--wait=inf"
    return words + lead + argv[end:]


# --- the two streams ---------------------------------------------------------------------------------------------


def out(*lines: str) -> None:
    """Print data. What standard output does not take is lost, which is told once, and ends a verb with 1."""
    lost = streams.put(lines)
    if lost is not None:
        ASKED.lost = True
        complain(f"standard output takes nothing ({lost.strerror}): what was to be told there is lost")


def out_json(value: object) -> None:
    """Print data as one line of JSON."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    out(terminal.to_json(value, ascii_only=encoding != "utf8"))


def answer(value: object, lines: Callable[[], Iterable[str]]) -> None:
    """Print what a verb found: as JSON where that was asked for, else as lines."""
    if ASKED.json:
        out_json(value)
    else:
        out(*lines())


def write(file: Path, text: str) -> None:
    """Write what a verb made into a file that was asked for.

    Raises:
        ConfigError: the name is a folder's, or lies in none that may be written.
    """
    from gristmill.core.errors import ConfigError

    try:
        file.write_text(text, "utf-8")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise ConfigError(
            f"{str(file)!r} cannot be written ({error.strerror}); name a file in a folder that is there"
        ) from None


def tell(*lines: str) -> None:
    """Say something to the person; a standard error that nobody reads is no failure."""
    _tell("info", lines)


def _tell(level: Literal["info", "error"], lines: Iterable[str]) -> None:
    if ASKED.json_lines:
        from gristmill.observe.logs import line as log_line

        lines = [log_line(level, "message", {"message": line}) for line in lines]
    try:
        for line in lines:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        return


def complain(*problems: str) -> None:
    """Tell problems, each on a line of its own that begins with `error: `."""
    begin = "" if ASKED.json_lines else terminal.Ink(sys.stderr)("bad", "error:") + " "
    _tell("error", [f"{begin}{terminal.visible(problem)}" for problem in problems])


def room() -> int | None:
    """Give the columns of standard output; None where it is no terminal."""
    return shutil.get_terminal_size((terminal.WIDTH, 24)).columns if terminal.is_terminal(sys.stdout) else None


# --- what verbs open ---------------------------------------------------------------------------------------------


def warn_cold() -> None:
    """Say so if the kernels must be compiled first: it takes a while, once."""
    from gristmill.kernels.warm import is_warm

    if not is_warm() and not ASKED.quiet:
        tell("compiling kernels, once; `gristmill warmup` does it ahead")


def start_fork_server() -> None:
    """Have the workers' process start beside what follows; workers on Ray are no children of it."""
    if ASKED.engine == "ray":
        return
    from gristmill.engine.executors import server

    server.start()


def open_pipeline(
    overrides: Sequence[str] | None = None, config: Path | None = None, spare: Collection[str] = ()
) -> Pipeline:
    """Read the config that was asked for. spare: what of it need not be whole (`config.load.load`)."""
    warn_cold()
    from gristmill.core.frames import spare_pandas

    spare_pandas()
    from gristmill.pipeline import Pipeline

    asked = [f"run.engine={ASKED.engine}"] if ASKED.engine else []
    if ASKED.overlay is not None and config is None:  # a config made just now has none
        asked.append(f"overlay={ASKED.overlay}")
    ASKED.pipeline = Pipeline.from_file(config or ASKED.config, overrides=[*(overrides or []), *asked], spare=spare)
    return ASKED.pipeline


def window_of(text: str | None) -> Window:
    """Give the part of a source that `SINCE..UNTIL` asks for; either end may be left open.

    Raises:
        ConfigError: it has no two dots.
    """
    from gristmill.core.errors import ConfigError
    from gristmill.core.source import WHOLE, Window

    if text is None:
        return WHOLE
    since, dots, until = text.partition("..")
    if not dots or not (since or until):
        raise ConfigError(
            f"--window {text!r}: write SINCE..UNTIL, such as 2026-01-01..2026-02-01, or SINCE.. for no end"
        )
    return Window(since or None, until or None)


def open_dataset(overrides: Sequence[str] | None = None) -> tuple[Pipeline, Dataset]:
    """Read the config, and open its dataset."""
    pipeline = open_pipeline(overrides)
    from gristmill.dataset import Dataset

    return pipeline, Dataset.of(pipeline.config)


def open_to_read(*, exports: bool = False) -> tuple[Pipeline, Dataset]:
    """Read the config and open its dataset, for verbs that open no source and tell nobody: secrets of those need not be there.

    exports: those are looked at.
    """
    pipeline = open_pipeline(spare=ASIDE - {"exports"} if exports else ASIDE)
    from gristmill.dataset import Dataset

    return pipeline, Dataset.of(pipeline.config)


@contextmanager
def listening() -> Iterator[Events]:
    """Give what shows the progress of a run; it ends with the block."""
    from gristmill.observe.logs import on_stream
    from gristmill.observe.progress import listen

    lines = ASKED.json_lines and not ASKED.quiet and ASKED.pipeline is not None
    redact = ASKED.pipeline.config.redact if ASKED.pipeline is not None else str
    events = on_stream(sys.stderr, redact) if lines else listen(sys.stderr, quiet=ASKED.quiet, verbose=ASKED.verbose)
    try:
        yield events
    finally:
        events.close()
        ASKED.run = events.number or ASKED.run  # its log tells more if it failed


def conduct(pipeline: Pipeline, go: Callable[[Events], Report]) -> int:
    """Run a pipeline with progress and summary; give the exit code."""
    from gristmill.core.errors import GateRefused

    refused: Exception | None = None
    try:
        with listening() as events:
            report = go(events).to_json()
    except GateRefused as error:
        held = _held_report(error)
        if held is None:
            raise
        report, refused = held, error
    if not ASKED.quiet and not ASKED.json_lines:
        path = str(pipeline.layout.report(report["run"])) if report["run"] else ""
        tell(*terminal.summary(report, _near(path), terminal.Ink(sys.stderr)))
    late = {"alert.failed", "monitor.failed"}  # found out when the report had been told
    loud = late if ASKED.json_lines else late | {"export.failed", "source.drift", "source.failed", "source.stale"}
    for told in (each for each in report["errors"] if each["code"] in loud):
        complain(f"source {told['source']}: {told['message']}" if told["source"] else told["message"])
    if refused is not None:
        complain(pipeline.config.redact(str(refused)))
    if ASKED.json:
        out_json(report)
        ASKED.lost = False  # a run ends as it ended, whoever hears of it
    if refused is not None:
        return 3
    return 1 if report["status"] == "published_export_failed" else 0


def _held_report(error: Exception) -> Json | None:
    """Give the report that a refusal carries as a note."""
    import json

    for note in getattr(error, "__notes__", []):
        if note.startswith("{"):
            report: Json = json.loads(note)
            return report
    return None


def _near(path: str) -> str:
    relative = os.path.relpath(path) if path else ""
    return path if relative.startswith("../..") else relative


# --- the end -----------------------------------------------------------------------------------------------------


def leave(code: int) -> NoReturn:
    """End the process. All is written and closed; taking the loaded libraries down piece by piece would cost 0.3 s."""
    out()  # flushes
    if "gristmill.engine.executors.server" in sys.modules:
        from gristmill.engine.executors import server

        server.clear()
    os._exit(code or int(ASKED.lost))


def misused(error: Any, *, as_json: bool) -> int:
    """Tell what is wrong with the command line; `error` is Click's."""
    message = error.format_message().removeprefix("Invalid value: ").rstrip(".")
    path = error.ctx.command_path if error.ctx is not None else "gristmill"
    complain(f"{message}{'' if message.endswith('?') else ';'} `{path} --help` shows what there is")
    if as_json:
        out_json(failure("Usage", [message]))
    return 2


def interrupted(*, as_json: bool) -> int:
    """Tell that somebody stopped it, and give the exit code of that."""
    told = "stopped; run again to go on"
    complain(told)
    if as_json:
        out_json(failure("Stopped", [told]))
    return 130


def failed(error: BaseException, *, as_json: bool) -> int:
    """Tell a failure, and give the exit code it leads to."""
    from gristmill.core.errors import ConfigError, GristmillError, Stopped

    if ASKED.debug:
        tell("".join(traceback.format_exception(error)).rstrip())
    code, problems = 1, [_redacted(str(error) or type(error).__name__)]
    if isinstance(error, Stopped):
        code, problems = error.exit_code, ["stopped; run again to go on"]
    elif isinstance(error, ConfigError):
        code, problems = error.exit_code, [_redacted(problem) for problem in error.problems]
    elif isinstance(error, GristmillError):
        code = error.exit_code
    elif isinstance(error, OSError):
        problems = [failures.of_system(error)]
    elif isinstance(error, MemoryError):
        problems = [failures.of_memory()]
    else:
        problems = [failures.unexpected(error)]
    complain(*problems)
    is_expected = isinstance(error, GristmillError | OSError)
    place = None if code in {2, 5} or isinstance(error, Stopped) else _log_of(error, is_expected=is_expected)
    if place is not None:
        tell(f"log: {terminal.visible(_near(str(place)))}")
    if as_json:
        out_json(failure(type(error).__name__, problems))
    return code


def failure(kind: str, problems: list[str]) -> Json:
    """Give a failure as --json shows it: the shape of a report's errors."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    entries: list[Json] = [
        {"stage": "cli", "source": None, "code": kind, "message": problem, "time": now, "context": {}}
        for problem in problems
    ]
    return {"status": "failed", "errors": entries}


def _redacted(text: str) -> str:
    return ASKED.pipeline.config.redact(ASKED.pipeline.layout.told(text)) if ASKED.pipeline is not None else text


def _log_of(error: BaseException, *, is_expected: bool) -> Path | None:
    """Give the log that tells more: the run's own if this run wrote one, else one with the code places, beside the dataset's runs.

    That one holds the last failure only. Where there is no dataset, a log is made for what nobody expects alone.
    """
    if ASKED.pipeline is not None and ASKED.run is not None:
        log_of_run = ASKED.pipeline.layout.log(ASKED.run)
        if log_of_run.exists():
            return log_of_run
    lines = [time.strftime("%Y-%m-%dT%H:%M:%SZ\n", time.gmtime())]
    chain: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and seen not in chain:
        chain.append(seen)
        lines += [f"{type(seen).__name__}:\n", *traceback.format_tb(seen.__traceback__)]
        seen = seen.__cause__ or seen.__context__
    if ASKED.pipeline is not None and ASKED.pipeline.layout.root.is_dir():
        with suppress(OSError):  # a full disk, or a dataset that may only be read
            with access.create(ASKED.pipeline.layout.last_failure) as log:
                log.write("".join(lines).encode())
            return ASKED.pipeline.layout.last_failure
    if is_expected:
        return None
    with tempfile.NamedTemporaryFile("w", prefix="gristmill-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.writelines(lines)
    return Path(file.name)

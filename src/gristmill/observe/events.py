"""Events: the few things a run says while it goes on, and the fan that hands them to all who listen.

Not here: how they are shown (`observe.progress`), written (`observe.logs`), counted (`observe.pulse`) or told to people
(`observe.alerts`). Invariants: an event holds names, numbers and codes only, never document text; a listener that fails is
heard of once and asked no more, and the run goes on as if it were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

Json = dict[str, Any]


class RunBegins(msgspec.Struct, frozen=True, kw_only=True):
    """A run begins its work, or goes on with it (`resumed`).

    claimed: when its number was taken, ISO 8601. config, code: fingerprints. folders: where its tasks write while they work;
    what grows there is progress.
    """

    run: int
    dataset: str
    claimed: str
    config: str = ""
    code: str = ""
    resumed: bool = False
    folders: list[Path] = []


class StageBegins(msgspec.Struct, frozen=True, kw_only=True):
    """A stage begins: these tasks over so many stored bytes (0: unknown). slots: tasks that can be done at a time.

    The stage `plan` has no tasks: the lock is held, and the sources are asked what is new.
    """

    name: str
    tasks: list[str] = []
    bytes: int = 0
    slots: int = 1


class TaskDone(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the present stage is done. bytes: stored bytes of its input."""

    stage: str
    task: str
    source: str = ""
    bytes: int = 0
    rows_in: int = 0
    rows_out: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_rss_mb: float = 0.0


class TaskFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A try of a task failed. why: the type of its error, or how its worker ended (`died`). places: code places, no values."""

    stage: str
    task: str
    tried: int
    why: str
    died: bool = False
    places: str = ""


class RunFailed(msgspec.Struct, frozen=True, kw_only=True):
    """The run ends without a report of success. code: the type of the error; stopped: a signal asked for it."""

    code: str
    message: str
    stopped: bool = False
    places: str = ""


class Events(Protocol):
    """Something that listens to a run."""

    def run(self, begins: RunBegins) -> None:
        """A run begins, or goes on."""

    def stage(self, begins: StageBegins) -> None:
        """A stage begins."""

    def task(self, done: TaskDone) -> None:
        """A task of the present stage is done."""

    def again(self, failed: TaskFailed) -> None:
        """A try of a task failed; whether there is another one is for the run to say."""

    def note(self, message: str) -> None:
        """Something a person would want to know."""

    def report(self, report: Json) -> None:
        """The run has a report: published or not, it is over but for telling of it."""

    def failed(self, failure: RunFailed) -> None:
        """The run failed, or was stopped."""

    def close(self) -> None:
        """Nothing more will be said."""


class Silent:
    """Listens and says nothing; what others build on who care for some events only. number: of the run that goes on, once it has one."""

    number: int | None = None

    def run(self, begins: RunBegins) -> None:
        """Note which run it is."""
        self.number = begins.run

    def stage(self, begins: StageBegins) -> None:
        """Say nothing."""

    def task(self, done: TaskDone) -> None:
        """Say nothing."""

    def again(self, failed: TaskFailed) -> None:
        """Say nothing."""

    def note(self, message: str) -> None:
        """Say nothing."""

    def report(self, report: Json) -> None:
        """Say nothing."""

    def failed(self, failure: RunFailed) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Nothing to end."""


class Fan:
    """Hands every event to all listeners, in their order."""

    def __init__(self, listeners: Sequence[Events]) -> None:
        self.listeners = list(listeners)
        self.lost: list[str] = []

    def run(self, begins: RunBegins) -> None:
        """Hand it on."""
        self._each(lambda one: one.run(begins))

    def stage(self, begins: StageBegins) -> None:
        """Hand it on."""
        self._each(lambda one: one.stage(begins))

    def task(self, done: TaskDone) -> None:
        """Hand it on."""
        self._each(lambda one: one.task(done))

    def again(self, failed: TaskFailed) -> None:
        """Hand it on."""
        self._each(lambda one: one.again(failed))

    def note(self, message: str) -> None:
        """Hand it on."""
        self._each(lambda one: one.note(message))

    def report(self, report: Json) -> None:
        """Hand it on."""
        self._each(lambda one: one.report(report))

    def failed(self, failure: RunFailed) -> None:
        """Hand it on."""
        self._each(lambda one: one.failed(failure))

    def close(self) -> None:
        """Close all."""
        self._each(lambda one: one.close())

    def _each(self, tell: Callable[[Events], None]) -> None:
        for one in list(self.listeners):
            try:
                tell(one)
            except Exception as error:  # watching never ends what is watched; `lost` is told in the report
                self.listeners.remove(one)
                self.lost.append(f"{type(one).__name__} stopped listening ({type(error).__name__})")

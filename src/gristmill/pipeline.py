"""Pipeline: the frozen description of what to do, and the ways to have it done.

Not here: how it runs (`engine`), what came of earlier runs (`dataset`). Invariant: a pipeline made from a file and
one made from the same parts in Python are the same pipeline, with the same fingerprint.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gristmill.config import bind, changes, load
from gristmill.config.settings import BoundExport, Gate, PipelineConfig, RunSettings
from gristmill.core.errors import ConfigError
from gristmill.core.export import Export
from gristmill.core.machine import worker_count
from gristmill.core.source import WHOLE, BoundSource, Source, Window
from gristmill.core.step import BoundStep, Step
from gristmill.core.stopping import stoppable
from gristmill.engine import (
    adopt,
    begin,
    ends,
    examples,
    exports,
    obstacles,
    plan,
    quarantine,
    redecide,
    refresh,
    seams,
)
from gristmill.engine import estimate as estimates
from gristmill.engine.begin import Options
from gristmill.engine.drive import Driver
from gristmill.engine.estimate import Estimate
from gristmill.engine.health import Health
from gristmill.engine.place import layout_of
from gristmill.engine.report import Report
from gristmill.engine.run import run
from gristmill.engine.watch import Watch, tell_exported
from gristmill.engine.work import Mode, Setup, Work
from gristmill.engine.workplace import make_executor
from gristmill.observe.events import Events, Silent
from gristmill.store import claim, snapshot
from gristmill.store.layout import Layout


class Pipeline:
    """A pipeline, ready to run.

    Made by `Pipeline.from_file("gristmill.yml")`, or in Python from parts:
        Pipeline(dataset="./corpus", sources=[Files(path="data/*.jsonl")], steps=[Text(), Exact()]).run()
    """

    def __init__(
        self,
        dataset: str | Path,
        sources: Sequence[Source | BoundSource],
        steps: Sequence[Step | BoundStep] = (),
        exports: Sequence[Export | BoundExport] = (),
        *,
        require: Step | None = None,
        gate: Gate | None = None,
        run: RunSettings | None = None,
    ) -> None:
        self.config: PipelineConfig = bind.from_parts(
            dataset=str(dataset), sources=sources, steps=steps, exports=exports, require=require, gate=gate, run=run
        )
        self.overrides: list[str] = []

    @classmethod
    def from_file(
        cls, path: str | Path | None = None, *, overrides: Sequence[str] = (), spare: Collection[str] = ()
    ) -> Pipeline:
        """Read a config file; without a path `gristmill.yml` is looked for here and above. spare: as of `config.load.load`.

        Raises:
            ConfigError: with every problem and its place.
        """
        pipeline = cls.__new__(cls)
        pipeline.config = load.load(Path(path) if path is not None else load.discover(Path.cwd()), overrides, spare)
        pipeline.overrides = list(overrides)
        return pipeline

    def _repr_html_(self) -> str:
        from gristmill.report import notebook  # templates load where somebody looks

        config = self.config
        parts = [
            *(("source", each.name, each.part) for each in config.sources),
            *(("step", each.name, each.part) for each in [*config.steps, config.require]),
            *(("export", each.name, each.part) for each in config.exports),
        ]
        return notebook.pipeline(config.dataset, parts)

    @property
    def layout(self) -> Layout:
        """Where the dataset's files lie."""
        return layout_of(self.config)

    def problems(self) -> list[str]:
        """Give what a user could act on before a run; no side effect."""
        return self.examine()[0]

    def examine(self) -> tuple[list[str], list[str]]:
        """Give what would stop a run or leave people untold of it, and notes on what would not; no side effect."""
        return obstacles.examine(self.config, self.layout)

    def obstacles(self, mode: Mode = "forward") -> list[str]:
        """Give what keeps a run in this mode from beginning, whatever its sources say; modules of the user's own are imported."""
        return obstacles.obstacles(self.config, self.layout, mode)

    def test(self, names: Sequence[str] | None = None) -> list[examples.Tested]:
        """Run the config's own examples, or those that are named, through the steps; give how each ended."""
        return examples.try_out(self.config, names)

    def plan(
        self, *, source: str | None = None, window: Window = WHOLE, mode: Mode = "forward"
    ) -> tuple[plan.Draft, list[str]]:
        """Give what is new since the newest snapshot, what is read again, and what changed in the config; writes nothing."""
        begin.check(self.config, source, window, mode)
        self.layout.files.refresh()
        head = snapshot.head(self.layout)
        changed = changes.changes(head.pipeline, changes.describe(self.config)) if head.seq else []
        return begin.draft(self.config, self.layout, head, Options(source=source, window=window, mode=mode)), changed

    def choices(self) -> dict[str, dict[str, Any]]:
        """Give what can be done about earlier records when the config has changed, and how many each choice touches, or why it cannot be had."""
        asked = self.config, self.layout, snapshot.head(self.layout)
        found = {"forward": 0, "redecide": redecide.records(*asked), "full-refresh": refresh.records(*asked)}
        return {
            name: {"records": n if isinstance(n, int) else None, "why_not": "" if isinstance(n, int) else n}
            for name, n in found.items()
        }

    def estimate(
        self, *, source: str | None = None, window: Window = WHOLE, machines: int = 1, mode: Mode = "forward"
    ) -> Estimate:
        """Do a part of what would be read in a dataset of its own, measure, and say what all of it will take; the estimate is kept.

        Raises:
            ConfigError: nothing of it can be measured.
            GristmillError: the part failed, as the run would.
        """
        drafted, _ = self.plan(source=source, window=window, mode=mode)
        head = snapshot.head_seq(self.layout)
        told = estimates.estimate(
            self.config, self.overrides, drafted.reading, head, self._cores(), make_executor, machines=machines
        )
        estimates.keep(self.layout, told)
        return told

    def _cores(self) -> int:
        return self.config.run.workers or worker_count()

    def _afford(self, source: str | None = None, window: Window = WHOLE, mode: Mode = "forward") -> None:
        """Stop before anything is begun if it would cost more than it may."""
        if self.config.cost.max_cost is not None:
            drafted, _ = self.plan(source=source, window=window, mode=mode)
            head = snapshot.head_seq(self.layout)
            estimates.afford(self.config, self.overrides, drafted.reading, head, self._cores(), make_executor)

    def run(
        self,
        *,
        workers: int | None = None,
        accept_gate: Sequence[str] = (),
        why: str = "",
        wait_s: float = 0.0,
        events: Events | None = None,
        source: str | None = None,
        window: Window = WHOLE,
        mode: Mode = "forward",
    ) -> Report:
        """Make the next snapshot if there is anything new, and its exports.

        Args:
            workers: processes; one a core by default.
            accept_gate: rules that need not hold, with `why`.
            why: kept in the lineage.
            wait_s: how long to wait for another run to end.
            events: what listens.
            source: the only source to ask; the others stay as they are.
            window: what part of it to read; with both ends a backfill, which leaves its cursor alone.
            mode: what to do about records that were decided before: nothing (`forward`), thresholds
                again (`redecide`), or all again (`full-refresh`).

        Raises:
            ConfigError: a part has a problem that stops the run before it starts.
            LockedError: another run holds the dataset.
            GateRefused: nothing is published; the candidate is kept.
            GristmillError: the run failed; nothing is published, and it is safe to run again.
        """
        begin.check_accepted(self.config, accept_gate, why)
        begin.check(self.config, source, window, mode)
        options = Options(
            workers=workers,
            accept_gate=list(accept_gate),
            why=why,
            overrides=self.overrides,
            wait_s=wait_s,
            source=source,
            window=window,
            mode=mode,
        )
        with self._guarded(events, window) as watch:
            self._afford(source, window, mode)
            return watch.over(run(self.config, options, watch.events, make_executor))

    def adopt(
        self,
        path: str,
        *,
        source: str = adopt.SOURCE,
        fields: Mapping[str, str] | None = None,
        workers: int | None = None,
        accept_gate: Sequence[str] = (),
        why: str = "",
        wait_s: float = 0.0,
        events: Events | None = None,
    ) -> Report:
        """Make records that are clean already the next snapshot, without the steps: in the id index and every dedup index.

        path: a file, folder or glob from the current folder on, or a URL; Parquet or JSON lines, as `files` reads them. source: the name
        the records get. fields: column -> field of the data; by default `text` is text, and no record has an id of its own. The rest as of `run`.

        Raises:
            ConfigError: there is nothing there, the name is taken, or the first records have not the fields that are named.
            GateRefused: nothing is published; the candidate is kept.
        """
        adopted = adopt.adoption(self.config, path, source, dict(fields or {}))
        begin.check_accepted(adopt.into(self.config, adopted), accept_gate, why)
        options = Options(
            workers=workers, accept_gate=list(accept_gate), why=why, overrides=self.overrides, wait_s=wait_s, adopted=adopted
        )  # fmt: skip
        with self._guarded(events) as watch:
            if told := adopt.left_out(path):
                watch.events.note(told)
            return watch.over(run(self.config, options, watch.events, make_executor))

    def retry(
        self,
        *,
        code: str | None = None,
        source: str | None = None,
        unit: str | None = None,
        window: Window = WHOLE,
        workers: int | None = None,
        accept_gate: Sequence[str] = (),
        why: str = "",
        wait_s: float = 0.0,
        events: Events | None = None,
    ) -> Report:
        """Read again what is open in the quarantine and meant, although it is as it was, and publish what is fine now.

        code, source, unit: which of it; all by default. window: what part to read again of that source, where its cursor has passed it. The rest as of `run`.
        Where nothing that is meant is open the report says that nothing is new: a call that is made again after its end was not heard of does no harm.

        Raises:
            ConfigError: nothing was ever quarantined with that code, or the cursor of a source has passed what is meant, and no window is named.
        """
        begin.check_accepted(self.config, accept_gate, why)
        meant = quarantine.Asked(code, source, unit)
        begin.check(self.config, source, window)
        options = Options(
            workers=workers, accept_gate=list(accept_gate), why=why, overrides=self.overrides, wait_s=wait_s, source=source, window=window, retry=meant
        )  # fmt: skip
        with self._guarded(events, window) as watch:
            return watch.over(run(self.config, options, watch.events, make_executor))

    @contextmanager
    def _guarded(self, events: Events | None, window: Window = WHOLE, part_of: int | None = None) -> Iterator[Watch]:
        """Mind signals while a run goes on, leave a report of one that failed for good, and tell of it."""
        watch = Watch(self.config, events or Silent(), window, part_of)
        with stoppable():
            try:
                if part_of is None:
                    self._check_parts()
                yield watch
            except BaseException as error:
                watch.ended(error)
                raise
            finally:
                watch.close()

    def stages(self) -> list[str]:
        """Give the names of the stages a run goes through, in order (`engine.seams`)."""
        return seams.stages(self.config)

    def stage_plan(self, *, wait_s: float = 0.0, events: Events | None = None) -> dict[str, Any]:
        """Claim and freeze the next run for a scheduler (`engine.seams`)."""
        options = Options(overrides=self.overrides, wait_s=wait_s)
        with self._guarded(events) as watch:
            self._afford()
            told = seams.plan_stage(self.config, options, watch.events, make_executor)
            watch.passed()
        return told

    def stage_work(
        self,
        seq: int,
        stage: str,
        part: tuple[int, int] = (1, 1),
        *,
        workers: int | None = None,
        events: Events | None = None,
    ) -> dict[str, Any]:
        """Do part (i, n) of one stage of a planned run, by one worker if not told otherwise (`engine.seams`)."""
        options = Options(overrides=self.overrides, workers=workers)
        with self._guarded(events, part_of=seq) as watch:
            return seams.work_stage(self.config, options, seq, stage, part, watch.events, make_executor)

    def stage_gate(
        self,
        seq: int,
        *,
        workers: int | None = None,
        accept_gate: Sequence[str] = (),
        why: str = "",
        wait_s: float = 0.0,
        events: Events | None = None,
    ) -> Report:
        """Do what is left of a planned run before its gate, judge it, and keep the candidate for `stage_commit`.

        Raises:
            ConfigError: run `seq` is not the open one, or failed for good.
            GateRefused: now or before.
        """
        begin.check_accepted(self.config, accept_gate, why)
        options = Options(
            workers=workers, accept_gate=list(accept_gate), why=why, overrides=self.overrides, wait_s=wait_s, until="gate"
        )  # fmt: skip
        return self._settle(seq, options, events)

    def stage_commit(
        self,
        seq: int,
        *,
        workers: int | None = None,
        accept_gate: Sequence[str] = (),
        why: str = "",
        wait_s: float = 0.0,
        exported: bool = True,
        events: Events | None = None,
    ) -> Report:
        """Publish a planned run: the candidate that `stage_gate` kept, else what is left of it is done and judged first.

        Raises:
            ConfigError: run `seq` is not the open one, or failed for good.
            GateRefused: now or before.
        """
        begin.check_accepted(self.config, accept_gate, why)
        options = Options(
            workers=workers, accept_gate=list(accept_gate), why=why, overrides=self.overrides, wait_s=wait_s, until="exports" if exported else "commit"
        )  # fmt: skip
        return self._settle(seq, options, events)

    def _settle(self, seq: int, options: Options, events: Events | None) -> Report:
        with self._guarded(events) as watch:
            return watch.over(seams.settle_stage(self.config, options, seq, watch.events, make_executor))

    def _check_parts(self) -> None:
        """Refuse what cannot run."""
        found = obstacles.of_parts(self.config, self.layout)
        if found:
            raise ConfigError(*found)

    @property
    def health(self) -> Health:
        """Whether the dataset is well, and telling people if not."""
        return Health(self.config)

    def export(
        self, name: str | None = None, events: Events | None = None, wait_s: float = 0.0
    ) -> dict[str, dict[str, Any]]:
        """Make the exports of the newest snapshot whole, every value in tables looked at; give what was done, by export name.

        Raises:
            ConfigError: there is no such export, or nothing is published yet.
            ExportError: one cannot be made now.
        """
        known = [bound.name for bound in self.config.exports]
        if name is not None and name not in known:
            raise ConfigError(f"there is no export {name!r}; the config has {', '.join(known) or 'none'}")
        with claim.DatasetLock(self.layout, wait_s):
            head = snapshot.head(self.layout)
            if not head.seq:
                raise ConfigError(f"{self.layout.name} holds no snapshot yet; run `gristmill run` first")
            setup = Setup(self.layout.root, head.seq, head.parent, "", self.config.file, self.overrides, self.config)
            work = Work(setup)
            driver = Driver(work, make_executor(work, 1, True), events or Silent())
            done = exports.reconcile(
                self.config, self.layout, head, lambda jobs: driver.run("exports", jobs), name, thorough=True
            )
            ends.exported(self.layout, head, {each: made.report for each, made in done.made.items()})
            tell_exported(self.config, head, done, every=name is None)
            return {each: made.report for each, made in done.or_raise().items()}

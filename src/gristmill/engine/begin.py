"""How a run begins: how it was asked for, what it is to do, and the number and plan it gets.

Not here: finding what is new (`engine.plan`) or what is read again (`engine.refresh`), doing it (`engine.run`). Invariants: nothing is
written before a number is claimed; a run whose records an index of the config would not cover does not begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from gristmill.config import bind
from gristmill.config.settings import Gate, PipelineConfig, SourceGate
from gristmill.core import find, own
from gristmill.core.build import code_fingerprint
from gristmill.core.errors import ConfigError, GristmillError
from gristmill.core.failpoints import failpoint
from gristmill.core.source import WHOLE, Window
from gristmill.core.step import GlobalStep
from gristmill.engine import adopt, drift, merge, plan, quarantine, redecide, refresh
from gristmill.engine.adopt import Adoption
from gristmill.engine.plan import Draft, Plan
from gristmill.engine.work import Mode
from gristmill.store import claim, snapshot
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Manifest


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How one run is asked for.

    accept_gate: rules that need not hold, with `why` recorded. overrides: `KEY=VALUE` settings the config was loaded
    with, which workers load again. wait_s: how long to wait for the lock. source: the only one to ask; window: the part of it
    to read; both hold for a new run, one that died is gone on with as it was planned. adopted: records that go past the steps. retry: what of
    the quarantine is read again. mode: what is done about records that were decided before. until: where a scheduler's part ends
    (`go_on`): when the candidate is judged, or when it is published.
    """

    workers: int | None = None
    accept_gate: list[str] = []
    why: str = ""
    overrides: list[str] = []
    wait_s: float = 0.0
    source: str | None = None
    window: Window = WHOLE
    adopted: Adoption | None = None
    retry: quarantine.Asked | None = None
    mode: Mode = "forward"
    until: Literal["gate", "commit", "exports"] = "exports"

    @property
    def is_plain(self) -> bool:
        """Tell a run as it is made every day, of all sources, by the config alone."""
        special = (self.overrides, self.source, self.adopted, self.retry)
        return not any(special) and self.window == WHOLE and self.mode == "forward"


def check(config: PipelineConfig, source: str | None, window: Window, mode: Mode = "forward") -> None:
    """Refuse what cannot be asked for, before anything is read.

    Raises:
        ConfigError: it cannot.
    """
    names = [bound.name for bound in config.sources]
    if source is not None and source not in names:
        raise ConfigError(bind.no_such_source(source, names))
    if source is None and window != WHOLE:
        raise ConfigError("a window belongs to one source: name it with --source")
    asked = next((bound for bound in config.sources if bound.name == source), None)
    if asked is not None and window != WHOLE and not asked.source.WINDOWED:
        raise ConfigError(f"--window: source {source} ({asked.part}) has no cursor, so it cannot be asked for a part")
    if asked is not None and mode != "forward":
        raise ConfigError(f"--{mode} decides about the records of all sources; leave --source out")


def check_accepted(config: PipelineConfig, accept_gate: Sequence[str], why: str) -> None:
    """Refuse gate rules that there are not, or that are accepted for no reason: a typo would cost a whole run.

    Raises:
        ConfigError: there is one.
    """
    if accept_gate and not why:
        raise ConfigError("accept_gate needs a reason: say --why TEXT; it is kept in the lineage")
    if why and not accept_gate:
        raise ConfigError("--why says why a rule of the gate need not hold: name the rule, --accept-gate RULE")
    rules = [name for name in Gate.__struct_fields__ if name != "sources"]
    per_source = list(SourceGate.__struct_fields__)
    known = [*rules, *(f"{source.name}.{rule}" for source in config.sources for rule in per_source)]
    strangers = [name for name in accept_gate if name not in known]
    if strangers:
        raise ConfigError(
            *(
                f"accept_gate: there is no rule {name!r}{find.suggestion(name, known) or ';'} rules: {', '.join(rules)}"
                for name in strangers
            )
        )


def draft(config: PipelineConfig, layout: Layout, head: Manifest, options: Options) -> Draft:
    """Find what a run as it is asked for would do; writes nothing.

    Raises:
        ConfigError: what is asked for cannot be had.
        SourceError: a source cannot be listed, and may not be left out.
    """
    if options.mode == "full-refresh":
        return refresh.draft(config, layout, head)
    if options.mode == "redecide":
        return redecide.draft(config, layout, head)
    if options.adopted is None:
        return plan.draft(config, layout, head, options.source, options.window, options.retry)
    adopt.check(config, head, options.adopted)
    drafted = plan.draft(adopt.into(config, options.adopted), layout, head, options.adopted.source)
    if options.adopted.source in head.states and not drafted.empty:
        raise ConfigError(
            f"snapshot {head.seq} adopted this as {options.adopted.source!r}, and it has changed since: "
            "give what is new another --source, or a path of its own"
        )
    if options.adopted.source not in head.states:
        adopt.check_data(config, options.adopted, drafted.found[options.adopted.source])
    return msgspec.structs.replace(drafted, adopted=options.adopted)


def claim_next(config: PipelineConfig, layout: Layout, head: Manifest, fingerprint: str, drafted: Draft) -> Plan | None:
    """Claim a number for what was found and freeze the plan; None if nothing is new. The lock is held."""
    check_head(config, layout, head, drafted.mode)
    if drafted.empty:
        return None
    check_steps(config)
    snapshot.create_table(layout)
    failpoint("table.created")
    taken = claim.take_seq(layout, head.seq, fingerprint)
    failpoint("claim.created")
    code = code_fingerprint()
    frozen = plan.freeze(drafted, layout, head, taken.seq, fingerprint, code)
    failpoint("plan.written")
    return frozen


def check_head(config: PipelineConfig, layout: Layout, head: Manifest, mode: Mode) -> None:
    """Refuse to build on a snapshot that has not what the config asks of it, or is damaged.

    Raises:
        ConfigError: an index does not cover it, or a baseline is not there.
        StoreError: a file of it is missing, or of an earlier format.
    """
    if mode != "full-refresh":
        _check_indexes(config, head)
    drift.check(config, layout, head)
    snapshot.check_files(layout, head)


def check_newest(config: PipelineConfig, layout: Layout, mode: Mode) -> None:
    """Do `check_head` for the newest snapshot, where there is a dataset.

    Raises:
        GristmillError: as `check_head`, or the dataset cannot be looked at.
    """
    if layout.remote is not None or layout.root.is_dir():
        layout.files.refresh()
        check_head(config, layout, snapshot.head(layout), mode)


def check_steps(config: PipelineConfig) -> None:
    """Refuse steps that cannot be opened, such as a module of the user's that does not import: before a number is taken.

    Raises:
        ConfigError: there is one.
    """
    found = []
    for bound in [*(step for source in config.sources for step in source.steps), *config.steps, config.require]:
        if isinstance(bound.step, GlobalStep):
            continue
        try:
            with own.contained():
                bound.step.open(config.folder)
        except ConfigError as error:
            place = config.written.places.get(f"steps.{bound.name}")
            begin = f"{place}: " if place else ""
            found += [f"{begin}step {bound.name!r} ({bound.part}): {problem}" for problem in error.problems]
        except GristmillError:
            raise
        except Exception:  # noqa: S112 - nobody expects it: the run meets it again, and logs where
            continue
    if found:
        raise ConfigError(*found)


def _check_indexes(config: PipelineConfig, head: Manifest) -> None:
    """Refuse a GlobalStep whose index does not cover what is published: duplicates would go unseen."""
    known = set(head.summary.get("indexes", []))
    for bound in config.steps:
        if isinstance(bound.step, GlobalStep) and head.seq and merge.index_name(bound) not in known:
            raise ConfigError(
                f"step {bound.name}: the dataset's snapshots were made without it, or with other parameters, so its index does not "
                "cover them; put the parameters back, or have all records decided about again: `gristmill run --full-refresh`"
            )

"""Reading an API of the fault server through the `rest` source as the engine does: in attempts, going on from resume points."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gristmill.core.errors import Transient
from gristmill.core.source import PAGE_SCHEMA, PlanContext, ReadContext, State, UnitRead, Window
from gristmill.sources.rest import Rest

HERE = Path()


class Run(NamedTuple):
    """What came of a run. kept: what a dataset would hold of it: by key (or origin), last of each, deleted ones left out."""

    rows: list[dict[str, Any]]
    kept: dict[str, dict[str, Any]]
    rejects: list[tuple[str, str]]
    warnings: Counter[str]
    deleted: list[str]
    state: State
    attempts: int
    bytes_in: int


def rest(endpoint: str, **parameters: Any) -> Rest:
    """Make the source as a config would, with waits that tests can afford."""
    defaults = {"id": "id", "allow_hosts": ["127.0.0.1"], "wait_s": 0.001, "timeout_s": 5}
    return msgspec.convert({"endpoint": endpoint, **defaults, **parameters}, Rest)


def run(
    source: Rest,
    state: State | None = None,
    *,
    window: Window | None = None,
    attempts: int = 1,
    batch_bytes: int = 1 << 20,
) -> Run:
    """Plan, read (again from the last resume point after a Transient, as long as there are attempts), fold."""
    plan = source.plan(state, PlanContext(HERE, window or Window()))
    (split,) = plan.splits
    json.dumps(msgspec.to_builtins(split))
    pages, resume, tried, note = [], None, 0, {}
    while True:
        tried += 1
        held = []  # as the landing does: pages count from a resume point on
        try:
            for page in source.read(split, ReadContext(HERE, batch_bytes, resume=resume)):
                assert page.rows.schema == PAGE_SCHEMA
                assert page.versioned
                page.rows.validate(full=True)
                held.append(page)
                if page.resume is not None:
                    resume = json.loads(json.dumps(page.resume))
                    pages += held
                    held = []
            pages += held
            break
        except Transient:
            if tried >= attempts:
                raise
    rows, kept, deleted = [], {}, []
    for page in pages:
        note = page.note or note
        for row in page.rows.to_pylist():
            rows.append(row)
            kept[row["key"] or row["origin"]] = row
        for key in page.deleted:
            deleted.append(key)
            kept.pop(key, None)
    reads = [UnitRead(split.units[0], 0, len(rows), note=note)]
    after = source.fold(state, msgspec.structs.replace(plan, splits=[]), reads, 1)
    return Run(
        rows,
        kept,
        [(reject.code, reject.origin) for page in pages for reject in page.rejects],
        sum((Counter(page.warnings) for page in pages), Counter()),
        deleted,
        after,
        tried,
        sum(page.bytes_in for page in pages),
    )


def texts(run: Run) -> dict[str, str]:
    return {key: row["text"] for key, row in run.kept.items()}

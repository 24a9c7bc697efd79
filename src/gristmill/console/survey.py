"""Surveys for the command line: what a run would do, how a dataset stands, which parts there are.

Not here: laying them out (`terminal`). Invariants: read only, and no lock is taken; what is given is plain JSON values
and is what `--json` prints.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gristmill.core import find, params
from gristmill.core.errors import ConfigError, GristmillError
from gristmill.core.load import Load
from gristmill.core.source import WHOLE, Window

if TYPE_CHECKING:
    from gristmill.pipeline import Pipeline

Json = dict[str, Any]


def planned(
    pipeline: Pipeline,
    source: str | None = None,
    window: Window = WHOLE,
    machines: int = 0,
    mode: Literal["forward", "redecide", "full-refresh"] = "forward",
) -> Json:
    """Give what a run would find and do; with `machines` also what that would take on so many."""
    draft, changed = pipeline.plan(source=source, window=window, mode=mode)
    dataset = _dataset(pipeline)
    runs = dataset.log() if dataset else []
    seqs = dataset.seqs() if dataset else []
    sources: dict[str, Json] = {}
    for name, found in draft.found.items():
        units = {unit for split in found.splits for unit in split.units}
        changes = len(found.replaced)
        known = name not in draft.skipped  # else nobody knows what is new there
        sources[name] = {
            "new": len(units - set(found.replaced)) if known else None,
            "changed": changes if known else None,
            "gone": len(found.gone) if known else None,
            "unchanged": max(0, found.listing.num_rows - len(units)) if known else None,
            "asked": source in (None, name),
            "failure": draft.failures.get(name),
            "left_out": draft.skipped.get(name),
            "failed": [list(entry) for entry in found.failed],
            "bytes": sum(split.bytes for split in found.splits),
            "tasks": len(found.splits),
            "again": draft.read_again(name),
        }
    config = pipeline.config
    unfinished = _unfinished(runs, holder(pipeline))
    told = (
        pipeline.estimate(source=source, window=window, machines=machines, mode=mode)
        if machines and not draft.empty
        else None
    )
    return {
        "dataset": config.dataset,
        "snapshot": seqs[-1] if seqs else None,
        "nothing_new": draft.empty and unfinished is None,
        "estimate": msgspec.to_builtins(told) | {"over": told.over} if told else None,
        "unfinished": unfinished,
        "sources": sources,
        "mode": mode,
        "tasks": sum(found["tasks"] + found["again"]["tasks"] for found in sources.values()),
        "bytes": sum(found["bytes"] + found["again"]["bytes"] for found in sources.values()),
        "steps": [bound.name for bound in config.steps],
        "exports": [bound.name for bound in config.exports],
        "config_changes": changed,
        "choices": pipeline.choices() if changed else {},
        "problems": pipeline.obstacles(mode),
    }


def standing(pipeline: Pipeline) -> Json:
    """Give how the dataset stands."""
    config = pipeline.config
    dataset = _dataset(pipeline)
    runs = dataset.log() if dataset else []
    seqs = dataset.seqs() if dataset else []
    head = dataset.manifest(seqs[-1]) if dataset and seqs else None
    lock = holder(pipeline)
    return {
        "dataset": config.dataset,
        "snapshot": head.seq if head else None,
        "rows": head.rows if head else 0,
        "snapshots": seqs,
        "last_run": runs[-1] if runs else None,
        "unfinished": _unfinished(runs, lock),
        "pins": {str(seq): seq for seq in config.retention.pinned} | (dataset.pins() if dataset else {}),
        "problems": [*(_lately(dataset, runs[-1]) if runs else []), *pipeline.health.last_call()],
        "lock": lock,
        "sources": {name: _units(pipeline, state["path"]) for name, state in head.states.items()} if head else {},
        "exports": {bound.name: _export(pipeline, bound, head.seq if head else 0) for bound in config.exports},
        "costs": dataset.costs() if dataset else [],
    }


def _lately(dataset: Any, last: Json) -> list[str]:
    """Give what the report of a run says of sources as a whole (failed, silent for too long, unlike before), or that it is damaged."""
    if last["status"] in {"unfinished", "damaged"}:
        return [last["problem"]] if "problem" in last else []
    errors = dataset.report(last["run"])["errors"]
    told = [error for error in errors if error["code"] in {"source.drift", "source.failed", "source.stale"}]
    return [f"run {last['run']}: source {error['source']}: {error['message']}" for error in told]


def _dataset(pipeline: Pipeline) -> Any:
    from gristmill.dataset import Dataset

    try:
        return Dataset.of(pipeline.config)
    except ConfigError:
        return None


def _unfinished(runs: list[Json], lock: str | None) -> int | None:
    """Give the number of a newest run that did not end; None while somebody holds the dataset, who may be that run."""
    return runs[-1]["run"] if runs and lock is None and runs[-1]["status"] == "unfinished" else None


def _units(pipeline: Pipeline, relative: str) -> Json:
    import pyarrow.parquet as pq

    path = pipeline.layout.absolute(relative)
    sizes = "size" in pq.read_schema(path).names
    table = pq.read_table(path, columns=["status", *(["size"] if sizes else [])])
    bad = sum(status != "ok" for status in table["status"].to_pylist())
    return {"units": table.num_rows, "bad": bad, "bytes": sum(table["size"].to_pylist()) if sizes else 0}


def _export(pipeline: Pipeline, bound: Any, newest: int) -> Json:
    from gristmill.dataset import outlet

    if isinstance(bound.export, Load):  # its ledger lies in the database, which `status` does not ask; `verify` does
        state = "see gristmill verify" if newest else "none yet"
        return {"state": state, "docs": None, "chunks": None, "path": bound.export.place}
    lies = outlet(bound, pipeline.config)
    if lies is None:
        why = "a reference it holds cannot be resolved here; `gristmill check` says which"
        return {"state": "not looked at", "docs": None, "chunks": None, "path": "", "detail": why}
    folder = str(lies)
    try:
        made = lies.manifest()
    except (GristmillError, OSError) as error:
        told = f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        return {"state": "damaged", "docs": None, "chunks": None, "path": folder, "detail": told}
    if made is None:
        return {"state": "missing" if newest else "none yet", "docs": None, "chunks": None, "path": folder}
    if made.export != bound.name:
        told = f"it holds the export {made.export!r}"
        return {"state": "damaged", "docs": None, "chunks": None, "path": folder, "detail": told}
    state = "current" if made.snapshot == newest else f"of snapshot {made.snapshot}"
    return {"state": state, "docs": made.docs, "chunks": len(made.chunks), "path": folder}


def holder(pipeline: Pipeline) -> str | None:
    """Give who holds the dataset, if anybody does."""
    from gristmill.dataset import holder as of

    return of(pipeline.layout) if pipeline.layout.remote is not None else _holder(pipeline.layout.lock)


def _holder(lock: Path) -> str | None:
    """Give who holds the dataset. Asks the kernel and takes no lock, which could make a starting run fail."""
    try:
        inode = lock.stat().st_ino
        told = lock.read_text("utf-8", "replace").strip() or "unknown"
    except OSError:
        return None
    try:
        held = Path("/proc/locks").read_text("ascii", "replace").splitlines()
        return told if any("FLOCK" in line and f":{inode} " in line for line in held) else None
    except OSError:  # no such file here: is the process that wrote its name still there
        pid = told.split()[1] if told.startswith("pid ") else ""
        return told if pid.isdecimal() and _lives(int(pid)) else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


# --- parts -------------------------------------------------------------------------------------------------------


def parts(name: str | None) -> list[Json]:
    """List the parts, or tell all about those called `name`.

    Raises:
        ConfigError: there is no such part.
    """
    known = find.parts()
    if name is None:
        return [{"kind": part.kind, "name": part.name, "summary": _summary(part)} for part in known]
    kinds = [part.kind for part in known if part.name == name] or [
        kind for kind in ("sources", "steps", "exports") if find.exists(kind, name)
    ]
    told = list(_told(kinds, name))
    if not told:
        meant = find.suggestion(name, [part.name for part in known], by_last=True)
        raise ConfigError(f"there is no part {name!r}{meant or ';'} `gristmill parts` lists all")
    return told


def _summary(part: find.Part) -> str:
    return part.summary.removeprefix(f"{part.name}: ")


def _told(kinds: list[Any], name: str) -> Iterator[Json]:
    problems: list[str] = []
    for kind in kinds:
        try:
            cls: Any = find.find(kind, name, Path.cwd())
        except ConfigError as error:
            problems += error.problems
            continue
        module = sys.modules[cls.__module__]
        docs = params.field_docs(cls)
        fields = [
            {"name": field.encode_name, "type": params.words(field.type), "required": field.required,
             "default": None if field.required else _default(field), "description": docs.get(field.encode_name, "")}
            for field in msgspec.structs.fields(cls)
        ]  # fmt: skip
        yield {"kind": kind, "name": name, "about": (module.__doc__ or "").strip(), "fields": fields}
        problems = []
    if problems:
        raise ConfigError(*problems[:1])


def _default(field: msgspec.structs.FieldInfo) -> Any:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return msgspec.to_builtins(value)

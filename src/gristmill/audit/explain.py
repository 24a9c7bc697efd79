"""Looking things up: one record's whole path, and samples of what was kept or not.

Not here: printing (`cli`). Invariant: answers come from side files and the table only; nothing is computed again, and
the text of a record is never part of an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.core.batch import TABLE_SCHEMA
from gristmill.core.errors import ConfigError, StoreError
from gristmill.core.visible import meant
from gristmill.store.layout import Layout
from gristmill.store.rows import named
from gristmill.store.snapshot import ExportState, Manifest, read_manifest

Kind = Literal["kept", "dropped", "duplicates", "quarantined"]
ACTIONS = {"dropped": "drop", "duplicates": "duplicate", "quarantined": "quarantine"}
ROW_BITS, SEQ_SHIFT = 26, 45
SHOWN = ["id", "source", "origin", "url", "time", "lang", "license", "ord", "seq"]


def sides(layout: Layout, seq: int, kind: str) -> list[Path]:
    """Give the side files of one kind of a run, in task order."""
    return layout.files.fetched(layout.run(seq) / kind, "*.parquet")


def explain(layout: Layout, manifests: list[Manifest], wanted: str, refused: Iterable[int] = ()) -> dict[str, Any]:
    """Tell all that is known of the record with this id, URL or origin, oldest first; if there is none, of the one that is shown so.

    refused: runs of which nothing was published, newest first. What only they know of stands in the error.

    Raises:
        ConfigError: nothing is known of it.
    """
    spellings = dict.fromkeys([wanted, meant(wanted)])
    for spelled in spellings if manifests else ():
        if (told := _explained(layout, manifests, spelled)) is not None:
            return told
    for seq in refused:
        entries: list[dict[str, Any]] = []
        with suppress(StoreError):  # damage in what was not published is no answer to what was asked
            entries = [entry for spelled in spellings for entry in _entries(layout, seq, [spelled], spelled)]
        if entries:
            shown = next(
                name for name, action in ACTIONS.items() if action == entries[-1]["action"] or name == "quarantined"
            )
            why = ": ".join(str(entries[-1][name]) for name in ("step", "reason", "code") if entries[-1].get(name))
            raise ConfigError(
                f"{wanted!r} came in run {seq} alone, of which nothing was published; there it is: {entries[-1]['action']} ({why}). "
                f"`gristmill show {seq}` tells of the run, `gristmill inspect --{shown} --run {seq}` shows others"
            )
    if not manifests:
        raise ConfigError(f"{layout.name} holds no snapshot yet; run `gristmill run` first")
    raise ConfigError(
        f"no record with the id, URL or origin {wanted!r} was published, dropped or quarantined; ids look like "
        "'<source>/<key>' or '<source>/<path>#<offset>' (see `gristmill inspect --kept`)"
    )


def _explained(layout: Layout, manifests: list[Manifest], wanted: str) -> dict[str, Any] | None:
    head = manifests[-1]
    live = _rows_with(layout, head, wanted)
    ids = sorted({row["id"] for row in live}) or [wanted]
    history: list[dict[str, Any]] = []
    for manifest in manifests:
        history += _entries(layout, manifest.seq, ids, wanted)
    if not live and not history:
        return None
    for entry in history:
        if entry.get("dup_of") is not None and entry["dup_of"] not in {-1, entry["ord"]}:
            entry["dup_of_id"] = id_of(layout, manifests, entry["dup_of"])
        if entry["action"] == "supersede" or (entry["action"] == "withdraw" and entry["reason"] != "gone"):
            entry["replaced_by"] = _successor(entry, live, history)
    for row in live:
        row["signals"] = _signals(layout, row["seq"], row["ord"])
        row["exports"] = {name: _copy(state, row["ord"]) for name, state in head.exports.items()}
    return {"wanted": wanted, "snapshot": head.seq, "published": live, "history": history}


def _entries(layout: Layout, seq: int, ids: list[str], wanted: str) -> list[dict[str, Any]]:
    """Give what a run decided about records, and the pieces it quarantined that never became one."""
    entries = [{"run": seq, **row} for path in sides(layout, seq, "verdicts") for row in _verdicts(layout, path, ids)]
    return entries + [
        {"run": seq, "action": "quarantine", **row}
        for path in sides(layout, seq, "quarantine")
        for row in _quarantined(layout, path, wanted)
    ]


def _successor(
    entry: dict[str, Any], live: list[dict[str, Any]], history: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Give the newer content of the same id that took the place of one: its run, ord and what became of it there.

    It came in the run that took the old one out. None: no trace of it is left, as of a deletion.
    """
    run = entry["run"]
    for row in live:
        if row["id"] == entry["id"] and row["seq"] == run:
            return {"run": run, "ord": row["ord"], "outcome": "published", "shard": row["shard"]}
    others = [each for each in history if each.get("id") == entry["id"] and each["ord"] != entry["ord"]]
    came = [each for each in others if each["ord"] >> SEQ_SHIFT == run and each["action"] != "supersede"]
    if not came:
        return None
    last = max(came, key=lambda each: each["ord"])
    outcome = "published" if last["action"] == "withdraw" else last["action"]  # withdrawn later: it was published
    return {"run": run, "ord": last["ord"], "outcome": outcome}


def _copy(state: ExportState, place: int) -> str | None:
    """Give the chunk a row lies in, or the table."""
    table = state.config["params"].get("table")
    chunks = state.ledger.chunks
    return table or next((chunk.name for chunk in chunks if chunk.first_ord <= place <= chunk.last_ord), None)


def _rows_with(layout: Layout, manifest: Manifest, wanted: str) -> list[dict[str, Any]]:
    found = []
    for shard in manifest.shards:
        path = layout.absolute(shard.path)
        table = _read(layout, path, SHOWN)
        names = pc.binary_join_element_wise(table["source"], table["origin"], "/")
        hits = pc.equal(table["id"], wanted)
        for other in (table["url"], table["origin"], names):
            hits = pc.or_(hits, pc.fill_null(pc.equal(other, wanted), fill_value=False))
        found += [{**row, "shard": shard.path} for row in _plain(table.filter(hits))]
    return found


def _plain(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name, value in row.items():
            if hasattr(value, "isoformat"):
                row[name] = value.isoformat()
    return rows


def _read(layout: Layout, path: Path, columns: list[str] | None = None, ord_: int | None = None) -> pa.Table:
    """Read a shard or side file; with `ord_` the row of that record alone."""
    with named(layout, path):
        return pq.read_table(path, columns=columns, filters=None if ord_ is None else [("ord", "=", ord_)])


def _verdicts(layout: Layout, path: Path, ids: list[str]) -> list[dict[str, Any]]:
    table = _read(layout, path)
    return _plain(table.filter(pc.is_in(table["id"], pa.array(ids))))


def _quarantined(layout: Layout, path: Path, wanted: str) -> list[dict[str, Any]]:
    """Give quarantined pieces that never became a record, by their origin."""
    table = _read(layout, path)
    names = pc.binary_join_element_wise(table["source"], table["origin"], "/")
    hits = pc.and_(pc.is_null(table["id"]), pc.or_(pc.equal(table["origin"], wanted), pc.equal(names, wanted)))
    return _plain(table.filter(pc.fill_null(hits, fill_value=False)))


def id_of(layout: Layout, manifests: list[Manifest], ord_: int) -> str | None:
    """Give the id of the record with this ord: published then, or dropped with a verdict."""
    seq = ord_ >> SEQ_SHIFT
    for manifest in manifests:
        if manifest.seq >= seq:
            for shard in manifest.shards:
                path = layout.absolute(shard.path)
                if shard.first_ord <= ord_ <= shard.last_ord and path.exists():  # gc takes old ones
                    table = _read(layout, path, ["id", "ord"], ord_)
                    if table.num_rows:
                        return str(table["id"][0])
    for path in sides(layout, seq, "verdicts"):
        table = _read(layout, path, ["id", "ord"], ord_)
        if table.num_rows:
            return str(table["id"][0])
    return None


def _signals(layout: Layout, seq: int, ord_: int) -> dict[str, float]:
    number = ord_ >> ROW_BITS & ((1 << (SEQ_SHIFT - ROW_BITS)) - 1)
    signals: dict[str, float] = {}
    for path in sides(layout, seq, "signals"):
        if path.stem.endswith(f"-{number:06d}"):
            table = _read(layout, path, ord_=ord_)
            signals |= {f"{row['step']}.{row['signal']}": row["value"] for row in table.to_pylist()}
    return signals


def inspect(layout: Layout, seq: int, kind: Kind, step: str | None, reason: str | None, n: int) -> list[dict[str, Any]]:
    """Give up to n records of one kind of run `seq`; of a refused run too. A rollback kept what its snapshot holds."""
    if kind == "kept":
        return _kept(layout, seq, n)
    folder = "quarantine" if kind == "quarantined" else "verdicts"
    rows: list[dict[str, Any]] = []
    for path in sides(layout, seq, folder):
        table = _read(layout, path)
        if kind != "quarantined":
            table = table.filter(pc.equal(table["action"], ACTIONS[kind]))
        if step is not None:
            table = table.filter(pc.equal(table["step"], step))
        if reason is not None:
            table = table.filter(pc.equal(table["code" if kind == "quarantined" else "reason"], reason))
        rows += _plain(table.slice(0, n - len(rows)))
        if len(rows) >= n:
            break
    return rows


def _kept(layout: Layout, seq: int, n: int) -> list[dict[str, Any]]:
    path = layout.manifest(seq) if layout.manifest(seq).exists() else layout.candidate(seq)
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    manifest = read_manifest(path)
    is_rollback = any("rolled_back_to" in told for told in manifest.lineage)  # it publishes rows that others made
    for shard in manifest.shards:
        if len(rows) < n and (is_rollback or shard.last_ord >> SEQ_SHIFT == seq):
            rows += _plain(_read(layout, layout.absolute(shard.path), SHOWN).slice(0, n - len(rows)))
    assert all(name in TABLE_SCHEMA.names for name in SHOWN)
    return rows

"""The views: for each page of the ui, what it shows, found by `audit` and `report`.

Not here: layout (`templates/`), addresses (`app`). Invariants: a view reads and gives plain values; it looks at a bounded part of the
dataset and hands on where to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast, get_args

from gristmill.audit import again, difference, explain, sample, texts
from gristmill.audit.explain import Kind
from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import ConfigError
from gristmill.dataset import Dataset
from gristmill.report import model, stored, words
from gristmill.store import claim
from gristmill.store.snapshot import Manifest, read_manifest
from gristmill.ui import marks

Json = dict[str, Any]

ROWS = 25
RUNS = 50
TREND = 60
TEXT = 50_000  # characters of a text on one page
SNIPPET = 600  # characters of one of many texts on a page
LONGEST = 500  # characters of a question


class Asked(NamedTuple):
    """A question: the dataset and its config, how links are made, and the query."""

    config: PipelineConfig
    dataset: Dataset
    link: Callable[..., str]
    query: dict[str, str]

    def word(self, name: str) -> str:
        """Give a text of the query, "" if it is not there."""
        return self.query.get(name, "")[:LONGEST]

    def number(self, name: str, default: int | None = None) -> int | None:
        """Give a whole number of the query.

        Raises:
            ConfigError: it is none.
        """
        text = self.query.get(name, "")
        if not text:
            return default
        if not text.isascii() or not text.isdecimal() or len(text) > 18:
            raise ConfigError(f"{name} must be a whole number")
        return int(text)

    def number_or(self, name: str, default: int) -> int:
        """Give a whole number of the query, or another one."""
        found = self.number(name, default)
        return default if found is None else found


@lru_cache(maxsize=256)
def _manifest(path: Any, written_ns: int) -> Manifest:
    return read_manifest(path)


def chain(dataset: Dataset) -> list[Manifest]:
    """Give the manifests of all snapshots, oldest first; they never change, so each is read once."""
    # written_ns: a rewritten file is another
    paths = [dataset.layout.manifest(seq) for seq in dataset.seqs()]
    return [_manifest(path, path.stat().st_mtime_ns) for path in paths]


def overview(asked: Asked) -> Json:
    """Show how the dataset stands, and its latest runs."""
    every = asked.dataset.log()
    manifests = chain(asked.dataset)
    head = manifests[-1] if manifests else None
    return {
        "head": head,
        "runs": every[::-1][:10],
        "sources": sorted(head.sources) if head is not None else [],
        "trends": _trends([line for line in every if "rows" in line][-TREND:]),
        "description": asked.config.file.name if asked.config.file is not None else "",
    }


def runs(asked: Asked) -> Json:
    """Show all runs, the newest first."""
    every = asked.dataset.log()[::-1]
    after = asked.number_or("after", 0)
    more = after + RUNS if after + RUNS < len(every) else None
    return {"runs": every[after : after + RUNS], "more": more, "all": len(every)}


def _trends(lines: list[Json]) -> list[Json]:
    """Give lines over the last runs: documents, records published, quality."""
    found = []
    for name, key in (("documents", "rows"), ("records published", "published"), ("quality score", "quality_score")):
        points = [(line["run"], line[key]) for line in lines if line.get(key) is not None]
        if len(points) > 1:
            top = max(value for _, value in points) or 1
            step = 100 / (len(points) - 1)
            drawn = " ".join(f"{i * step:.2f},{98 - 96 * value / top:.1f}" for i, (_, value) in enumerate(points))
            found.append({"name": name, "points": drawn, "rows": [(run, words.count(value)) for run, value in points]})
    return found


def run(asked: Asked) -> Json:
    """Show the page of a run, with links into what it dropped."""
    seq = asked.number_or("seq", 0)
    report = asked.dataset.report(seq)
    layout = asked.dataset.layout

    def into(kind: str, key: str) -> str:
        step, _, reason = key.rpartition(":") if kind == "dropped" else ("", "", key)
        return asked.link("/browse", {"run": seq, "kind": kind, "step": step, "reason": reason})

    return {"page": model.page(report, stored.gather(layout, report)), "into": into}


def snapshots(asked: Asked) -> Json:
    """Show all snapshots, the newest first, with what each of them changed."""
    found = chain(asked.dataset)[::-1]
    after = asked.number_or("after", 0)
    more = after + RUNS if after + RUNS < len(found) else None
    return {"snapshots": found[after : after + RUNS], "more": more, "all": len(found)}


def snapshot(asked: Asked) -> Json:
    """Show one snapshot: what it holds, and where it comes from."""
    manifest = asked.dataset.manifest(asked.number("seq"))
    after = asked.number_or("after", 0)
    shards = sorted(manifest.shards, key=lambda shard: shard.first_ord)
    rows, more = texts.first_rows(asked.dataset.layout, shards, after, ROWS)
    return {"manifest": manifest, "rows": rows, "more": more, "after": after, "bytes": sum(s.bytes for s in shards)}


def diff(asked: Asked) -> Json:
    """Show what lies between two snapshots."""
    known = asked.dataset.seqs()
    new = asked.number("b", known[-1] if known else None)
    old = asked.number("a", known[-2] if len(known) > 1 else new)
    manifests = asked.dataset.manifest(old), asked.dataset.manifest(new)
    found = difference.difference(asked.dataset.layout, *manifests)
    what = _one_of(asked.word("what") or "added", get_args(difference.What))
    after = asked.number_or("after", 0)
    table = found.tables[cast("difference.What", what)] if found.tables is not None else None
    return {
        "a": manifests[0].seq,
        "b": manifests[1].seq,
        "seqs": known[::-1],
        "rows": found.rows,
        "counts": found.counts(),
        "sources": [(name, *map(words.count, counts)) for name, counts in found.by_source()],
        "what": what,
        "records": table.slice(after, ROWS).to_pylist() if table is not None else [],
        "more": after + ROWS if table is not None and after + ROWS < table.num_rows else None,
    }


def records(asked: Asked) -> Json:
    """Look for records of a snapshot."""
    by = _one_of(asked.word("by") or "id", get_args(texts.By))
    wanted, after = asked.word("q"), asked.number_or("after", 0)
    known = asked.dataset.seqs()
    seq = asked.number("seq", known[-1] if known else None)
    found = texts.Hits([], None, 0)
    if wanted:
        manifest = asked.dataset.manifest(seq)
        found = texts.search(asked.dataset.layout, manifest, cast("texts.By", by), wanted, after, ROWS)
    return {"by": by, "bys": get_args(texts.By), "q": wanted, "seq": seq, "found": found, "after": after}


def record(asked: Asked) -> Json:
    """Show one record's whole path, and its text."""
    wanted = asked.query.get("id", "")
    layout, manifests = asked.dataset.layout, chain(asked.dataset)
    found = explain.explain(layout, manifests, wanted)
    shown = []
    for row in found["published"]:
        whole = texts.record(layout, manifests[-1], row["ord"]) or {"text": "", "meta": None}
        shown.append({"row": row, "text": marks.marked(whole["text"], [], TEXT), "meta": whole["meta"]})
    texts_of = _texts(asked, found["history"])
    history = [{"entry": entry, "told": texts_of.get(entry.get("ord"))} for entry in found["history"]]
    return {"wanted": wanted, "found": found, "shown": shown, "history": history}


def _texts(asked: Asked, verdicts: list[Json], most: int = TEXT) -> dict[int, Json]:
    """Give by `ord` the texts that verdicts were passed on, as far as they can be read again, with what they point at marked."""
    passed = [
        row for row in verdicts if row.get("action", "quarantine") in {"drop", "duplicate", "quarantine", "change"}
    ]
    judged = {row["ord"]: row for row in passed if row.get("ord") is not None and row.get("id") is not None}
    wanted = [again.Wanted(at, row["id"], row["step"] or "") for at, row in judged.items()]
    told: dict[int, Json] = {}
    for at, read in again.read_again(asked.config, asked.dataset.layout, wanted).items():
        seen = read.seen is not None
        spans = marks.spans_of(judged[at].get("spans")) if seen else []
        text = read.seen if read.seen is not None else read.text
        told[at] = {"text": marks.marked(text, spans, most), "seen": seen, "why": read.why}
    return told


def browse(asked: Asked) -> Json:
    """Show what was kept, dropped, repeated or quarantined in a run, by step and reason."""
    kind = _one_of(asked.word("kind") or "dropped", get_args(Kind))
    layout, known = asked.dataset.layout, claim.claimed(asked.dataset.layout)
    seq = asked.number("run", known[-1] if known else None)
    if seq is None or seq not in known:
        have = ", ".join(map(str, known[-10:])) or "none yet"
        raise ConfigError(f"there is no run{'' if seq is None else f' {seq}'}; there are: {have}")
    step, reason, after = asked.word("step"), asked.word("reason"), asked.number_or("after", 0)
    if kind == "kept":
        path = layout.manifest(seq) if layout.manifest(seq).exists() else layout.candidate(seq)
        shards = read_manifest(path).shards if path.exists() else []
        mine = [shard for shard in shards if shard.last_ord >> stored.SEQ_SHIFT == seq]
        rows, more = texts.first_rows(layout, sorted(mine, key=lambda shard: shard.first_ord), after, ROWS)
    else:
        rows, more = sample.sample(layout, seq, cast("Kind", kind), step, reason, after, ROWS)
    wants = asked.word("texts") == "yes" and kind != "kept"
    if kind == "duplicates":
        manifests = chain(asked.dataset)
        for row in rows:
            row["dup_of_id"] = explain.id_of(layout, manifests, row["dup_of"])
    return {
        "kind": kind, "kinds": get_args(Kind), "run": seq, "runs": known[::-1][:RUNS], "step": step, "reason": reason,
        "rows": rows, "more": more, "texts": _texts(asked, rows, SNIPPET) if wants else None, "facets": _facets(stored.report_of(layout, seq), kind),
    }  # fmt: skip


def _facets(report: Json | None, kind: str) -> list[tuple[str, str, int]]:
    """Give the steps and reasons there are to choose from: step, reason, how many."""
    counts = report["counts"] if report is not None else {}
    every = sorted(counts.get(kind, {}).items(), key=lambda item: (-item[1], item[0])) if kind != "kept" else []
    if kind == "dropped":
        return [(*_step_and_reason(key), n) for key, n in every]
    return [(key, "", n) if kind == "duplicates" else ("", key, n) for key, n in every]


def _step_and_reason(key: str) -> tuple[str, str]:
    step, _, reason = key.rpartition(":")
    return step, reason


def drift(asked: Asked) -> Json:
    """Show drift over the last runs, and how the dataset came to be what it is."""
    layout = asked.dataset.layout
    found = []
    for seq in claim.claimed(layout)[::-1][:RUNS]:
        report = stored.report_of(layout, seq)
        rows = (report or {}).get("drift") or []
        worst = sorted((row for row in rows if row["level"] != "ok"), key=lambda row: (row["level"], -row["value"]))
        found.append({"run": seq, "measured": len(rows), "worst": worst[:ROWS], "status": (report or {}).get("status", "unfinished")})  # fmt: skip
    lineage = [(each.seq, each.lineage) for each in chain(asked.dataset)[::-1] if each.lineage]
    return {"runs": found, "lineage": lineage[:RUNS]}


def _one_of(word: str, words_: tuple[str, ...]) -> str:
    if word not in words_:
        raise ConfigError(f"choose one of {', '.join(words_)}")
    return word

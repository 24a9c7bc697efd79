"""The independent checker: reads what a dataset and its exports hold on disk and says where the promises are broken.

It counts everything again from the files alone: both laws, overall and by source and along the chain of snapshots;
verdicts and quarantine against the counts; shards, digests and ids against the manifest and the Delta log; chunks
against the table. Not here: `gristmill verify`, which the engine owns. Invariant: nothing of gristmill is imported and
nothing of the writing side is trusted, so the same mistake cannot stand on both sides.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

COLUMNS = "id text source origin url time fetched_at lang script lang_score license meta content_hash ord seq"
ORD_BITS = 45  # an ord is seq << 45 | task << 26 | row
CHUNK_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
OUTCOMES = {"drop", "duplicate", "supersede", "quarantine"}  # what ends a record of the run itself

Json = dict[str, Any]
# id -> (ord, digest of the text): what the head snapshot holds.
Head = dict[str, tuple[int, bytes]]


def check(dataset: Path, exports: Sequence[Path] = ()) -> list[str]:
    """Give the broken promises of a dataset folder and of export folders made from it; empty when all is well.

    A dataset without any committed snapshot is a problem here: call `head_seq` first where that is fine.
    """
    problems: list[str] = []
    table = _table(dataset)
    head = _head_of(table)
    if table is None or head is None:
        return [f"{dataset}: no committed snapshot"]
    chain = list(_chain(dataset, head, problems))
    if not chain or chain[0]["seq"] != head:
        return problems
    problems += _delta_files(dataset, table, chain[0])
    rows = _read_head(dataset, chain[0], problems)
    problems += _second_law(chain)
    back: set[int] = set()  # ords that a rollback restored, in this snapshot or a later one
    for manifest in chain:
        problems += _first_law(manifest)
        problems += _recount(dataset, manifest, rows, back, is_head=manifest is chain[0])
        problems += _report(dataset, manifest)
        problems += _distributions(dataset, manifest)
    for folder in exports:
        problems += _export(folder, head, rows)
    return problems


def assert_laws(dataset: Path, exports: Sequence[Path] = ()) -> None:
    """Raise an AssertionError that names every broken promise.

    Raises:
        AssertionError: `check` found something.
    """
    problems = check(dataset, exports)
    if problems:
        raise AssertionError(f"{len(problems)} broken promises\n" + "\n".join(problems[:50]))


def head_seq(dataset: Path) -> int | None:
    """Give the number of the snapshot that a reader of the Delta table sees, None when nothing was ever committed."""
    return _head_of(_table(dataset))


def head_manifest(dataset: Path) -> Json:
    """Give the manifest of the snapshot that a reader sees.

    Raises:
        AssertionError: nothing was ever committed.
    """
    head = head_seq(dataset)
    if head is None:
        raise AssertionError(f"{dataset}: no committed snapshot")
    manifest: Json = json.loads((dataset / "runs" / str(head) / "manifest.json").read_bytes())
    return manifest


def head_rows(dataset: Path, columns: Sequence[str] = ("id", "text", "ord")) -> pa.Table:
    """Give some columns of the head snapshot in order of `ord`, read from the shards its manifest names."""
    parts = [pq.read_table(dataset / shard["path"], columns=[*columns]) for shard in head_manifest(dataset)["shards"]]
    table = pa.concat_tables(parts) if parts else pa.table({name: [] for name in columns})
    return table.sort_by("ord") if "ord" in columns else table


def _table(dataset: Path) -> DeltaTable | None:
    try:
        return DeltaTable(dataset / "table")
    except TableNotFoundError:
        return None


def _head_of(table: DeltaTable | None) -> int | None:
    version = None if table is None else table.transaction_version("gristmill")
    return None if version is None else int(version)


def _chain(dataset: Path, head: int, problems: list[str]) -> Iterator[Json]:
    seq: int | None = head
    while seq is not None:
        path = dataset / "runs" / str(seq) / "manifest.json"
        try:
            manifest = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            problems.append(f"snapshot {seq}: its manifest cannot be read: {error}")
            return
        if manifest["seq"] != seq or manifest["format"] != 1:
            problems.append(f"{path}: says seq {manifest['seq']}, format {manifest['format']}")
        yield manifest
        parent = manifest["parent"] or None
        if parent is not None and not 0 < parent < seq:
            problems.append(f"snapshot {seq}: parent {parent} is not an earlier one")
            return
        seq = parent


def _delta_files(dataset: Path, table: DeltaTable, manifest: Json) -> Iterator[str]:
    active = {Path(unquote(urlparse(uri).path)).resolve() for uri in table.file_uris()}
    named = {(dataset / shard["path"]).resolve() for shard in manifest["shards"]}
    for path in sorted(active - named):
        yield f"{path}: in the Delta table, not in the manifest"
    for path in sorted(named - active):
        yield f"{path}: in the manifest, not in the Delta table"
    digest = hashlib.sha256((dataset / "runs" / str(manifest["seq"]) / "manifest.json").read_bytes()).hexdigest()
    if not any(digest in map(str, entry.values()) for entry in table.history(1)):
        yield f"snapshot {manifest['seq']}: the Delta commit does not carry the sha256 of its manifest"


def _read_head(dataset: Path, manifest: Json, problems: list[str]) -> Head:
    """Read all shards once: digests, schema, ranges, uniqueness."""
    head: Head = {}
    ords: set[int] = set()
    for shard in manifest["shards"]:
        path = dataset / shard["path"]
        damage = _file_problems(path, shard["sha256"], shard.get("bytes"))
        problems += damage
        if damage:
            continue
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if " ".join(file.schema_arrow.names) != COLUMNS:
                problems.append(f"{path}: columns {file.schema_arrow.names}")
                continue
            if file.metadata.num_rows != shard["rows"]:
                problems.append(f"{path}: {file.metadata.num_rows} rows, the manifest says {shard['rows']}")
            for batch in file.iter_batches(4096, columns=["id", "text", "ord", "seq"], use_threads=False):
                for id_, text, ord_, seq in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    if id_ in head:
                        problems.append(f"{path}: id {id_!r} stands twice in the snapshot")
                    if ord_ in ords:
                        problems.append(f"{path}: ord {ord_} stands twice in the snapshot")
                    if not shard["first_ord"] <= ord_ <= shard["last_ord"]:
                        problems.append(f"{path}: ord {ord_} lies outside the shard's range")
                    if ord_ >> ORD_BITS != seq or seq > manifest["seq"]:
                        problems.append(f"{path}: ord {ord_} and seq {seq} do not agree")
                    head[id_] = (ord_, _digest(text))
                    ords.add(ord_)
    return head


def _file_problems(path: Path, sha256: str, size: int | None) -> list[str]:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return [f"{path}: {error.strerror}"]
    problems = [] if found == sha256 else [f"{path}: sha256 differs from the manifest"]
    if size is not None and path.stat().st_size != size:
        problems.append(f"{path}: {path.stat().st_size} bytes, the manifest says {size}")
    return problems


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _outcome(counts: Json) -> int:
    single = counts["published"] + counts["unchanged"] + counts["superseded"]
    return int(single + sum(sum(counts[kind].values()) for kind in ("dropped", "duplicates", "quarantined")))


def _first_law(manifest: Json) -> Iterator[str]:
    name = f"snapshot {manifest['seq']}"
    counts, sources = manifest["counts"], manifest["sources"]
    for place, these in [(name, counts), *((f"{name}, source {s}", of) for s, of in sources.items())]:
        if these["read"] != _outcome(these):
            yield f"{place}: read {these['read']} records, {_outcome(these)} are accounted for"
    summed: Counter[str] = Counter()
    for of in sources.values():
        summed.update(_flat(of))
    if +summed != +_flat(counts):
        yield f"{name}: the sources' counts do not add up to the whole: {_difference(summed, _flat(counts))}"


def _flat(counts: Json) -> Counter[str]:
    """Give `read`, `dropped/<step>:<reason>`, … -> number."""
    flat: Counter[str] = Counter()
    for key, value in counts.items():
        if isinstance(value, dict):
            flat.update({f"{key}/{word}": n for word, n in value.items()})
        elif isinstance(value, int):
            flat[key] = value
    return flat


def _difference(found: Counter[str], said: Counter[str]) -> str:
    keys = sorted(key for key in found.keys() | said.keys() if found[key] != said[key])
    return ", ".join(f"{key} {found[key]} against {said[key]}" for key in keys)


def _second_law(chain: list[Json]) -> Iterator[str]:
    rows = [sum(shard["rows"] for shard in manifest["shards"]) for manifest in chain] + [0]
    for here, manifest in enumerate(chain):
        if here + 1 == len(chain) and manifest["parent"]:
            continue  # the chain broke before its start, which is reported
        expected = rows[here + 1] + manifest["counts"]["published"] - manifest["counts"]["withdrawn"]
        if rows[here] != expected:
            yield f"snapshot {manifest['seq']}: {rows[here]} rows, parent + published - withdrawn is {expected}"


def _rows(folder: Path) -> Iterator[Json]:
    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(8192, use_threads=False):
                yield from batch.to_pylist()


def _recount(dataset: Path, manifest: Json, head: Head, back: set[int], *, is_head: bool) -> Iterator[str]:
    """Count verdicts and quarantine of one run again and compare, by source; adds what it restored to `back`."""
    seq = manifest["seq"]
    run = dataset / "runs" / str(seq)
    published = {ord_ for ord_, _ in head.values() if ord_ >> ORD_BITS == seq}
    live = {ord_ for ord_, _ in head.values()}
    # Records that are read again are judged in the order in which they first came, which their new ords do not tell.
    in_order = all(entry.get("mode", "forward") == "forward" for entry in manifest.get("lineage", []))
    found: dict[str, Counter[str]] = {source: Counter() for source in manifest["sources"]}
    ended: set[int] = set()
    set_aside: list[set[int]] = [set(), set()]  # ords quarantined: by verdict, by quarantine row
    for row in _rows(run / "verdicts"):
        action, ord_, where = row["action"], row["ord"], f"snapshot {seq}: record {row['id']!r}"
        source = row["id"].split("/", 1)[0]
        if key := _counted_as(row):
            found.setdefault(source, Counter())[key] += 1
        if action in OUTCOMES:
            if ord_ in ended:
                yield f"{where} has two outcomes"
            if ord_ in published:
                yield f"{where} is published and has the verdict {action}"
            if ord_ >> ORD_BITS != seq:
                yield f"{where}: ord {ord_} is not of this run"
            ended.add(ord_)
        if action == "quarantine":
            set_aside[0].add(ord_)
        if action == "duplicate" and (row["dup_of"] in (None, ord_) or (in_order and row["dup_of"] > ord_)):
            yield f"{where} is a duplicate of {row['dup_of']}, which is not before {ord_}"
        if action == "restore":
            back.add(ord_)
        if action == "withdraw" and ord_ in live - back:
            yield f"{where} was withdrawn and is still in the head snapshot"
    for row in _rows(run / "quarantine"):
        found.setdefault(row["source"], Counter())[f"quarantined/{row['code']}"] += 1
        if row["ord"] is not None:
            set_aside[1].add(row["ord"])
        if row["ord"] in published:
            yield f"snapshot {seq}: record {row['id']!r} is published and quarantined"
    for ord_ in sorted(set_aside[0] ^ set_aside[1]):
        yield f"snapshot {seq}: ord {ord_} is quarantined by a verdict or by a quarantine row, not by both"
    for source, counter in found.items():
        said = {key: n for key, n in _flat(manifest["sources"].get(source, {})).items() if _is_written_down(key)}
        if +counter != +Counter(said):
            yield f"snapshot {seq}, source {source}: files against counts: {_difference(counter, Counter(said))}"
    mine = published | (back & live)  # of the head: no later snapshot restored anything
    if is_head and len(mine) != manifest["counts"]["published"]:
        yield f"snapshot {seq}: {len(mine)} rows carry its number or came back, it published {manifest['counts']['published']}"


def _counted_as(verdict: Json) -> str:
    """Give the count a verdict adds to; a quarantined record is counted by its quarantine row."""
    return {
        "drop": f"dropped/{verdict['step']}:{verdict['reason']}",
        "duplicate": f"duplicates/{verdict['step']}",
        "supersede": "superseded",
        "withdraw": "withdrawn",
    }.get(verdict["action"], "")


def _is_written_down(key: str) -> bool:
    return key in {"superseded", "withdrawn"} or key.startswith(("dropped/", "duplicates/", "quarantined/"))


def _report(dataset: Path, manifest: Json) -> Iterator[str]:
    """Compare a run's report with its manifest; a run killed after its commit has none."""
    path = dataset / "runs" / str(manifest["seq"]) / "report.json"
    if not path.is_file():
        return
    report = json.loads(path.read_bytes())
    if report["balanced"] is not True:
        yield f"{path}: a published run that is not balanced"
    if +_flat(report["counts"]) != +_flat(manifest["counts"]):
        yield f"{path}: {_difference(_flat(report['counts']), _flat(manifest['counts']))}"
    if report["snapshot"] != manifest["seq"]:
        yield f"{path}: is about snapshot {report['snapshot']}"


def _distributions(dataset: Path, manifest: Json) -> Iterator[str]:
    """Compare how many records a run's distributions count with its counts; a manifest of old names none."""
    for entry in manifest.get("summary", {}).get("distributions", []):
        path = dataset / entry["path"]
        yield from _file_problems(path, entry["sha256"], None)
        if entry["seq"] != manifest["seq"] or not path.is_file():
            continue
        found = json.loads(path.read_bytes())["sources"]
        for source, counts in manifest["sources"].items():
            told = found.get(source, {"read": {}, "published": {}})
            judged = _counted(told["read"], "reasons"), _counted(told["published"], "chars")
            if judged != (counts["read"] - counts["unchanged"], counts["published"]):
                yield f"{path}: source {source}: {judged[0]} outcomes, {judged[1]} published; the counts say {counts}"


def _counted(histograms: Json, name: str) -> int:
    one = histograms.get(name, {})
    return int(sum(one.get("counts", [])) + sum(one.get("values", {}).values()))


def _export(folder: Path, head: int, rows: Head) -> Iterator[str]:
    """Compare an export's chunks with the snapshot they were made from."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        yield f"{folder}: its manifest cannot be read: {error}"
        return
    if manifest["snapshot"] != head:
        yield f"{folder}: made from snapshot {manifest['snapshot']}, the head is {head}"
        return
    named = {chunk["name"] for chunk in manifest["chunks"]}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(CHUNK_SUFFIXES) and path.name not in named:
            yield f"{path}: a chunk that the manifest does not name"
    left = set(rows)
    last = -1
    for chunk in manifest["chunks"]:
        path = folder / chunk["name"]
        damage = _file_problems(path, chunk["sha256"], chunk.get("bytes"))
        yield from damage
        docs = 0
        for id_, text in _documents(path) if not damage else ():
            docs += 1
            if id_ not in left:
                yield f"{path}: id {id_!r} " + (
                    "stands twice in the export" if id_ in rows else "is not in the snapshot"
                )
                continue
            left.remove(id_)
            ord_, digest = rows[id_]
            if _digest(text) != digest:
                yield f"{path}: the text of {id_!r} differs from the table's"
            if ord_ < last:
                yield f"{path}: {id_!r} stands out of order"
            last = ord_
        if not damage and docs != chunk["docs"]:
            yield f"{path}: {docs} documents, the manifest says {chunk['docs']}"
    for id_ in sorted(left)[:20]:
        yield f"{folder}: id {id_!r} of the snapshot is in no chunk ({len(left)} missing)"


def _documents(path: Path) -> Iterator[tuple[str, str]]:
    """Give id and text of each document of a chunk, streaming."""
    if path.name.endswith(".parquet"):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(4096, columns=["id", "text"], use_threads=False):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        return
    openers: dict[str, Callable[[Path], Iterable[bytes]]] = {".zst": _zstd_lines}
    for line in openers.get(path.suffix, _lines)(path):
        record = json.loads(line)
        yield record["id"], record["text"]


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        yield from file


def _zstd_lines(path: Path) -> Iterator[bytes]:
    with pa.input_stream(str(path), compression="zstd") as stream:
        file: IO[bytes] = io.BufferedReader(stream)
        yield from file

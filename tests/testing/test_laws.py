"""The independent checker must accept a sound dataset and see each single kind of damage done to it."""

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.transaction import AddAction, RemoveAction

from gristmill.core.batch import TABLE_SCHEMA
from gristmill.testing.laws import assert_laws, check, head_manifest, head_rows, head_seq

VERDICT = pa.schema(
    [
        ("ord", pa.int64()),
        ("id", pa.string()),
        ("step", pa.string()),
        ("action", pa.string()),
        ("reason", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("dup_of", pa.int64()),
        ("spans", pa.string()),
    ]
)
QUARANTINE = pa.schema(
    [
        ("ord", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("origin", pa.string()),
        ("step", pa.string()),
        ("code", pa.string()),
        ("detail", pa.string()),
        ("bytes", pa.int64()),
    ]
)
DAMAGES = {}


def damage(expected):
    """Register a way to damage a sound dataset, with words that must stand in a problem found."""

    def register(function):
        DAMAGES[function.__name__] = (function, expected)
        return function

    return register


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def at(seq, row, task=0):
    return seq << 45 | task << 26 | row


def counts(**changes):
    empty = {"read": 0, "published": 0, "unchanged": 0, "superseded": 0, "withdrawn": 0}
    return {**empty, "dropped": {}, "duplicates": {}, "quarantined": {}, **changes}


def verdict(ord_, id_, step, action, reason=None, dup_of=None):
    return {"ord": ord_, "id": id_, "step": step, "action": action, "reason": reason, "dup_of": dup_of}


def reject(source, code, ord_=None, id_=None):
    return {"ord": ord_, "id": id_, "source": source, "origin": "x#1", "step": "read", "code": code, "bytes": 9}


class Tiny:
    """A dataset of two snapshots and one export, made by hand and easy to break.

    Snapshot 1 publishes a/1 a/2 b/1; drops a/3, knows a/4 as a duplicate, supersedes a/5, quarantines a line of b.
    Snapshot 3 (2 was refused) withdraws a/2, publishes a revision of it and a/6; a/1 is unchanged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / "corpus"
        self.out = root / "out"
        self.texts = {"a/1": "Das Mehl ist fein.", "a/2": "水車が回る。", "b/1": "Мельница у реки.", "a/6": "قمح"}
        DeltaTable.create(self.root / "table", schema=TABLE_SCHEMA)
        for kind in ("verdicts", "quarantine"):
            for seq in (1, 3):
                (self.root / "runs" / str(seq) / kind).mkdir(parents=True)
        self.first = {
            "format": 1,
            "seq": 1,
            "parent": 0,
            "counts": counts(
                read=7,
                published=3,
                superseded=1,
                dropped={"len:short": 1},
                duplicates={"exact": 1},
                quarantined={"json.syntax": 1},
            ),
            "sources": {
                "a": counts(read=5, published=2, superseded=1, dropped={"len:short": 1}, duplicates={"exact": 1}),
                "b": counts(read=2, published=1, quarantined={"json.syntax": 1}),
            },
        }
        self.second = {
            "format": 1,
            "seq": 3,
            "parent": 1,
            "counts": counts(read=3, published=2, unchanged=1, withdrawn=1),
            "sources": {"a": counts(read=3, published=2, unchanged=1, withdrawn=1), "b": counts()},
        }
        self.verdicts = {
            1: [
                verdict(at(1, 2), "a/3", "len", "drop", "short"),
                verdict(at(1, 3), "a/4", "exact", "duplicate", dup_of=at(1, 0)),
                verdict(at(1, 4), "a/5", "identity", "supersede"),
            ],
            3: [verdict(at(1, 1), "a/2", "identity", "withdraw")],
        }
        self.quarantine = {1: [reject("b", "json.syntax")], 3: []}
        self.rows1 = [("a/1", at(1, 0)), ("a/2", at(1, 1)), ("b/1", at(1, 0, 1))]
        self.rows3 = [("a/2", at(3, 1)), ("a/6", at(3, 2))]
        self.chunks = [["a/1", "b/1"], ["a/2", "a/6"]]
        self.suffix = ".jsonl.zst"
        self.digest_in_commit = True
        self.shared = {}

    def shard(self, name, rows):
        path = self.root / "table" / f"{name}.parquet"
        columns = {
            "id": [id_ for id_, _ in rows],
            "text": [self.texts.get(id_, "neu") for id_, _ in rows],
            "source": [id_.split("/")[0] for id_, _ in rows],
            "content_hash": [b"0" * 16] * len(rows),
            "ord": [ord_ for _, ord_ in rows],
            "seq": [ord_ >> 45 for _, ord_ in rows],
        }
        nothing = [None] * len(rows)
        table = pa.table({field.name: pa.array(columns.get(field.name, nothing), field.type) for field in TABLE_SCHEMA})
        pq.write_table(table, path, write_page_checksum=True)
        return {
            "path": f"table/{name}.parquet",
            "rows": len(rows),
            "bytes": path.stat().st_size,
            "sha256": sha(path),
            "first_ord": min(columns["ord"]),
            "last_ord": max(columns["ord"]),
        }

    def commit(self, manifest, parent_shards):
        seq = manifest["seq"]
        run = self.root / "runs" / str(seq)
        pq.write_table(pa.Table.from_pylist(self.verdicts[seq], VERDICT), run / "verdicts" / "t.parquet")
        pq.write_table(pa.Table.from_pylist(self.quarantine[seq], QUARANTINE), run / "quarantine" / "t.parquet")
        report = {"balanced": True, "snapshot": seq, "counts": manifest["counts"], **self.shared.get("report", {})}
        (run / "report.json").write_text(json.dumps(report))
        (run / "manifest.json").write_text(json.dumps(manifest))
        before = {shard["path"]: shard for shard in parent_shards}
        after = {shard["path"]: shard for shard in manifest["shards"]}
        table = DeltaTable(self.root / "table")
        adds = [AddAction(p[6:], s["bytes"], {}, 0, True, "{}") for p, s in after.items() if p not in before]
        removes = [RemoveAction(p[6:], True, 0, s["bytes"], {}) for p, s in before.items() if p not in after]
        digest = sha(run / "manifest.json") if self.digest_in_commit else ""
        table.create_write_transaction(
            [*removes, *adds],
            "append",
            table.schema(),
            commit_properties=CommitProperties(
                custom_metadata={"digest": digest}, app_transactions=[Transaction("gristmill", seq)]
            ),
        )

    def write(self):
        self.first["shards"] = [self.shard("one", self.rows1)]
        self.commit(self.first, [])
        rest = [row for row in self.rows1 if row[0] != "a/2"]
        self.second["shards"] = [self.shard("one-less", rest), self.shard("two", self.rows3)]
        self.commit(self.second, self.first["shards"])
        self.export()
        return self

    def export(self):
        self.out.mkdir()
        chunks = []
        for n, ids in enumerate(self.chunks):
            path = self.out / f"chunk_{n:05d}{self.suffix}"
            if self.suffix == ".parquet":
                pq.write_table(pa.table({"id": ids, "text": [self.texts[id_] for id_ in ids]}), path)
            else:
                lines = "".join(json.dumps({"id": id_, "text": self.texts[id_]}) + "\n" for id_ in ids).encode()
                pack = {".zst": zstd.compress, ".gz": gzip.compress}.get(path.suffix, bytes)
                path.write_bytes(pack(lines))
            chunks.append({"name": path.name, "docs": len(ids), "sha256": sha(path), "bytes": path.stat().st_size})
        (self.out / "manifest.json").write_text(json.dumps({"snapshot": 3, "chunks": chunks}))

    def problems(self):
        return check(self.root, [self.out])

    def edit(self, path, change):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


@pytest.fixture
def tiny(tmp_path):
    return Tiny(tmp_path)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_sound_dataset_passes(tiny, suffix):
    tiny.suffix = suffix
    tiny.write()
    assert tiny.problems() == []
    assert_laws(tiny.root, [tiny.out])


def test_readers(tiny):
    assert head_seq(tiny.root) is None
    tiny.write()
    assert head_seq(tiny.root) == 3
    assert head_manifest(tiny.root)["parent"] == 1
    assert head_rows(tiny.root)["id"].to_pylist() == ["a/1", "b/1", "a/2", "a/6"]


def test_nothing_committed_is_said(tmp_path):
    assert check(tmp_path) == [f"{tmp_path}: no committed snapshot"]
    DeltaTable.create(tmp_path / "table", schema=TABLE_SCHEMA)
    assert check(tmp_path) == [f"{tmp_path}: no committed snapshot"]
    with pytest.raises(AssertionError, match="no committed snapshot"):
        assert_laws(tmp_path)


# --- damages done before the dataset is written: the writer counted or chose wrongly ------------------------------


@damage("snapshot 1: read 8 records, 7 are accounted for")
def lost_record(tiny):
    tiny.first["counts"]["read"] += 1


@damage("snapshot 1, source a: read 6 records, 5 are accounted for")
def lost_record_of_a_source(tiny):
    tiny.first["sources"]["a"]["read"] += 1
    tiny.first["counts"]["read"] += 1


@damage("the sources' counts do not add up")
def sources_do_not_add_up(tiny):
    tiny.first["sources"]["a"] = counts(
        read=4, published=1, superseded=1, dropped={"len:short": 1}, duplicates={"exact": 1}
    )


@damage("4 rows, parent + published - withdrawn is 5")
def withdrawal_not_counted(tiny):
    for these in (tiny.second["counts"], tiny.second["sources"]["a"]):
        these["withdrawn"] = 0


@damage("snapshot 1: 3 rows, parent + published - withdrawn is 2")
def first_snapshot_gains_a_row(tiny):
    for these in (tiny.first["counts"], tiny.first["sources"]["b"]):
        these.update(read=these["read"] - 1, published=these["published"] - 1)


@damage("dropped/len:short 0 against 1")
def drop_not_written_down(tiny):
    del tiny.verdicts[1][0]


@damage("dropped/len:long 1 against 0")
def drop_for_another_reason(tiny):
    tiny.verdicts[1][0]["reason"] = "long"


@damage("duplicates/exact 0 against 1")
def duplicate_not_written_down(tiny):
    del tiny.verdicts[1][1]


@damage("superseded 0 against 1")
def supersede_not_written_down(tiny):
    del tiny.verdicts[1][2]


@damage("withdrawn 0 against 1")
def withdrawal_not_written_down(tiny):
    tiny.verdicts[3] = []


@damage("quarantined/json.syntax 0 against 1")
def quarantine_not_written_down(tiny):
    tiny.quarantine[1] = []


@damage("source a: files against counts: quarantined/json.syntax 1 against 0")
def quarantine_under_another_source(tiny):
    tiny.quarantine[1][0]["source"] = "a"


@damage("record 'a/1' is published and has the verdict drop")
def published_and_dropped(tiny):
    tiny.verdicts[1][0].update(ord=at(1, 0), id="a/1")


@damage("record 'b/1' is published and quarantined")
def published_and_quarantined(tiny):
    tiny.quarantine[1][0].update(ord=at(1, 0, 1), id="b/1")


@damage("not by both")
def quarantined_record_without_verdict(tiny):
    tiny.quarantine[1][0].update(ord=at(1, 5, 1), id="b/9")


@damage("not by both")
def quarantine_verdict_without_row(tiny):
    tiny.verdicts[1].append(verdict(at(1, 5), "a/9", "clean", "quarantine", "step.error"))


@damage("has two outcomes")
def two_outcomes(tiny):
    tiny.verdicts[1][2]["ord"] = tiny.verdicts[1][0]["ord"]


@damage("is not of this run")
def verdict_of_another_run(tiny):
    tiny.verdicts[1][0]["ord"] = at(2, 2)


@damage("which is not before")
def duplicate_of_a_later_record(tiny):
    tiny.verdicts[1][1]["dup_of"] = at(1, 9)


@damage("is a duplicate of None")
def duplicate_of_nothing(tiny):
    tiny.verdicts[1][1]["dup_of"] = None


@damage("was withdrawn and is still in the head")
def withdrawn_but_there(tiny):
    tiny.verdicts[3][0].update(ord=at(1, 0), id="a/1")


@damage("id 'a/1' stands twice")
def id_twice(tiny):
    tiny.rows3[1] = ("a/1", at(3, 2))


@damage(f"ord {at(3, 1)} stands twice")
def ord_twice(tiny):
    tiny.rows3[1] = ("a/6", at(3, 1))


@damage("and seq 4 do not agree")
def row_of_a_later_snapshot(tiny):
    tiny.rows3[1] = ("a/6", at(4, 2))


@damage("1 rows carry its number or came back, it published 2")
def row_carries_another_number(tiny):
    tiny.rows3[1] = ("a/6", at(2, 2))


@damage("parent 3 is not an earlier one")
def chain_bites_its_tail(tiny):
    tiny.second["parent"] = 3


@damage("says seq 3, format 2")
def unknown_format(tiny):
    tiny.second["format"] = 2


@damage("does not carry the sha256")
def commit_without_digest(tiny):
    tiny.digest_in_commit = False


@damage("that is not balanced")
def unbalanced_report(tiny):
    tiny.shared["report"] = {"balanced": False}


@damage("read 1 against 7")
def report_counts_differ(tiny):
    tiny.shared["report"] = {"counts": counts(read=1)}


@damage("is about snapshot 9")
def report_of_another(tiny):
    tiny.shared["report"] = {"snapshot": 9}


@damage("id 'b/1' of the snapshot is in no chunk (1 missing)")
def document_not_exported(tiny):
    tiny.chunks[0].remove("b/1")


@damage("id 'a/1' stands twice in the export")
def document_exported_twice(tiny):
    tiny.chunks[1].append("a/1")


@damage("id 'a/7' is not in the snapshot")
def unknown_document_exported(tiny):
    tiny.texts["a/7"] = "fremd"
    tiny.chunks[1].append("a/7")


@damage("'a/2' stands out of order")
def documents_out_of_order(tiny):
    tiny.chunks[1].reverse()


@pytest.mark.parametrize("name", list(DAMAGES))
def test_wrong_writer_is_seen(tiny, name):
    function, expected = DAMAGES[name]
    function(tiny)
    found = tiny.write().problems()
    assert any(expected in problem for problem in found), found


# --- damages done afterwards, to the files ------------------------------------------------------------------------


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def manifest(tiny, seq=3):
    return tiny.root / "runs" / str(seq) / "manifest.json"


AFTER = {
    "shard bit": (lambda t: flip(t.root / "table/two.parquet"), "two.parquet: sha256 differs"),
    "shard gone": (lambda t: (t.root / "table/two.parquet").unlink(), "two.parquet: No such file"),
    "rows": (lambda t: t.edit(manifest(t), lambda m: m["shards"][1].update(rows=3)), "2 rows, the manifest says 3"),
    "bytes": (lambda t: t.edit(manifest(t), lambda m: m["shards"][1].update(bytes=3)), "bytes, the manifest says 3"),
    "range": (
        lambda t: t.edit(manifest(t), lambda m: m["shards"][1].update(last_ord=at(3, 1))),
        "outside the shard's range",
    ),
    "not in manifest": (
        lambda t: t.edit(manifest(t), lambda m: m["shards"].pop()),
        "in the Delta table, not in the manifest",
    ),
    "not in table": (
        lambda t: t.edit(manifest(t), lambda m: m["shards"].append({**m["shards"][0], "path": "table/x"})),
        "in the manifest, not in the Delta table",
    ),
    "manifest gone": (lambda t: manifest(t, 1).unlink(), "snapshot 1: its manifest cannot be read"),
    "head manifest gone": (lambda t: manifest(t).unlink(), "snapshot 3: its manifest cannot be read"),
    "head manifest cut": (lambda t: manifest(t).write_text("{"), "snapshot 3: its manifest cannot be read"),
    "chunk bit": (lambda t: flip(t.out / "chunk_00001.jsonl.zst"), "chunk_00001.jsonl.zst: sha256 differs"),
    "chunk gone": (lambda t: (t.out / "chunk_00000.jsonl.zst").unlink(), "chunk_00000.jsonl.zst: No such file"),
    "chunk besides": (lambda t: (t.out / "chunk_00002.jsonl.gz").touch(), "a chunk that the manifest does not name"),
    "chunk docs": (
        lambda t: t.edit(t.out / "manifest.json", lambda m: m["chunks"][0].update(docs=5)),
        "2 documents, the manifest says 5",
    ),
    "old export": (
        lambda t: t.edit(t.out / "manifest.json", lambda m: m.update(snapshot=1)),
        "made from snapshot 1, the head is 3",
    ),
    "no export": (lambda t: (t.out / "manifest.json").unlink(), "its manifest cannot be read"),
}


@pytest.mark.parametrize("name", list(AFTER))
def test_damaged_file_is_seen(tiny, name):
    change, expected = AFTER[name]
    change(tiny.write())
    found = tiny.problems()
    assert any(expected in problem for problem in found), found
    with pytest.raises(AssertionError, match="broken promises"):
        assert_laws(tiny.root, [tiny.out])


def test_changed_text_in_an_export_is_seen(tiny):
    tiny.write()
    path = tiny.out / "chunk_00000.jsonl.zst"
    path.write_bytes(zstd.compress(zstd.decompress(path.read_bytes()).replace(b"fein", b"grob")))
    tiny.edit(
        tiny.out / "manifest.json",
        lambda m: m["chunks"][0].update(sha256=sha(path), bytes=path.stat().st_size),
    )
    assert tiny.problems() == [f"{path}: the text of 'a/1' differs from the table's"]


def test_foreign_columns_are_seen(tiny):
    tiny.write()
    path = tiny.root / "table/two.parquet"
    pq.write_table(pq.read_table(path).drop(["url"]), path)
    tiny.edit(manifest(tiny), lambda m: m["shards"][1].update(sha256=sha(path), bytes=path.stat().st_size))
    assert any("two.parquet: columns ['id'" in problem for problem in tiny.problems())


def test_leftovers_that_no_one_names_are_fine(tiny):
    """What a killed run leaves behind is garbage, not damage."""
    tiny.write()
    (tiny.root / "table/zombie-00000000.parquet").write_bytes(b"half")
    (tiny.root / "runs/4").mkdir()
    (tiny.root / "runs/4/manifest.json").write_text("{}")
    (tiny.root / "runs/3/report.json").unlink()
    assert tiny.problems() == []
    assert Counter(head_rows(tiny.root)["ord"].to_pylist()).most_common(1)[0][1] == 1

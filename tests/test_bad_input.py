"""Bad input through the whole pipeline: each gets a code and a place, the rest is read, nothing is unaccounted for."""

import faulthandler
import gzip
import os
import subprocess
import sys
import textwrap
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.examples import SOAK
from tests.properties.lab import Lab, flat, jsonl

from gristmill.core.errors import ConfigError, GristmillError, TooManyErrors
from gristmill.core.filesets import FileSet

GOOD = {"id": "good", "text": "a good record"}
MORE = {"id": "more", "text": "another good one"}
LINES = jsonl([{"id": f"g{i}", "text": f"record number {i}"} for i in range(2000)])
GZ = gzip.compress(LINES, mtime=0)
ZST = bytes(pa.compress(LINES, codec="zstd", asbytes=True))
DEEP = b'{"id": "b", "text": "t", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.fixture(autouse=True)
def _no_hang():
    """End a test that hangs, with the place where it does."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(name="lab")
def _lab(tmp_path):
    return Lab(tmp_path, config())


def config(steps=("clean.text", "dedup.exact"), run=None, **files):
    files = {"path": "in/*", "id": "id", "max_record_bytes": 300_000} | files
    return {
        "sources": [{"name": "s", "files": files}],
        "steps": list(steps),
        "exports": [{"name": "x", "jsonl": {"path": "./out", "docs_per_chunk": 1000}}],
        "run": run or {},
    }


def quarantined(lab, seq):
    return [(row["code"], row["origin"]) for row in lab.verdicts(seq, "quarantine")]


def texts(lab):
    return [row.text for row in lab.rows()]


BAD_LINES = {
    "invalid UTF-8": (b'{"id": "b", "text": "\xff\xfe"}', "text.encoding"),
    "half a character at the end": (b'{"id": "b", "text": "\xe2\x82', "text.encoding"),
    "NaN": (b'{"id": "b", "text": "t", "a": NaN}', "json.nan"),
    "lone surrogate": (rb'{"id": "b", "text": "\ud83d"}', "text.surrogate"),
    "lone surrogate in the id": (rb'{"id": "\udc00", "text": "t"}', "text.surrogate"),
    "deep nesting": (DEEP, "json.depth"),
    "deeper than can be written": (b'{"id": "b", "text": "t", "a": ' + b"[" * 300 + b"]" * 300 + b"}", "json.depth"),
    "an array": (b'["text"]', "json.not_object"),
    "a word": (b'"text"', "json.not_object"),
    "a number": (b"7", "json.not_object"),
    "two values on a line": (b'{"id": "b", "text": "t"}{"id": "c", "text": "u"}', "json.extra"),
    "a cut line": (b'{"id": "b", "text": "t', "json.syntax"),
    "NUL bytes for a line": (b"\0\0\0\0", "json.syntax"),
    "raw NUL in a string": (b'{"id": "b", "text": "a\0b"}', "json.syntax"),
    "no text": (b'{"id": "b", "body": "t"}', "field.missing"),
    "null text": (b'{"id": "b", "text": null}', "field.missing"),
    "text of a wrong type": (b'{"id": "b", "text": ["t"]}', "field.type"),
    "no id": (b'{"text": "t"}', "id.missing"),
    "id of a wrong type": (b'{"id": {"a": 1}, "text": "t"}', "id.invalid"),
    "a line over the cap": (b'{"id": "b", "text": "' + b"x" * 400_000 + b'"}', "size.cap"),
}


@pytest.mark.parametrize(("line", "code"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_costs_itself_alone(lab, line, code):
    first = jsonl([GOOD])
    lab.put("in/1.jsonl", first + line + b"\n" + jsonl([MORE]))
    report = lab.run()
    assert flat(report.counts) == {"read": 3, "published": 2, f"quarantined/{code}": 1}
    assert quarantined(lab, 1) == [(code, f"1.jsonl#{len(first)}")]
    assert report.errors[0]["code"] == code
    assert report.bytes_read == len(first) + len(line) + 1 + len(jsonl([MORE]))
    assert texts(lab) == [GOOD["text"], MORE["text"]]
    assert lab.broken() == []
    assert lab.run().status == "nothing_new"


def test_all_bad_lines_in_one_file_are_told_apart(lab):
    data, places = b"", []
    for line, code in BAD_LINES.values():
        places.append((code, f"1.jsonl#{len(data)}"))
        data += line + b"\n"
    lab.put("in/1.jsonl", data + jsonl([GOOD]))
    report = lab.run()
    assert quarantined(lab, 1) == places
    assert report.counts.published == 1
    assert report.bytes_read == len(data) + len(jsonl([GOOD]))
    assert lab.broken() == []


def test_what_is_odd_but_right_is_read_and_counted(lab):
    nul = b'{"id": "nul", "text": "a\\u0000b"}\n'
    lab.put(
        "in/1.jsonl",
        b"\xef\xbb\xbf" + jsonl([GOOD]) + b"\r\n\n" + nul + b'{"id": "cr", "text": "t"}\r\n{"id": 5, "text": "last"}',
    )
    lab.put("in/2.jsonl", b"")
    lab.put("in/3.jsonl.gz", LINES)
    report = lab.run()
    assert texts(lab)[:4] == [GOOD["text"], "ab", "t", "last"]
    assert report.warnings == {"text.nul": 1, "file.empty": 1, "file.extension": 1}
    assert report.counts.read == report.counts.published == 2004
    assert lab.broken() == []


BAD_FILES = {
    "gzip cut short": ("b.jsonl.gz", GZ[:-9], "file.truncated"),
    "gzip cut in the middle": ("b.jsonl.gz", GZ[: len(GZ) // 2], "file.truncated"),
    "zstd cut short": ("b.jsonl.zst", ZST[:-3], "file.truncated"),
    "zstd cut in the middle": ("b.jsonl.zst", ZST[: len(ZST) // 2], "file.truncated"),
    "garbage after gzip": ("b.jsonl.gz", GZ + b"trailing garbage", "file.trailing"),
    "garbage after zstd": ("b.jsonl.zst", ZST + b"trailing garbage", "file.trailing"),
    "garbage in gzip": ("b.jsonl.gz", GZ[:200] + bytes(50) + GZ[250:], "file.corrupt"),
    "JSON array cut short": ("b.json", b'[{"id": "b", "text": "t"}, {"id"', "file.truncated"),
    "no Parquet at all": ("b.parquet", b"PAR1" + bytes(100) + b"PAR1", "file.corrupt"),
    "UTF-16": ("b.jsonl", jsonl([GOOD]).decode().encode("utf-16"), "text.encoding"),
}


@pytest.mark.parametrize(("name", "data", "code"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_set_aside_whole_and_its_neighbours_are_read(lab, name, data, code):
    lab.put("in/a.jsonl", jsonl([GOOD]))
    lab.put(f"in/{name}", data)
    lab.put("in/c.jsonl", jsonl([MORE]))
    report = lab.run()
    assert flat(report.counts) == {"read": 3, "published": 2, f"quarantined/{code}": 1}
    assert quarantined(lab, 1) == [(code, name)]
    assert texts(lab) == [GOOD["text"], MORE["text"]]
    assert lab.broken() == []
    assert lab.run().status == "nothing_new"


def test_a_cut_file_that_is_sent_again_whole_is_read(lab):
    lab.put("in/b.jsonl.gz", GZ[:-9])
    lab.run()
    lab.put("in/b.jsonl.gz", GZ)
    assert flat(lab.run().counts) == {"read": 2000, "published": 2000}
    assert lab.broken() == []


def test_what_stands_before_a_cut_is_kept_on_request_and_the_whole_file_adds_the_rest(tmp_path):
    lab = Lab(tmp_path, config(incomplete="keep"))
    lab.put("in/a.jsonl.gz", GZ[: len(GZ) // 2])
    kept = flat(lab.run().counts)["published"]
    assert 500 < kept < 2000
    assert [code for code, _ in quarantined(lab, 1)] == ["file.truncated"]
    assert lab.broken() == []
    lab.put("in/a.jsonl.gz", GZ)
    assert flat(lab.run().counts) == {"read": 2000, "unchanged": kept, "published": 2000 - kept}
    assert texts(lab) == [f"record number {i}" for i in range(2000)]
    assert lab.broken() == []


def test_a_file_that_was_fine_keeps_its_records_while_it_is_cut(lab):
    lab.put("in/b.jsonl.gz", GZ)
    lab.run()
    before = lab.rows()
    lab.put("in/b.jsonl.gz", gzip.compress(LINES + jsonl([GOOD]), mtime=0)[:-9])
    report = lab.run()
    assert flat(report.counts) == {"read": 1, "quarantined/file.truncated": 1}
    assert lab.rows() == before
    assert lab.broken() == []
    lab.put("in/b.jsonl.gz", gzip.compress(LINES[LINES.index(b"\n") + 1 :] + jsonl([GOOD]), mtime=0))
    report = lab.run()
    assert flat(report.counts) == {"read": 2000, "unchanged": 1999, "published": 1, "withdrawn": 1}
    assert lab.broken() == []
    lab.take("in/b.jsonl.gz")
    lab.put("in/a.jsonl", jsonl([MORE]))
    assert lab.run().counts.withdrawn == 2000
    assert texts(lab) == [MORE["text"]]


def test_many_rejects_before_the_cut_leave_no_trace(lab):
    """Side files of an attempt that failed are open and half written when the next attempt begins."""
    lab.put("in/b.jsonl.gz", gzip.compress(b"[]\n" * 150_000, mtime=0)[:-9])
    lab.put("in/c.jsonl", b"[]\n" * 70_000)
    report = lab.run(accept_gate=["s.max_quarantined_ratio"], why="all of it is bad on purpose")
    assert flat(report.counts) == {
        "read": 70_001,
        "quarantined/file.truncated": 1,
        "quarantined/json.not_object": 70_000,
    }
    assert lab.broken() == []


def test_a_page_of_a_parquet_file_that_is_damaged_spoils_the_file_in_all_its_parts(lab):
    lab.configure(config(split_bytes=4000))
    ids = [str(i) for i in range(400)]
    path = lab.folder / "made.parquet"
    table = pa.table({"id": ids, "text": [f"the text of record {i} and more" for i in ids]})
    pq.write_table(table, path, row_group_size=50, compression="none", use_dictionary=False, write_page_checksum=True)
    whole = path.read_bytes()
    at = whole.index(b"the text of record 317 ")  # not the least of its page, which stands in the header too
    lab.put("in/b.parquet", whole)
    assert len(lab.pipeline().plan()[0].found["s"].splits) > 2
    assert lab.run().counts.published == 400
    lab.put("in/b.parquet", whole[:at] + b"THE" + whole[at + 3 :])
    report = lab.run()
    assert flat(report.counts) == {"read": 1, "quarantined/file.corrupt": 1}
    assert quarantined(lab, report.run) == [("file.corrupt", "b.parquet")]
    assert len(lab.rows()) == 400
    assert lab.broken() == []
    lab.put("in/b.parquet", whole)
    assert flat(lab.run().counts) == {"read": 400, "unchanged": 400}


def put_odd(lab, kind):
    """Put something in place of a file that nobody can read."""
    odd = lab.folder / "in" / "odd.jsonl"
    {"dangling symlink": lambda: odd.symlink_to("nowhere"), "pipe": lambda: os.mkfifo(odd), "folder": odd.mkdir}[kind]()
    return odd


@pytest.mark.parametrize("kind", ["dangling symlink", "pipe", "folder"])
def test_what_cannot_be_read_is_set_aside_and_the_rest_is_read(lab, kind):
    lab.configure(config(path="in/*.jsonl"))
    lab.put("in/a.jsonl", jsonl([GOOD]))
    put_odd(lab, kind)
    report = lab.run()
    assert flat(report.counts) == {"read": 2, "published": 1, "quarantined/file.unreadable": 1}
    assert quarantined(lab, 1) == [("file.unreadable", "odd.jsonl")]
    assert [entry["code"] for entry in report.errors] == ["file.unreadable"]
    assert lab.broken() == []


def test_a_file_that_becomes_unreadable_keeps_its_records(lab):
    lab.configure(config(path="in/*.jsonl"))
    lab.put("in/odd.jsonl", jsonl([GOOD]))
    lab.run()
    lab.take("in/odd.jsonl")
    put_odd(lab, "dangling symlink")
    lab.put("in/a.jsonl", jsonl([MORE]))
    report = lab.run()
    assert flat(report.counts) == {"read": 2, "published": 1, "quarantined/file.unreadable": 1}
    assert texts(lab) == [GOOD["text"], MORE["text"]]
    lab.take("in/odd.jsonl")
    lab.put("in/odd.jsonl", jsonl([GOOD]))
    assert flat(lab.run().counts) == {"read": 1, "unchanged": 1}
    assert lab.broken() == []


def test_what_still_cannot_be_read_makes_no_new_snapshot(lab):
    """And under max_quarantined_ratio every such run would be refused: one of one records read is quarantined."""
    lab.configure(config(path="in/*.jsonl"))
    lab.put("in/a.jsonl", jsonl([GOOD]))
    put_odd(lab, "dangling symlink")
    lab.run()
    report = lab.run()
    assert report.status == "nothing_new"
    assert [error["code"] for error in report.errors] == ["file.unreadable"]


MEDDLE = """
from pathlib import Path
def meddle(record):
    here = Path(__file__).parent
    if record["text"] == "now" and not (here / "done").exists():
        (here / "done").touch()
        with (here / "in" / "{name}").open("ab") as file:
            file.write(b'{{"id": "late", "text": "written while read"}}\\n')
    return record
"""


@pytest.mark.parametrize("split_bytes", [None, 60])
def test_a_file_that_changes_while_it_is_read_is_read_whole_by_the_next_run(lab, split_bytes):
    (lab.folder / "mine.py").write_text(MEDDLE.format(name="b.jsonl"))
    lab.configure(
        config(
            steps=[{"custom": {"call": "./mine.py:meddle"}}, "dedup.exact"],
            run={"batch_bytes": 1},
            split_bytes=split_bytes,
        )
    )
    lab.put("in/a.jsonl", jsonl([GOOD]))
    lab.put("in/b.jsonl", jsonl([{"id": str(i), "text": "now" if i == 3 else f"text {i}"} for i in range(12)]))
    lab.put("in/c.jsonl", jsonl([MORE]))
    report = lab.run()
    assert flat(report.counts) == {"read": 3, "published": 2, "quarantined/file.changed": 1}
    assert quarantined(lab, 1) == [("file.changed", "b.jsonl")]
    assert lab.broken() == []
    assert flat(lab.run().counts) == {"read": 13, "published": 13}
    assert lab.broken() == []
    assert lab.run().status == "nothing_new"


def test_a_file_that_was_fine_and_changes_while_it_is_read_keeps_its_records(lab):
    (lab.folder / "mine.py").write_text(MEDDLE.format(name="b.jsonl"))
    lab.configure(config(steps=[{"custom": {"call": "./mine.py:meddle"}}, "dedup.exact"], run={"batch_bytes": 1}))
    lab.put("in/b.jsonl", jsonl([GOOD, MORE]))
    lab.run()
    lab.put("in/b.jsonl", jsonl([GOOD, {"id": "n", "text": "now"}]))
    assert flat(lab.run().counts) == {"read": 1, "quarantined/file.changed": 1}
    assert texts(lab) == [GOOD["text"], MORE["text"]]
    assert flat(lab.run().counts) == {"read": 3, "unchanged": 1, "published": 2, "withdrawn": 1}
    assert lab.broken() == []


STEPS = """
def one(record):
    if record["text"] == "poison":
        raise ValueError("SECRET of the text")
    return record
def some(records):
    return [one(record) for record in records]
def batch(rows):
    if "poison" in rows.column("text").to_pylist():
        raise KeyError("SECRET of the text")
    return rows
def many(record):
    raise RuntimeError("SECRET")
def leaves(record):
    if record["text"] == "poison":
        raise SystemExit("SECRET of the text")
    return record
def interrupts(records):
    if any(record["text"] == "poison" for record in records):
        raise KeyboardInterrupt("SECRET of the text")
    return records
def closes(rows):
    if "poison" in rows.column("text").to_pylist():
        raise GeneratorExit("SECRET of the text")
    return rows
"""


@pytest.mark.parametrize(
    ("function", "mode", "kind"),
    [
        ("one", "record", "ValueError"),
        ("some", "list", "ValueError"),
        ("batch", "batch", "KeyError"),
        ("leaves", "record", "SystemExit"),
        ("interrupts", "list", "KeyboardInterrupt"),
        ("closes", "batch", "GeneratorExit"),
    ],
)
def test_a_step_that_raises_on_one_record_costs_that_record(lab, function, mode, kind):
    (lab.folder / "mine.py").write_text(STEPS)
    lab.configure(config(steps=[{"custom": {"call": f"./mine.py:{function}", "mode": mode}}], run={"retries": 1}))
    rows = [{"id": str(i), "text": f"text {i}"} for i in range(150)] + [{"id": "bad", "text": "poison"}, GOOD]
    lab.put("in/a.jsonl", jsonl(rows))
    report = lab.run()
    assert flat(report.counts) == {"read": 152, "published": 151, "quarantined/step.error": 1}
    (row,) = lab.verdicts(1, "quarantine")
    assert (row["id"], row["step"], row["code"]) == ("s/bad", "custom", "step.error")
    assert kind in row["detail"]
    assert "SECRET" not in str(row)
    assert lab.broken() == []


def test_a_step_that_raises_on_too_many_records_stops_the_run_and_publishes_nothing(lab):
    (lab.folder / "mine.py").write_text(STEPS)
    lab.configure(config(steps=[{"custom": {"call": "./mine.py:many"}}]))
    lab.put("in/a.jsonl", jsonl([GOOD, MORE]))
    with pytest.raises(TooManyErrors, match="2 of 2") as caught:
        lab.run()
    assert caught.value.exit_code == 1
    assert lab.open().report(1)["status"] == "failed"
    assert lab.open().seqs() == []
    assert "SECRET" not in (lab.dataset / "runs" / "1" / "report.json").read_text()
    lab.configure(config(steps=[{"custom": {"call": "./mine.py:one"}}]))
    assert lab.run().counts.published == 2
    assert lab.broken() == []


@pytest.mark.parametrize("call", ["./mine.py:gone", "./nowhere.py:one", "no.such.module:one", "./broken.py:one"])
def test_a_function_that_is_missing_stops_before_anything_is_written(lab, call):
    (lab.folder / "mine.py").write_text(STEPS)
    (lab.folder / "broken.py").write_text("def one(:\n")
    lab.configure(config(steps=[{"custom": {"call": call}}]))
    lab.put("in/a.jsonl", jsonl([GOOD]))
    with pytest.raises(ConfigError) as caught:
        lab.run()
    assert caught.value.exit_code == 2
    assert call.rpartition(":")[0].strip("./").split(".")[0] in str(caught.value)
    assert not (lab.dataset / "runs").exists()


def test_a_source_without_a_file_is_a_clear_stop(lab):
    with pytest.raises(GristmillError, match="no file matches"):
        lab.run()


def test_all_files_gone_is_a_clear_stop_and_keeps_the_records(lab):
    lab.put("in/a.jsonl", jsonl([GOOD]))
    lab.run()
    lab.take("in/a.jsonl")
    with pytest.raises(GristmillError, match="allow_empty"):
        lab.run()
    assert texts(lab) == [GOOD["text"]]


def test_only_bad_input_publishes_an_empty_snapshot_that_opens(lab):
    lab.put("in/a.jsonl", b"7\n")
    report = lab.run()
    assert flat(report.counts) == {"read": 1, "quarantined/json.not_object": 1}
    assert lab.rows() == []
    assert lab.broken() == []


LINE = """
from pathlib import Path
from tests.properties.lab import Lab, flat, jsonl
lab = Lab(Path({folder!r}), {{"sources": [{{"name": "s", "files": {{"path": "in/*", "id": "id"}}}}], "steps": ["dedup.exact"]}})
lab.put("in/a.jsonl", jsonl([{{"id": "a", "text": "before"}}]))
with (lab.folder / "in" / "a.jsonl").open("ab") as file:
    file.write(b'{{"id": "b", "text": "')
    for _ in range({mib}):
        file.write(b"x" * (1 << 20))
    file.write(b'"}}\\n' + jsonl([{{"id": "c", "text": "after"}}]))
report = lab.run()
assert flat(report.counts) == {{"read": 3, "published": 2, "quarantined/size.cap": 1}}, report.counts
assert report.bytes_read == (lab.folder / "in" / "a.jsonl").stat().st_size
assert lab.broken() == []
# Not getrusage: its peak includes that of the process this one was forked from.
print(next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("mib", [200, *([1024] if SOAK else [])])
def test_an_endless_line_is_passed_over_in_little_memory(tmp_path, mib):
    script = textwrap.dedent(LINE).format(folder=str(tmp_path), mib=mib)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    (tmp_path / "in" / "a.jsonl").unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 700


EMPTY = """
import io, sys, tarfile
from pathlib import Path
from tests.properties.lab import Lab
def peak():
    return next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
lab = Lab(Path({folder!r}), {{"sources": [{{"name": "s", "files": {{"path": "in/*"}}}}], "steps": ["dedup.exact"], "run": {{"workers": 1}}}})
for n in (50, {members}):
    before = peak()
    with tarfile.open(fileobj=(made := io.BytesIO()), mode="w:gz", compresslevel=1) as archive:
        for i in range(n):
            archive.addfile(tarfile.TarInfo(f"{{i}}.jsonl"))
    lab.put(f"in/{{n}}.tar.gz", made.getvalue())
    report = lab.run()
    assert report.warnings == {{"file.empty": n}}, report.warnings
print(peak() - before)
"""


@pytest.mark.parametrize("members", [6_000, *([100_000] if SOAK else [])])
def test_an_archive_of_members_without_a_record_takes_little_memory(tmp_path, members):
    """Each held 6 KB until the archive was at its end, and an archive may have a million."""
    script = textwrap.dedent(EMPTY).format(folder=str(tmp_path), members=members)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 20


@pytest.fixture(name="opened")
def _opened(monkeypatch):
    """Give how often each file is opened to be read."""
    seen, opened = Counter(), FileSet.opened

    def counted(self, piece):
        seen[piece.unit] += 1
        return opened(self, piece)

    monkeypatch.setattr(FileSet, "opened", counted)
    return seen


def test_a_hundred_cut_files_among_good_ones_are_set_aside_and_each_file_is_read_once(lab, opened):
    """The good ones were read again for each bad one, and all that was held of a failed reading was kept."""
    lab.configure(config(path="in/*"))
    for i in range(100):
        lab.put(f"in/{i:03d}-bad.jsonl.gz", GZ[:-9])
        lab.put(f"in/{i:03d}-good.jsonl", jsonl([{"id": str(i), "text": f"text {i}"}]))
    report = lab.run()
    assert flat(report.counts) == {"read": 200, "published": 100, "quarantined/file.truncated": 100}
    assert quarantined(lab, 1) == [("file.truncated", f"{i:03d}-bad.jsonl.gz") for i in range(100)]
    assert set(opened.values()) == {1}
    assert lab.broken() == []


def test_of_a_bad_file_that_is_larger_than_a_batch_nothing_is_published_and_its_neighbours_are(lab, opened):
    """Some of it was on its way when it failed, so the files of its task are read again without it."""
    lab.configure(config(path="in/*", run={"batch_bytes": 4096}))
    for name in ("a", "e"):
        lab.put(f"in/{name}.jsonl", jsonl([{"id": name, "text": f"text {name}"}]))
    lab.put("in/b.jsonl.gz", GZ[: len(GZ) // 20])
    lab.put("in/c.jsonl.gz", GZ[:-9])
    lab.put("in/d.jsonl.gz", gzip.compress(LINES[:200])[:-9])
    report = lab.run()
    assert flat(report.counts) == {"read": 5, "published": 2, "quarantined/file.truncated": 3}
    assert [origin for _, origin in quarantined(lab, 1)] == ["b.jsonl.gz", "c.jsonl.gz", "d.jsonl.gz"]
    assert (opened["a.jsonl"], max(opened.values())) == (2, 2)  # once more without the bad ones, though there are three
    assert lab.broken() == []
    other = Lab(lab.folder.parent / "other", config(path="in/*"))
    for path in sorted((lab.folder / "in").iterdir()):
        other.put(f"in/{path.name}", path.read_bytes())
    other.run()
    assert other.verdicts(1, "quarantine") == lab.verdicts(1, "quarantine")

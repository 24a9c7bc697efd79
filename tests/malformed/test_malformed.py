"""Malformed files: real ones as the table says, made ones as must hold of any, bombs under a limit of memory."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.malformed import limits, table
from tests.malformed.__main__ import apart
from tests.malformed.cases import Case, make
from tests.malformed.properties import broken
from tests.properties.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
CAP_MB = 400


@pytest.fixture(name="malformed", scope="module")
def _malformed(shared):
    return shared / "malformed"


@pytest.fixture(name="told", scope="module")
def _told(malformed):
    """Read all of it in a process of its own, in which a warning is an error and a crash is seen."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.malformed.table", str(malformed)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_every_file_becomes_what_the_table_says(told):
    expected = {name: line for name, (line, _) in table.expected().items()}
    found = {name: line.rstrip("\n").rpartition("\t")[0] for name, line in told["files"].items()}
    assert len(expected) > 380
    assert found == expected
    assert told["peak_mb"] < CAP_MB


def test_every_line_of_the_table_is_judged_and_says_one_thing():
    for name, (line, reason) in table.expected().items():
        _, rows, failed, rejects, warned = line.split("\t")
        assert len(reason) > 10, name
        assert not (failed and (int(rows) or rejects)), name
        assert int(rows) or failed or rejects or warned or "nothing" in reason or "no rows" in reason or rows == "0", (
            name
        )


def test_the_table_agrees_with_what_others_say_of_the_files(malformed):
    """JSON by the suite's own names and the standard library, CSV by its answers, Parquet by the footer."""
    expected = {name: line.split("\t") for name, (line, _) in table.expected().items()}
    seen = dict.fromkeys(("y_", "n_", "csv", "parquet"), 0)
    for name, data in table.files_of(malformed):
        _, rows, failed, rejects, _ = expected[name]
        base = name.rpartition("/")[2]
        codes = {failed, *(word.partition("=")[0] for word in rejects.split())} - {"", "json.not_object"}
        if name.startswith("json_test_suite") and base[:2] in seen:
            seen[base[:2]] += 1
            fine = {"n_single_space.json", "n_structure_no_data.json", "n_structure_object_with_trailing_garbage.json"}
            assert bool(codes) == (base[:2] == "n_" and base not in fine), name
            if base[:2] == "y_":
                assert int(rows) == isinstance(json.loads(data), dict), name
        elif name.startswith("csv_spectrum") and name.endswith(".csv"):
            seen["csv"] += 1
            assert int(rows) == len(list(csv.DictReader(io.StringIO(data.decode(), newline="")))), name
        elif name.startswith("parquet_testing") and not failed:
            seen["parquet"] += 1
            assert int(rows) == pq.ParquetFile(io.BytesIO(data)).metadata.num_rows, name
    assert min(seen.values()) >= 6, seen


SAMPLE = {
    "cut.json": (b'[{"text": "a"}, {"te', "0\tfile.truncated\t\t"),
    "lines.jsonl": (b'{"text": "a"}\n{"text": NaN}\nno\n\n[1]\n', "1\t\tjson.nan=1 json.not_object=1 json.syntax=1\t"),
    "twice.jsonl": (b'{"text": "a", "text": "b"}\n', "1\t\t\tjson.duplicate_key=1"),
    "open.csv": (b'text,n\n"a,1\n', "0\tfile.truncated\t\t"),
    "none.parquet": (b"PAR1" + bytes(40) + b"PAR1", "0\tfile.corrupt\t\t"),
    "cut.zip": (b"PK\3\4" + bytes(60), "0\tfile.truncated\t\t"),
    "cut.tar": (bytes(512) + b"a", "0\tfile.trailing\t\t"),
    "plain.gz": (b'{"text": "a"}\n', "1\t\t\tfile.extension=1"),
    "bad.zst": (b"\x28\xb5\x2f\xfd" + bytes(30), "0\tfile.truncated\t\t"),
    "binary.txt": (b"\x7fELF" + bytes(9), "0\t\ttype.mismatch=1\t"),
    "utf16.jsonl": ('{"text": "a"}\n'.encode("utf-16"), "0\ttext.encoding\t\t"),
    "empty.jsonl": (b"", "0\t\t\tfile.empty=1"),
}


def test_a_sample_of_our_own_becomes_what_is_written_here(tmp_path):
    for name, (data, _) in SAMPLE.items():
        (tmp_path / name).write_bytes(data)
    found = {name: table.line_of(name, told, "") for name, told in table.outcomes(tmp_path).items()}
    assert found == {name: f"{name}\t{line}\t" for name, (_, line) in SAMPLE.items()}


def test_made_files_are_accounted_for_and_nothing_crashes_or_hangs():
    """A slice by seed; `python -m tests.malformed 20000` runs many more."""
    first = int(os.environ.get("GRISTMILL_SEED", "1"))
    done = apart(first, 70)
    assert done["broken"] == []
    assert done["peak_mb"] < CAP_MB
    assert len(done["kinds"]) > 8


def test_the_same_seed_gives_the_same_file():
    assert [make(seed) for seed in range(40)] == [make(seed) for seed in range(40)]


def test_what_does_not_hold_is_seen():
    """Each property can fail: a case whose truth is wrong breaks it."""
    case = next(made for made in map(make, range(100)) if made.is_whole and len(made.texts) > 1 and made.inside >= 0)
    assert broken(case) == []
    assert "it is whole" in broken(case._replace(texts=case.texts[1:]))[0]
    assert "bytes are accounted for" in broken(case._replace(inside=case.inside + 1))[0]
    checked = case._replace(is_whole=False, is_checked=True, texts=case.texts[1:], inside=-1)
    assert "past its checksums" in broken(checked)[0]
    silent = Case(0, "json a.json none", "a.json", b"[]", {}, ["t"], False, False, -1)
    assert broken(silent) == ["nothing is said of it at all"] * 2


def test_a_folder_of_malformed_files_balances_by_both_laws(tmp_path):
    """The whole pipeline over fifty of them: each listed file is read or quarantined, and the next run finds nothing new."""
    files = {"path": "in/**/*", "max_record_bytes": 1 << 20, "encoding": "auto"}
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": files}], "steps": ["dedup.exact"]})
    cases = [make(seed) for seed in range(5000, 5050)]
    for case in cases:
        lab.put(f"in/{case.seed}/{case.name}", case.data)
    report = lab.run()
    assert lab.broken() == []
    units = {f"{case.seed}/{case.name}" for case in cases}
    spoken = {row["origin"].partition("#")[0].partition("!/")[0] for row in lab.verdicts(1, "quarantine")}
    assert spoken <= units
    assert (
        report.counts.quarantined.total() if hasattr(report.counts.quarantined, "total") else report.counts.quarantined
    )
    assert lab.run().status == "nothing_new"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on private memory is Linux's")
def test_bombs_and_a_line_without_end_are_stopped_under_400_mb(tmp_path):
    """In one process; `python -m tests.malformed.limits` does a gigabyte in every codec, and all of it with the caps lifted."""
    for name, data in limits.bombs(64):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "line.jsonl").write_bytes(limits.LINE + b'{"text": "' + b"x" * (200 << 20) + b'"}\n' + limits.LINE)
    told = limits.attempt(tmp_path, {})
    assert told["failed"] == ["size.cap"] * 6, told
    assert (told["rows"], told["rejects"]) == (2, {"size.cap": 1})
    assert told["peak_mb"] < CAP_MB

"""What is planned: new, changed, gone, unreadable; and that reading holds to the plan."""

import glob
import gzip
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.sources.conftest import read_everything, read_split

from gristmill.core.errors import ConfigError, SourceError, UnitFailed
from gristmill.core.places import names
from gristmill.core.source import UNIT_FIELDS, PlanContext, ReadContext, State
from gristmill.sources.files import Files

SOURCE = Files(path="**/*.jsonl")
LINE = b'{"text": "t"}\n'


def committed(plan, **columns):
    """Give the unit table the engine would commit after this plan."""
    n = plan.listing.num_rows
    table = plan.listing
    for field in UNIT_FIELDS:
        values = columns.get(field.name, [None] * n)
        table = table.append_column(field, pa.array(values, field.type))
    return table


def put(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        (folder / f"{name}.jsonl").write_bytes(data)


def test_first_plan_takes_all_and_second_takes_nothing(tmp_path):
    put(tmp_path, b=LINE, a=LINE * 2)
    first = SOURCE.plan(None, PlanContext(tmp_path))
    assert first.listing["unit"].to_pylist() == ["a.jsonl", "b.jsonl"]
    assert [split.units for split in first.splits] == [["a.jsonl", "b.jsonl"]]
    assert first.splits[0].fresh
    assert first.splits[0].bytes == 3 * len(LINE)
    assert orjson.loads(orjson.dumps(first.splits[0].spec)) == first.splits[0].spec
    second = SOURCE.plan(State({}, committed(first)), PlanContext(tmp_path))
    assert (second.splits, second.replaced, second.gone) == ([], [], [])
    assert second.listing == first.listing


def test_new_changed_touched_and_gone_are_told_apart(tmp_path):
    put(tmp_path, same=LINE, touched=LINE, edited=LINE, gone=LINE, bad=b"x", worse=b"x")
    state = committed(SOURCE.plan(None, PlanContext(tmp_path)), status=["bad", "ok", "ok", "ok", "ok", "bad"])
    (tmp_path / "gone.jsonl").unlink()
    put(tmp_path, edited=LINE.upper(), new=LINE, worse=b"xy")
    os.utime(tmp_path / "touched.jsonl", ns=(1, 1))
    plan = SOURCE.plan(State({}, state), PlanContext(tmp_path))
    assert plan.gone == ["gone.jsonl"]
    assert plan.replaced == ["edited.jsonl", "touched.jsonl", "worse.jsonl"]
    assert [unit for split in plan.splits for unit in split.units] == sorted([*plan.replaced, "new.jsonl"])
    assert not plan.splits[0].fresh


def test_edit_that_keeps_size_and_time_is_seen(tmp_path):
    put(tmp_path, a=LINE * 10_000)
    path = tmp_path / "a.jsonl"
    state = committed(SOURCE.plan(None, PlanContext(tmp_path)))
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert SOURCE.plan(State({}, state), PlanContext(tmp_path)).replaced == ["a.jsonl"]


def test_file_that_cannot_be_opened_is_neither_gone_nor_listed(tmp_path):
    put(tmp_path, a=LINE, b=LINE)
    state = committed(SOURCE.plan(None, PlanContext(tmp_path)))
    (tmp_path / "a.jsonl").unlink()
    (tmp_path / "a.jsonl").symlink_to("nowhere")
    plan = SOURCE.plan(State({}, state), PlanContext(tmp_path))
    assert [(unit, code) for unit, code, _ in plan.failed] == [("a.jsonl", "file.unreadable")]
    assert (plan.gone, plan.replaced, plan.listing["unit"].to_pylist()) == ([], [], ["b.jsonl"])


def test_nothing_there_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(SourceError, match=r'no file matches "\*\*/\*\.jsonl"'):
        SOURCE.plan(None, PlanContext(tmp_path))
    put(tmp_path, a=LINE)
    state = committed(SOURCE.plan(None, PlanContext(tmp_path)))
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(SourceError, match=r"all 1 files .* are gone .*allow_empty: true"):
        SOURCE.plan(State({}, state), PlanContext(tmp_path))
    accepting = Files(path="**/*.jsonl", allow_empty=True)
    assert accepting.plan(State({}, state), PlanContext(tmp_path)).gone == ["a.jsonl"]
    assert accepting.plan(None, PlanContext(tmp_path)).splits == []
    (tmp_path / "data").mkdir()
    assert 'write "data/**/*"' in Files(path="data").check(tmp_path)[0]


def test_check_gives_sentences(tmp_path):
    put(tmp_path, a=LINE)
    assert SOURCE.check(tmp_path) == []
    assert Files(path=f"file://{tmp_path}/*.jsonl").check(tmp_path) == []
    [problem] = Files(path="s3://key:secret@bucket/a").check(tmp_path)
    assert "s3://" in problem
    assert "secret" not in problem
    with pytest.raises(ConfigError):
        Files(path="s3://key:secret@bucket/a").plan(None, PlanContext(tmp_path))
    (tmp_path / "b.jsonl").symlink_to("nowhere")
    assert "cannot be looked at" in SOURCE.check(tmp_path)[0]


@pytest.mark.parametrize(
    "config",
    [
        {"path": []},
        {"path": "a", "text": "{a"},
        {"path": "a", "id": "}"},
        {"path": "a", "no": 1},
        {"path": "a", "format": "text", "id": "b"},
    ],
)
def test_impossible_parameters_are_refused_when_read(config):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(config, Files)


def test_split_ids_follow_content_and_not_times(tmp_path):
    put(tmp_path, a=LINE, b=LINE)
    ids = [split.id for split in SOURCE.plan(None, PlanContext(tmp_path)).splits]
    os.utime(tmp_path / "a.jsonl", ns=(1, 1))
    assert [split.id for split in SOURCE.plan(None, PlanContext(tmp_path)).splits] == ids
    put(tmp_path, a=LINE.upper())
    assert [split.id for split in SOURCE.plan(None, PlanContext(tmp_path)).splits] != ids


def test_small_files_are_packed_and_large_ones_are_cut(tmp_path):
    put(tmp_path, a=LINE, b=LINE, c=LINE * 20_000, d=LINE)
    plan = Files(path="*.jsonl", split_bytes=100_000).plan(None, PlanContext(tmp_path))
    assert [split.units for split in plan.splits] == [["a.jsonl", "b.jsonl"], *[["c.jsonl"]] * 3, ["d.jsonl"]]
    assert len({split.id for split in plan.splits}) == 5


def test_overlapping_globs_list_a_file_once(tmp_path):
    (tmp_path / "x").mkdir()
    put(tmp_path / "x", a=LINE)
    put(tmp_path, b=LINE)
    out = read_everything(tmp_path, path=["*.jsonl", "x/*", "**/*.jsonl", str(tmp_path / "x" / "a.jsonl")])
    assert [row["origin"] for row in out.rows] == ["b.jsonl#0", "x/a.jsonl#0"]


@pytest.mark.parametrize("name", ["proj [1]", "w*rk", "why?"])
@pytest.mark.parametrize("path", ["*.jsonl", "**/*.jsonl", "../{}/*.jsonl"])
def test_what_stands_in_the_name_of_the_configs_own_folder_is_no_wildcard(tmp_path, name, path):
    for folder in (name, "proj 1", "work", "whys"):
        (tmp_path / folder).mkdir()
        put(tmp_path / folder, a=LINE)
    escaped = glob.escape(name)
    out = read_everything(tmp_path / name, path=path.format(escaped))
    assert len(out.rows) == 1
    assert out.rows[0]["origin"].endswith("a.jsonl#0")
    files = [tmp_path / folder / "a.jsonl" for folder in (name, "proj 1", "work", "whys")]
    named = [names(path.format(escaped), tmp_path / name, str(file)) for file in files]
    assert named == [True, False, False, False]


@pytest.mark.parametrize("kind", ["grown", "rewritten", "gone", "touched"])
def test_file_that_changed_since_the_plan_is_not_read(tmp_path, kind):
    put(tmp_path, a=LINE)
    plan = SOURCE.plan(None, PlanContext(tmp_path))
    path = tmp_path / "a.jsonl"
    if kind == "gone":
        path.unlink()
    elif kind == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.write_bytes(LINE * 2 if kind == "grown" else LINE.upper())
        os.utime(path, ns=(2, 2))
    assert read_split(SOURCE, plan.splits[0], tmp_path, 1)[1] == {"a.jsonl": ("file.changed", False)}


@pytest.mark.parametrize("data", [LINE * 200_000, b"[" + b"%s," % (b"1" * 300) * 5_000 + b"1]"], ids=["lines", "array"])
def test_file_that_changes_while_it_is_read_fails(tmp_path, data):
    put(tmp_path, a=data)
    plan = SOURCE.plan(None, PlanContext(tmp_path))
    pages = SOURCE.read(plan.splits[0], ReadContext(folder=tmp_path, batch_bytes=1000))
    next(pages)
    os.truncate(tmp_path / "a.jsonl", len(data) // 2)  # an array would be called cut
    with pytest.raises(UnitFailed) as caught:
        list(pages)
    assert (caught.value.code, caught.value.advance) == ("file.changed", False)


def test_one_bad_file_costs_its_neighbours_nothing(tmp_path):
    put(tmp_path, a=LINE * 3, b=gzip.compress(LINE * 1000)[:-9], c=LINE, d=b"")
    out = read_everything(tmp_path, batch_bytes=1)
    assert len(out.plan.splits) == 1
    assert out.failed == {"b.jsonl": ("file.truncated", True)}
    assert {unit: n for unit, n in out.bytes_in.items() if n} == {"a.jsonl": 3 * len(LINE), "c.jsonl": len(LINE)}


def test_pages_do_not_change_what_is_read(tmp_path):
    put(tmp_path, a=b"".join(b'{"text": "%d"}\nbad\n\n' % i for i in range(500)))
    whole, paged = read_everything(tmp_path), read_everything(tmp_path, batch_bytes=100)
    assert whole[:4] == paged[:4]
    assert len(whole.rows) == 500


MESSY = st.lists(
    st.sampled_from(
        [b'{"text": "a"}', b'{"text": "\xc3\xa4\\n"}', b"\n", b"\r\n", b" ", b"bad", b"\xff", b"[", b"\xef\xbb\xbf"]
    )
    | st.binary(max_size=6),
    max_size=60,
).map(b"".join)


@settings(max_examples=examples(100), deadline=None)
@given(data=MESSY, split_bytes=st.integers(1, 80), batch_bytes=st.integers(1, 300), lines=st.booleans())
def test_ranges_of_any_file_together_are_the_file(tmp_path_factory, data, split_bytes, batch_bytes, lines):
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.jsonl").write_bytes(data)
    how = {"format": "text", "lines": True} if lines else {"format": "jsonl"}
    whole = read_everything(folder, max_record_bytes=40, **how)
    cut = read_everything(folder, batch_bytes, max_record_bytes=40, split_bytes=split_bytes, **how)
    assert cut.rows == whole.rows
    assert cut.rejects == whole.rejects
    assert cut.failed == whole.failed
    if not whole.failed:
        assert cut.bytes_in["a.jsonl"] == whole.bytes_in["a.jsonl"] == len(data)
        lengths = [len(line) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
        blank_bom = lines or len(lengths) == len(whole.rows) + len(whole.rejects)
        assert blank_bom


@settings(max_examples=examples(60), deadline=None)
@given(
    data=MESSY,
    kind=st.sampled_from(["auto", "json", "jsonl", "text", "parquet"]),
    name=st.sampled_from(["a", "a.json", "a.gz"]),
)
def test_any_bytes_in_any_format_are_rows_rejects_or_a_failure(tmp_path_factory, data, kind, name):
    folder = tmp_path_factory.mktemp("any")
    (folder / name).write_bytes(data)
    out = read_everything(folder, format=kind)
    if not out.failed:
        assert out.bytes_in[name] == len(data)


@pytest.mark.parametrize("batch_bytes", [1, 3_000, 8 << 20])
def test_row_group_ranges_together_are_the_file(tmp_path, batch_bytes):
    table = pa.table({"text": [f"row {i}" * 50 for i in range(1000)], "n": range(1000)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=90, compression="none", use_dictionary=False)
    size = (tmp_path / "a.parquet").stat().st_size
    out = read_everything(tmp_path, batch_bytes, split_bytes=size // 4)
    assert len(out.plan.splits) > 2
    assert [row["origin"] for row in out.rows] == [f"a.parquet#{i}" for i in range(1000)]
    assert [row["text"] for row in out.rows] == table["text"].to_pylist()
    assert orjson.loads(out.rows[999]["meta"]) == {"n": 999}
    assert out.bytes_in["a.parquet"] == size


LONG_LINE = """
import resource, sys
from pathlib import Path
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.files import Files
folder = Path(sys.argv[1])
source = Files(path="*.zst", format="jsonl", max_ratio=1 << 20)
plan = source.plan(None, PlanContext(folder))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows, codes, read = 0, [], 0
for split in plan.splits:
    for page in source.read(split, ReadContext(folder=folder)):
        rows += page.rows.num_rows
        codes += [(reject.code, reject.origin, reject.bytes) for reject in page.rejects]
        read += page.bytes_in
print([rows, codes, read, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10])
"""


def test_line_of_a_gigabyte_is_skipped_in_little_memory(tmp_path):
    from gristmill.core.files import zstd

    packer = zstd.ZstdCompressor(level=1)
    with (tmp_path / "long.jsonl.zst").open("wb") as out:
        out.write(packer.compress(LINE + b'{"text": "'))
        block = random.Random(1).randbytes(50_000).hex().encode()
        for _ in range(10_000):
            out.write(packer.compress(block))
        out.write(packer.compress(b'"}\n' + LINE) + packer.flush())
    done = subprocess.run(
        [sys.executable, "-c", LONG_LINE, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    rows, codes, read, grown_mib = eval(done.stdout)
    length = 10 + 1_000_000_000 + 3
    assert (rows, codes, read) == (2, [("size.cap", f"long.jsonl.zst#{len(LINE)}", length)], length + 2 * len(LINE))
    assert grown_mib < 300


def test_warnings_and_rejects_are_counted_once_over_ranges(tmp_path):
    (tmp_path / "a.json").write_bytes(b"".join(b'{"text": "a\\u0000b"}\nno\n' for _ in range(100)))
    out = read_everything(tmp_path, split_bytes=200, format="jsonl")
    assert out.warnings == {"text.nul": 100}
    assert Counter(code for code, _ in out.rejects) == {"json.syntax": 100}
    assert {row["text"] for row in out.rows} == {"ab"}
    assert len(out.plan.splits) > 5

"""Parquet with odd schemas: every type comes out the same wherever it is read, and a column that becomes another is told."""

import datetime as dt
import decimal
import io
import json
import subprocess
import sys
import uuid

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.examples import SOAK
from tests.properties.lab import Lab, flat

MOMENT_NS = 1_709_208_000_000_000_001
DECIMAL = decimal.Decimal("1.50")
NOON = "2024-02-29T12:00:00"
NS = ".000000001"
NEVER = 253_402_214_400_000_000  # 9999-12-31
FAR = "33658-09-27 01:46:40.000000"


def ns(zone=None):
    return pa.timestamp("ns", zone)


COLUMNS = {
    "large list": (pa.array([[1, 2]], pa.large_list(pa.int64())), [1, 2]),
    "fixed list": (pa.array([[1, 2]], pa.list_(pa.int64(), 2)), [1, 2]),
    "dictionary": (pa.array(["x"]).dictionary_encode(), "x"),
    "dictionary of numbers": (pa.array([5]).dictionary_encode(), 5),
    "view": (pa.array(["v"], pa.string_view()), "v"),
    "view of bytes": (pa.array([b"\xff"], pa.binary_view()), "/w=="),
    "view of a list": (pa.array([["a", "b"]], pa.list_view(pa.string())), ["a", "b"]),
    "large view of a list": (pa.array([[1, 2]], pa.large_list_view(pa.int64())), [1, 2]),
    "nanoseconds in a view of a list": (pa.array([[MOMENT_NS]], pa.list_view(pa.timestamp("ns"))), [NOON + NS]),
    "view of a list in an object": (pa.array([{"a": [1]}], pa.struct([("a", pa.list_view(pa.int8()))])), {"a": [1]}),
    "fixed bytes": (pa.array([b"ab"], pa.binary(2)), "YWI="),
    "map": (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), [["k", 1]]),
    "map of maps": (
        pa.array([[("k", [("z", 1.5)])]], pa.map_(pa.string(), pa.map_(pa.string(), pa.float64()))),
        [["k", [["z", 1.5]]]],
    ),
    "map with numbers for keys": (pa.array([[(1, "a")]], pa.map_(pa.int32(), pa.string())), [[1, "a"]]),
    "decimal": (pa.array([DECIMAL]), "1.50"),
    "long decimal": (pa.array([decimal.Decimal("9" * 50 + ".5")], pa.decimal256(60, 1)), "9" * 50 + ".5"),
    "decimals in a list": (pa.array([[DECIMAL]]), ["1.50"]),
    "seconds": (pa.array([1_709_208_000], pa.timestamp("s")), NOON),
    "milliseconds": (pa.array([1_709_208_000_000], pa.timestamp("ms")), NOON),
    "nanoseconds": (pa.array([MOMENT_NS], ns()), NOON + NS),
    "nanoseconds that are none": (pa.array([MOMENT_NS - 1], ns()), NOON),
    "nanoseconds in a zone": (pa.array([MOMENT_NS], ns("+05:30")), NOON + NS + "+00:00"),
    "nanoseconds before 1970": (pa.array([-1], ns()), "1969-12-31T23:59:59.999999999"),
    "nanoseconds in a dictionary": (pa.array([MOMENT_NS], ns()).dictionary_encode(), NOON + NS),
    "nanoseconds in a list": (pa.array([[MOMENT_NS, MOMENT_NS - 1]], pa.list_(ns())), [NOON + NS, NOON]),
    "nanoseconds in a fixed list": (pa.array([[MOMENT_NS]], pa.list_(ns(), 1)), [NOON + NS]),
    "nanoseconds in an object": (
        pa.array([{"a": MOMENT_NS, "b": "x", "c": None}], pa.struct([("a", ns()), ("b", pa.string()), ("c", ns())])),
        {"a": NOON + NS, "b": "x", "c": None},
    ),
    "nanoseconds in a map": (pa.array([[("k", MOMENT_NS)]], pa.map_(pa.string(), ns())), [["k", NOON + NS]]),
    "a time beyond Python's years in a list": (pa.array([[10**18]], pa.list_(pa.timestamp("us"))), [FAR]),
    "a time beyond Python's years in an object": (
        pa.array([{"a": 10**18}], pa.struct([("a", pa.timestamp("us"))])),
        {"a": FAR},
    ),
    "time of day": (pa.array([1_000_000_001], pa.time64("ns")), "00:00:01.000000001"),
    "duration": (pa.array([1001], pa.duration("ns")), "0:00:00.000001001"),
    "duration of a second": (pa.array([10**9 + 1], pa.duration("ns")), "0:00:01.000000001"),
    "duration without end": (pa.array([2**62], pa.duration("s")), str(2**62)),
    "date": (pa.array([dt.date(2024, 2, 29)], pa.date64()), "2024-02-29"),
    "uuid": (pa.array([uuid.UUID(int=5).bytes], pa.uuid()), str(uuid.UUID(int=5))),
    "JSON": (pa.array(['{"a":1}'], pa.json_()), '{"a":1}'),
    "boolean of 8 bits": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())), True),
    "tensor": (
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int32(), [2]), pa.array([[1, 2]], pa.list_(pa.int32(), 2))
        ),
        [1, 2],
    ),
    "half": (pa.array([1.5], pa.float16()), 1.5),
    "nothing": (pa.array([None]), None),
    "objects in lists in objects": (pa.array([{"a": {"b": [{"c": 1}]}}]), {"a": {"b": [{"c": 1}]}}),
    "64 bits": (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
}


def stored(columns, **options):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


@pytest.mark.parametrize(("column", "value"), COLUMNS.values(), ids=COLUMNS)
def test_a_column_of_any_type_is_read(read, column, value):
    out = read({"a.parquet": stored({"text": ["t"], "m": column})})
    assert [orjson.loads(row["meta"]) for row in out.rows] == [{"m": value}]
    assert (out.rejects, out.failed) == ([], {})


def test_views_of_lists_are_read_row_by_row_and_held_to_the_cap(read):
    lists = pa.array([["a"], None, [], ["b" * 200, "c"]], pa.list_view(pa.string()))
    out = read({"a.parquet": stored({"text": list("klmn"), "m": lists}, use_dictionary=False)}, max_record_bytes=100)
    assert [orjson.loads(row["meta"])["m"] for row in out.rows] == [["a"], None, []]
    assert out.rejects == [("size.cap", "a.parquet#3")]


@pytest.mark.parametrize("shape", ["plain", "list", "map"])
def test_times_of_the_oldest_kind_are_those_times_however_far_from_today(read, shape):
    times = [NEVER, -62_135_596_800_000_000, 0, None]
    kind = pa.timestamp("us")
    kinds = {"plain": kind, "list": pa.list_(kind), "map": pa.map_(pa.string(), kind)}
    shaped = {"plain": times, "list": [[time] for time in times], "map": [[("k", time)] for time in times]}
    files = [pa.array(part, kinds[shape]) for part in (shaped[shape], [shaped[shape][2]])]
    packs = [
        stored({"text": ["t"] * len(each), "m": each}, use_deprecated_int96_timestamps=True, row_group_size=2)
        for each in files
    ]
    out = read({f"{n}.parquet": pack for n, pack in enumerate(packs)})
    found = [orjson.loads(row["meta"])["m"] for row in out.rows]
    while isinstance(found[0], list):
        found = [value[-1] for value in found]
    start = "1970-01-01T00:00:00"
    assert found == ["9999-12-31T00:00:00", "0001-01-01T00:00:00", start, None, start]


def test_a_time_of_the_oldest_kind_as_the_time_of_a_record(read):
    data = stored({"text": ["t"], "at": pa.array([NEVER], pa.timestamp("us"))}, use_deprecated_int96_timestamps=True)
    assert str(read({"a.parquet": data}, time="at").rows[0]["time"]) == "9999-12-31 00:00:00+00:00"


def unsound(kind):
    """Give three texts, of which the second is not UTF-8."""
    return pa.array([b"a", b"\xff", b"b"]).view(kind)


UNSOUND = {
    "a column": unsound(pa.string()),
    "a large one": pa.array([b"a", b"\xff", b"b"], pa.large_binary()).view(pa.large_string()),
    "lists": pa.ListArray.from_arrays([0, 1, 2, 3], unsound(pa.string())),
    "objects": pa.StructArray.from_arrays([unsound(pa.string())], names=["a"]),
    "maps": pa.MapArray.from_arrays([0, 1, 2, 3], pa.array(["k"] * 3), unsound(pa.string())),
}


@pytest.mark.parametrize("column", UNSOUND.values(), ids=UNSOUND)
def test_a_text_that_is_not_utf_8_costs_its_row_whatever_column_it_is_in(read, column):
    out = read({"a.parquet": stored({"text": list("xyz"), "m": column})})
    assert [row["text"] for row in out.rows] == ["x", "z"]
    assert (out.rejects, out.failed) == ([("text.encoding", "a.parquet#1")], {})


def test_numbers_that_json_has_no_word_for_are_counted_in_columns_of_a_kind_of_their_own_too(read):
    tensor = pa.array([[1.0, float("nan")]], pa.list_(pa.float32(), 2))
    column = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [2]), tensor)
    out = read({"a.parquet": stored({"text": ["t"], "m": column})})
    assert (orjson.loads(out.rows[0]["meta"]), out.warnings) == ({"m": [1.0, None]}, {"field.not_finite": 1})


WITHOUT_PANDAS = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pandas":
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from pathlib import Path
from tests.sources.conftest import read_everything
print([row["meta"] for row in read_everything(Path(sys.argv[1])).rows])
"""


def test_times_are_the_same_whether_pandas_is_installed_or_not(tmp_path, read, pytestconfig):
    columns = {name: column for name, (column, _) in COLUMNS.items() if "nanoseconds" in name or "duration" in name}
    out = read({"in/a.parquet": stored({"text": ["t"]} | columns)})
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PANDAS, str(tmp_path / "in")],
        capture_output=True, text=True, timeout=120, cwd=pytestconfig.rootpath, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == str([row["meta"] for row in out.rows])


def test_columns_that_hold_something_else_in_another_file_are_counted_and_read_as_they_are(read):
    out = read(
        {
            "a.parquet": stored({"text": ["a"], "n": [1], "m": ["x"], "nothing": pa.array([None])}),
            "b.parquet": stored(
                {"text": ["b"], "n": pa.array([1], pa.int8()), "m": pa.array(["x"], pa.large_string())}
            ),
            "c.parquet": stored({"m": [[1]], "n": ["1"], "text": ["c"], "new": [1.5], "nothing": [1]}),
        }
    )
    assert out.warnings == {"field.retyped": 2}
    assert orjson.loads(out.rows[2]["meta"]) == {"m": [1], "n": "1", "new": 1.5, "nothing": 1}


def test_a_column_that_becomes_another_in_a_later_run_is_told(tmp_path):
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": {"path": "in/*"}}]})
    lab.put("in/a.parquet", stored({"text": ["a"], "n": [1]}))
    assert lab.run().warnings == {}
    lab.put("in/b.parquet", stored({"text": ["b"], "n": ["one"], "more": [1]}))
    report = lab.run()
    assert report.warnings == {"field.retyped": 1}
    assert flat(report.counts) == {"read": 1, "published": 1}
    lab.put("in/c.parquet", stored({"text": ["c"], "n": [2], "more": [2]}))
    assert lab.run().warnings == {}
    assert lab.broken() == []
    assert lab.run().status == "nothing_new"


PEAK = """
import json, sys
from pathlib import Path
from gristmill.core.errors import UnitFailed
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.files import Files
folder = Path(sys.argv[1])
failed = {}
for name in sorted(path.name for path in folder.iterdir()):
    source = Files(path=name)
    try:
        for split in source.plan(None, PlanContext(folder)).splits:
            for page in source.read(split, ReadContext(folder=folder)):
                pass
    except UnitFailed as error:
        failed[name] = error.code
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(json.dumps([failed, int(peak) >> 10]))
"""


def test_a_dictionary_that_makes_much_of_little_is_stopped_and_takes_no_memory(tmp_path):
    """10 MiB as often as there are rows: 200 MB from a kilobyte; as a column that nobody asked for; within a list, an object, a map; and lists of a million."""
    large = pa.DictionaryArray.from_arrays(pa.array([0] * 20, pa.int32()), pa.array(["x" * (10 << 20)]))
    options = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30}
    (tmp_path / "a.parquet").write_bytes(stored({"text": large}, **options))
    (tmp_path / "b.parquet").write_bytes(stored({"text": ["t"] * 20, "m": large}, **options))
    each = list(range(21))
    within = {
        "c": pa.ListArray.from_arrays(each, large),
        "d": pa.StructArray.from_arrays([pa.StructArray.from_arrays([large], ["r"])], ["q"]),
        "e": pa.MapArray.from_arrays(each, pa.array(["k"] * 20), large),
        "f": pa.ListArray.from_arrays([n * 1_000_000 for n in each], pa.array(np.zeros(20_000_000, bool))),
        "g": pa.ListArray.from_arrays([n * 1_000_000 for n in each], pa.nulls(20_000_000, pa.string())),
    }
    for name, column in within.items():
        (tmp_path / f"{name}.parquet").write_bytes(stored({"text": ["t"] * 20, "m": column}, **options))
    assert all(path.stat().st_size < 2000 for path in tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    failed, peak_mb = json.loads(done.stdout)
    assert failed == dict.fromkeys(sorted(path.name for path in tmp_path.iterdir()), "size.cap")
    assert peak_mb < 300


def test_few_values_for_many_rows_are_read_as_they_are(read):
    names = [None if n % 7 == 0 else f"name {n % 5}" for n in range(3000)]
    columns = {
        "text": [f"text {n}" for n in range(3000)],
        "name": names,
        "raw": [f"{n % 3}".encode() for n in range(3000)],
    }
    out = read({"a.parquet": stored(columns, row_group_size=700)}, lang="name")
    assert [row["lang"] for row in out.rows] == names
    assert [orjson.loads(row["meta"])["raw"] for row in out.rows[:4]] == ["MA==", "MQ==", "Mg==", "MA=="]


FOOTERS = """
import io, json, sys
import pyarrow as pa
import pyarrow.parquet as pq
from gristmill.core.errors import UnitFailed
from gristmill.core.files import Allowance, Expansion
from gristmill.core.mapping import Mapping, Rows
from gristmill.sources.formats import parquet
out = io.BytesIO()
table = pa.table({"text": ["one", None, "three"] * 9, "l": [[1, None], [], None] * 9, "s": [{"a": ["x"]}, None, {"a": None}] * 9})
pq.write_table(table, out, write_page_checksum=True, row_group_size=9)
data = out.getvalue()
read = failed = 0
for at in range(len(data) - 8 - int.from_bytes(data[-8:-4], "little"), len(data), {step}):
    damaged = data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]
    try:
        rows = Rows("u", Mapping(), 8 << 20)
        allowance = Allowance(Expansion(), len(damaged), "u")
        for page in parquet.read(io.BytesIO(damaged), rows, None, len(damaged), (8 << 20, 64 << 20), allowance):
            page.rows.validate(full=True)
        read += 1
    except UnitFailed as error:
        assert error.code in {"file.corrupt", "file.unsupported", "field.missing", "size.cap"}, error
        failed += 1
print(json.dumps([read, failed]))
"""


def test_no_damaged_byte_of_a_footer_ends_the_process(pytestconfig):
    """The view of a column that pyarrow gives does (its sizes are checked where no error can be raised), so it is not asked for."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FOOTERS.replace("{step}", "1" if SOAK else "3")],
        capture_output=True, text=True, timeout=120, cwd=pytestconfig.rootpath, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    read, failed = json.loads(done.stdout)
    assert failed > (300 if SOAK else 100)
    assert read

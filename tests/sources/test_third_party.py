"""Real files that others broke or wrote, from ../shared/data: each is read, or fails with a word; nothing crashes."""

import gzip
import io
import json
import subprocess
import sys
import tarfile

from tests.sources.conftest import read_everything

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def unpack(path):
    with tarfile.open(fileobj=io.BytesIO(zstd.decompress(path.read_bytes()))) as pack:
        return {member.name: pack.extractfile(member).read() for member in pack if member.isfile()}


# White space is no JSON text, and no record; an object, then a string: two values one after the other, one no object.
NOT_REFUSED = {"n_single_space.json", "n_structure_object_with_trailing_garbage.json"}
VALUE_REFUSED = {"json.syntax", "json.nan", "json.extra", "json.depth", "text.encoding", "text.surrogate"}


def test_json_suite_values_parse_and_wrong_ones_are_refused(shared, tmp_path):
    suite = unpack(shared / "malformed" / "json_test_suite.tar.zst")
    seen = 0
    for name, data in suite.items():
        stem = name.rpartition("/")[2]
        if not stem.endswith(".json") or stem[:2] not in {"y_", "n_"}:
            continue
        folder = tmp_path / stem
        folder.mkdir()
        # A text is one value whatever its line ends, so it is one element; as JSON lines where it is on one line.
        (folder / "a.json").write_bytes(b'[{"text": ' + data + b"}]")
        if b"\n" not in data.strip():
            (folder / "b.jsonl").write_bytes(b'{"text": "t"}\n' + data.strip() + b'\n{"text": "t"}')
        out = read_everything(folder, text="none", allow_empty=True)
        of = {unit: [code for code, origin in out.rejects if origin.startswith(unit)] for unit in ("a.json", "b.jsonl")}
        refused = VALUE_REFUSED.intersection(of["a.json"]) or "a.json" in out.failed
        if stem.startswith("y_"):
            assert not refused, stem
            assert not VALUE_REFUSED.intersection(of["b.jsonl"]), stem
        else:
            assert refused, stem
            if (folder / "b.jsonl").exists() and data.strip():
                assert len(VALUE_REFUSED.intersection(of["b.jsonl"])) == 1 or "b.jsonl" in out.failed, stem
        seen += 1
    assert seen > 100


def test_json_suite_as_files(shared, tmp_path):
    for name, data in unpack(shared / "malformed" / "json_test_suite.tar.zst").items():
        (tmp_path / name.rpartition("/")[2]).write_bytes(data)
    out = read_everything(tmp_path, path="[ny]_*.json", format="json")
    refused = {origin.partition("#")[0] for code, origin in out.rejects if code in VALUE_REFUSED} | set(out.failed)
    passed = set(out.plan.listing["unit"].to_pylist()) - refused
    assert {unit for unit in refused if unit.startswith("y_")} == set()
    assert {unit for unit in passed if unit.startswith("n_")} == NOT_REFUSED


PARQUET = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from tests.sources.conftest import read_everything
folder = Path(sys.argv[1])
for path in sorted(folder.iterdir()):
    try:
        names = pq.ParquetFile(path).schema_arrow.names
    except Exception:
        names = ["x"]
    for name in dict.fromkeys([*names[:2], *names[-2:]]):
        out = read_everything(folder, path=path.name, text="{" + name + "}", time=name)
        print(path.name, len(out.rows), len(out.rejects), *out.failed.values())
"""


def test_parquet_suite_never_crashes(shared, tmp_path, pytestconfig):
    for name, data in unpack(shared / "malformed" / "parquet_testing.tar.zst").items():
        if name.endswith(".parquet"):
            (tmp_path / name.rpartition("/")[2]).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PARQUET, str(tmp_path)],
        capture_output=True, text=True, timeout=120, cwd=pytestconfig.rootpath, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    answers = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert len({name for name, _ in answers}) > 30
    failed = {name for name, answer in answers if "file." in answer}
    assert {"datapage_v1-corrupt-checksum.parquet", "rle-dict-uncompressed-corrupt-checksum.parquet"} <= failed
    assert {"ARROW-GH-45185.parquet", "incorrect_map_schema.parquet"} <= failed
    assert "alltypes_plain.snappy.parquet" not in failed


def test_compressed_samples(shared):
    def read(folder):
        return read_everything(shared / "malformed" / folder, path="*", format="text")

    zst = read("zstd")
    assert set(zst.failed) == {"bad-off0.bin.zst", "bad-truncated_huff_state.zst"}
    assert all(code in {"file.corrupt", "file.truncated"} for code, _ in zst.failed.values())
    assert zst.bytes_in == {"good-block-128k.zst": 131_068, "good-empty-block.zst": 0}
    gz = read("gzip")
    assert not gz.failed
    assert [row["text"] for row in gz.rows] == ["hi\nhi\n"] or [row["text"] for row in gz.rows] == ["hihi"]


def test_corpus_is_read_whole(shared, tmp_path):
    name = "part-0003.jsonl.zst"
    lines = zstd.decompress((shared / "corpus" / name).read_bytes()).splitlines(keepends=True)[:3000]
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"".join(lines), 1))
    expected = [json.loads(line) for line in lines]
    for path in ("a.jsonl", "b.jsonl.gz"):
        out = read_everything(
            tmp_path, 1 << 20, path=path, id="id", lang="lang", license="license", url="url", split_bytes=3 << 20
        )
        assert not out.rejects
        for row, record in zip(out.rows, expected, strict=True):
            record = dict(record)
            assert [row["text"], row["key"], row["lang"], row["license"], row["url"]] == [
                record.pop("text"), record.pop("id"), record.pop("lang"), record.pop("license"), record.pop("url", None)
            ]  # fmt: skip
            assert list(json.loads(row["meta"]).items()) == list(record.items())


def test_real_arrays_and_instructions_are_read(shared, tmp_path):
    movies = shared / "api" / "movies-1970s.json.zst"
    expected = json.loads(zstd.decompress(movies.read_bytes()))
    out = read_everything(movies.parent, path=movies.name, text="{title}\n\n{extract}", time="year")
    assert len(out.rows) == len(expected)
    assert [row["text"].partition("\n")[0] for row in out.rows] == [movie["title"].strip("\n") for movie in expected]
    tasks = read_everything(shared / "chat", path="seed_tasks.jsonl", text="instruction", id="id")
    assert len(tasks.rows) == 90
    assert not tasks.rejects

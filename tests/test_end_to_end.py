"""The whole line on real text: what came out is counted again in plain Python, and files come, grow and go."""

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from tests.examples import SOAK
from tests.kernels import plain
from tests.properties.lab import Lab, flat, jsonl

from gristmill.testing import corpora

QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart" / "data" / "web"
EXPORT = {"name": "chunks", "jsonl": {"path": "./out", "docs_per_chunk": 5000, "compression": "zst"}}


def cleaned(text):
    """The default operations of clean.text, by their definitions."""
    return plain.tidy_whitespace(plain.strip_control(unicodedata.normalize("NFC", text)))


def lines_of(path):
    data = path.read_bytes()
    if path.name.endswith(".gz"):
        data = gzip.decompress(data)
    elif path.name.endswith(".zst"):
        data = pa.input_stream(str(path), compression="zstd").read()
    return data.splitlines(keepends=True)


def pack_zst(data):
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def config(key, export=EXPORT):
    files = {"path": "in/*", "lang": "lang", "allow_empty": True} | ({"id": key} if key else {})
    return {
        "sources": [{"name": "corpus", "files": files}],
        "steps": ["clean.text", "dedup.exact"],
        "exports": [export] if export else [],
        "gate": {"min_quality_score": 0.8, "max_quarantined_ratio": 0.01},
    }


def run_cli(lab, *words):
    """Run the command line in a process of its own; give its exit code, its output and the CPU seconds it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "gristmill", *words],
        cwd=lab.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return done.returncode, done.stdout + done.stderr, seconds


def small_corpus(folder):
    """Give four files of the shipped generator: some records repeat a text, some come in two files."""
    records = corpora.documents(800, duplicates=0.2)
    for i in range(4):
        corpora.write(folder / f"part-{i}.jsonl{['', '.gz', '.zst', ''][i]}", records[i * 200 : i * 200 + 200])


@pytest.fixture(scope="module", name="lab", params=["shipped", "real"])
def _lab(request, tmp_path_factory):
    """Give a dataset after its first run over the corpus, which the tests below change in their order."""
    lab = Lab(tmp_path_factory.mktemp(request.param), config("id"))
    folder = lab.folder / "in"
    if request.param == "real":
        folder.mkdir()
        for path in sorted((request.getfixturevalue("shared") / "corpus").iterdir())[:2]:
            some = lines_of(path)[:: 1 if SOAK else 3]  # plain Python is slow
            (folder / path.name).write_bytes(pack_zst(b"".join(some)))
    else:
        small_corpus(folder)
    lab.first = lab.run()
    return lab


def test_published_texts_and_duplicates_are_those_of_plain_python(lab):
    read, texts, kept = 0, set(), []
    for path in sorted((lab.folder / "in").iterdir()):
        for line in lines_of(path):
            record = json.loads(line)
            text = cleaned(record["text"])
            if text not in texts:
                kept.append((f"corpus/{record['id']}", text))
            texts.add(text)
            read += 1
    table = lab.open().read(columns=["id", "text"])
    assert list(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)) == kept
    assert flat(lab.first.counts) == {"read": read, "published": len(kept), "duplicates/dedup.exact": read - len(kept)}
    assert lab.broken() == []


def test_nothing_new_is_said_within_three_seconds(lab):
    """It waits for nothing, so on a machine of one's own these are the seconds on the clock; here others work too."""
    for last in (False, False, True):
        code, told, seconds = run_cli(lab, "run")
        assert code == 0, told
        assert lab.open().seqs() == [1]
        if last or seconds < 3:
            break
    assert seconds < 3


def test_an_added_file_alone_is_processed(lab):
    before = lab.records()
    known = set(lab.open().read(columns=["text"])["text"].to_pylist())
    data = jsonl(
        [{"id": f"new-{i}", "text": f"a text that was not there before: {i}"} for i in range(50)]
        + [{"id": "again", "text": min(known)}]
    )
    lab.put("in/z-new.jsonl", data)
    report = lab.run()
    assert flat(report.counts) == {"read": 51, "published": 50, "duplicates/dedup.exact": 1}
    assert report.bytes_read == len(data)
    assert lab.records()[: len(before)] == before
    assert lab.broken() == []


def test_a_line_inserted_at_the_top_of_a_file_loses_nothing(lab):
    before = set(lab.rows())
    path = min((lab.folder / "in").iterdir())
    new = jsonl([{"id": "top", "text": "a line on top of the file"}])
    data = new + b"".join(lines_of(path))
    lab.put(f"in/{path.name}", pack_zst(data) if path.name.endswith(".zst") else data)
    report = lab.run()
    assert report.counts.published == 1
    assert report.counts.withdrawn == 0
    assert report.counts.read == report.counts.unchanged + 1
    assert report.bytes_read == len(data)
    after = set(lab.rows())
    assert before <= after
    assert {row.text for row in after - before} == {"a line on top of the file"}
    assert lab.broken() == []


def test_a_removed_file_withdraws_its_records_and_no_others(lab):
    before = lab.rows()
    names = sorted(path.name for path in (lab.folder / "in").iterdir())
    theirs = {row for row in before if row.origin.partition("#")[0] == names[1]}
    lab.take(f"in/{names[1]}")
    report = lab.run()
    assert flat(report.counts) == {"withdrawn": len(theirs)}
    assert lab.rows() == [row for row in before if row not in theirs]
    assert lab.broken() == []
    code, told, _ = run_cli(lab, "verify")
    assert code == 0, told


def test_with_ids_by_place_an_inserted_line_revises_the_file_and_loses_nothing(tmp_path):
    """Every line has another offset, so another id: the old ones go, the new ones come, none is lost to dedup."""
    lab = Lab(tmp_path, config(None))
    small_corpus(tmp_path / "in")
    lab.run()
    before = [row.text for row in lab.rows()]
    path = tmp_path / "in" / "part-0.jsonl"
    lab.put("in/part-0.jsonl", jsonl([{"text": "a line on top"}]) + path.read_bytes())
    report = lab.run()
    assert sorted(row.text for row in lab.rows()) == sorted([*before, "a line on top"])
    assert report.counts.published == report.counts.withdrawn + 1
    assert lab.broken() == []


def test_the_same_file_under_a_new_name_withdraws_and_publishes_what_hangs_on_the_name(tmp_path):
    for key, moved in (("id", {"read": 200, "unchanged": 200}), (None, None)):
        lab = Lab(tmp_path / str(key), config(key, export=None))
        small_corpus(lab.folder / "in")
        lab.run()
        before = sorted(row.text for row in lab.rows())
        (lab.folder / "in" / "part-1.jsonl.gz").rename(lab.folder / "in" / "part-1a.jsonl.gz")
        report = lab.run()
        if moved:
            assert flat(report.counts) == moved
        else:
            assert report.counts.published == report.counts.withdrawn > 0
        assert sorted(row.text for row in lab.rows()) == before
        assert lab.broken() == []


def test_a_touched_or_copied_back_file_is_read_and_changes_nothing(tmp_path):
    lab = Lab(tmp_path, config("id", export=None))
    small_corpus(tmp_path / "in")
    lab.run()
    os.utime(tmp_path / "in" / "part-0.jsonl", ns=(1, 1))
    report = lab.run()
    assert flat(report.counts) == {"read": 200, "unchanged": 200}
    assert lab.run().status == "nothing_new"


def test_the_shipped_sample_has_the_troubles_it_is_said_to_have(tmp_path):
    lab = Lab(tmp_path, config("id") | {"gate": {"min_quality_score": 0}})
    shutil.copytree(QUICKSTART, tmp_path / "in")
    report = lab.run()
    read = sum(len([line for line in lines_of(path) if line.strip()]) for path in QUICKSTART.glob("crawl-0[123]*"))
    assert report.counts.read >= read
    assert report.counts.quarantined
    assert sum(report.counts.duplicates.values()) > 0
    assert lab.broken() == []

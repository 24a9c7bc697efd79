"""The examples do what they say: the quickstart with its troubles, a delivery, a deletion; and the demo as a whole."""

import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import gristmill
from gristmill.testing import laws

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "examples" / "quickstart"


@pytest.fixture
def quickstart(tmp_path):
    """Give a copy of the quickstart that has not run yet."""
    shutil.copy(QUICKSTART / "gristmill.yml", tmp_path)
    shutil.copytree(QUICKSTART / "data", tmp_path / "data")
    return tmp_path


def run(folder):
    report = gristmill.Pipeline.from_file(folder / "gristmill.yml").run()
    laws.assert_laws(folder / "corpus", [folder / "out"])
    return report


def delivery():
    command = [sys.executable, "-c", "import sys, make_sample; sys.stdout.buffer.write(make_sample.today())"]
    return subprocess.run(command, cwd=QUICKSTART, capture_output=True, check=True).stdout


def test_every_trouble_of_the_sample_is_accounted_for(quickstart):
    counts = run(quickstart).counts
    assert counts.read == 86
    assert counts.published == 72
    assert counts.dropped == {"filter.length:too_short": 6}
    assert counts.duplicates == {"dedup.exact": 5}
    assert counts.quarantined == {"file.truncated": 1, "json.syntax": 1, "text.encoding": 1}


def test_texts_are_clean_and_still_themselves(quickstart):
    run(quickstart)
    rows = laws.head_rows(quickstart / "corpus", ["id", "text", "lang", "ord"]).to_pylist()
    texts = {row["id"]: row["text"] for row in rows}
    for id_, text in texts.items():
        assert not re.search(r"https?://|www\.|\S@\S", text), id_
        assert not any(unicodedata.category(c) == "Cc" and c not in "\t\n" for c in text), id_
        assert text == unicodedata.normalize("NFC", text), id_
    prose = (QUICKSTART / "prose" / "hi.txt").read_text("utf-8").splitlines()
    assert texts["web/hi-03"] == unicodedata.normalize("NFC", prose[2])
    assert {row["lang"] for row in rows} >= {"en", "es", "fr", "ru", "ar", "tr", "zh", "ja", "hi"}
    assert len({id_.split("/")[0] for id_ in texts}) == 3


def test_only_what_is_new_is_read(quickstart):
    run(quickstart)
    assert run(quickstart).status == "nothing_new"
    (quickstart / "data" / "web" / "today.jsonl").write_bytes(delivery())
    report = run(quickstart)
    assert (report.counts.read, report.counts.published) == (3, 2)
    assert report.counts.duplicates == {"dedup.exact": 1}
    assert laws.head_rows(quickstart / "corpus").num_rows == 74


def test_what_is_gone_is_withdrawn(quickstart):
    run(quickstart)
    (quickstart / "data" / "articles" / "harbour.parquet").unlink()
    counts = run(quickstart).counts
    assert (counts.read, counts.published, counts.withdrawn) == (0, 0, 7)


def test_increments_keep_what_one_run_keeps(quickstart, tmp_path_factory):
    (quickstart / "data" / "web" / "today.jsonl").write_bytes(delivery())
    run(quickstart)
    parts = tmp_path_factory.mktemp("parts")
    shutil.copy(QUICKSTART / "gristmill.yml", parts)
    files = sorted(path.relative_to(quickstart) for path in (quickstart / "data").rglob("*") if path.is_file())
    for name in ("articles", "notes", "web"):  # every source must find something on the first day
        first = next(path for path in files if name in path.parts)
        files.remove(first)
        (parts / first).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(quickstart / first, parts / first)
    text = (parts / "gristmill.yml").read_text("utf-8")
    (parts / "gristmill.yml").write_text(re.sub(r"gate: .*", "", text), "utf-8")  # a day may be mostly trouble
    run(parts)
    for path in files:
        (parts / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(quickstart / path, parts / path)
        run(parts)
    whole, grown = (laws.head_rows(folder / "corpus", ["id", "text"]).to_pylist() for folder in (quickstart, parts))
    assert {row["text"] for row in whole} == {row["text"] for row in grown}


def test_the_demo_tells_its_story(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "86 read = 72 + 0 + 0 + 6 + 5 + 3" in done.stdout
    assert "independent checker: 0 problems; 74 documents" in done.stdout


def test_the_demo_fails_when_something_is_not_as_promised(tmp_path):
    script = (ROOT / "examples" / "demo.py").read_text("utf-8")
    wrong = tmp_path / "demo.py"
    wrong.write_text(script.replace('["published"] >= 60', '["published"] >= 6000'), "utf-8")
    assert wrong.read_text("utf-8") != script
    shutil.copytree(QUICKSTART, tmp_path / "quickstart")
    done = subprocess.run([sys.executable, str(wrong)], capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 1
    assert "NOT as promised: fewer than 60 documents" in done.stderr

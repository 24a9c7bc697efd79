"""The tutorial recipe: gristmill keeps the same records with the same texts as the plain-Python reference."""

import gzip
import importlib.util
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.testing import laws
from gristmill.testing.corpora import SENTENCES, documents, jsonl

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = ROOT / "examples" / "tutorial"

_spec = importlib.util.spec_from_file_location("tutorial_reference", TUTORIAL / "reference.py")
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

# What decides: every kind of blank, word borders before web addresses, their last character, odd mail addresses,
# letters whose lower case is longer or depends on the place, marks, digits and letters outside the first plane.
PIECES = [
    *(sentence for sentences in SENTENCES.values() for sentence in sentences),
    *" \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b\ufeff",
    *"ABCxyz019_.,!?;:'\"()@/-#$%&*+=<>[]{}|~^`\\",
    "http://a.b/c?d=e", "HTTPS://EXAMPLE.org/x.", "ftp://h/", "www.x", "www.", "xwww.no", "éhttp://no", "(http://a.b)",
    "https://a.b/»", "http://例え.jp/道。", "http://a.b/c,", "http://", "_www.no", "7www.no", "http://x\u3000y",
    "a@b.cd", "A.b+c%d-e_f@g-h.ij.k", "a@b", "@b.cd", "a@.cd", "a@b..c", "a@b.c.", "é@b.cd", "x@y.z@w.v",
    "İI", "ΟΔΟΣ", "ΣΑΣ Σ", "ẞß", "Ǆǅǆ", "ﬁ", "Ⅷⅷ", "𐐀𐐨", "𝔄", "٣", "௩", "²", "½", "ª", "e\u0301", "\u0301", "क्ष", "👍🏽", "‿", "a_b",
]  # fmt: skip


def nasty(n, seed):
    """Make `n` records glued together from the pieces, some long enough and some not."""
    chance = random.Random(seed)
    for i in range(n):
        text = "".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 40)))
        yield {"id": f"nasty-{i}", "text": text, "n": i}


def gristmill(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "gristmill", *arguments],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run both over the same files; give the reference's kept records and counts, the report and the folder."""
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copy(TUTORIAL / "gristmill.yml", folder)
    data = folder / "data"
    data.mkdir()
    first = [*documents(400, duplicates=0.2), *nasty(1500, 1)]
    repeats = [{**record, "id": f"again-{record['id']}"} for record in nasty(300, 1)]
    edges = [{"id": f"edge-{n}", "text": "é" * n} for n in (0, 1, 49, 50, 51)]
    edges += [{"id": f"blank-{n}", "text": f" \u3000 {'ж' * n}  x \t"} for n in (46, 47, 48, 49)]
    bad = [
        b'{"id": "cut", "text": "no end\n',
        b'{"id": "none"}\n',
        b'{"id": "null", "text": null}\n',
        b'{"id": "n", "text": 7}\n',
    ]
    (data / "a.jsonl").write_bytes(jsonl(first) + b"".join(bad) + b"\n  \n")
    (data / "b.jsonl").write_bytes(jsonl(repeats + edges) + jsonl(documents(50, seed=9)).replace(b'"doc-', b'"b-'))
    paths = sorted(data.glob("*.jsonl"))
    records, unreadable = reference.load(paths)
    kept, counts = reference.keep(records)
    done = gristmill("run", "--json", "-c", str(folder / "gristmill.yml"), cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return kept, counts, unreadable, json.loads(done.stdout.splitlines()[-1]), folder


def test_same_texts_kept(runs):
    kept, counts, _, _, folder = runs
    rows = laws.head_rows(folder / "corpus")
    ours = dict(
        zip((id_.removeprefix("pages/") for id_ in rows["id"].to_pylist()), rows["text"].to_pylist(), strict=True)
    )
    assert counts["kept"] > 1000
    assert counts["short"] > 100
    assert counts["duplicates"] > 200
    assert ours == dict(kept)


def test_same_order_and_chunks(runs):
    kept, _, _, _, folder = runs
    lines = []
    for path in sorted((folder / "out").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines += [json.loads(line) for line in file]
    assert [(line["id"].removeprefix("pages/"), line["text"]) for line in lines] == kept


def test_same_counts(runs):
    kept, counts, unreadable, report, _ = runs
    ours = report["counts"]
    assert ours["published"] == len(kept)
    assert sum(ours["dropped"].values()) == counts["short"]
    assert sum(ours["duplicates"].values()) == counts["duplicates"]
    assert sum(ours["quarantined"].values()) == unreadable == 4


def test_the_laws_hold(runs):
    laws.assert_laws(runs[4] / "corpus", [runs[4] / "out"])


def test_reference_does_what_it_says():
    text = "  Visit\u3000HTTPS://Example.org/a?b. or\twrite to\nA.B@c-d.org!  Ünïcode—dash  "
    assert reference.clean(text) == "visit . or write to ! ünïcodedash"
    long = "x" * 50
    kept, counts = reference.keep([("a", long), ("b", long.upper()), ("c", "short")])
    assert kept == [("a", long)]
    assert counts == {"short": 1, "duplicates": 1, "kept": 1}


def test_reference_writes_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "DOCS_PER_CHUNK", 2)
    reference.write_chunks([("a", "1"), ("b", "2"), ("c", "é")], tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["chunk_00000.jsonl.gz", "chunk_00001.jsonl.gz"]
    last = gzip.decompress((tmp_path / "out" / names[1]).read_bytes())
    assert json.loads(last) == {"id": "c", "text": "é"}

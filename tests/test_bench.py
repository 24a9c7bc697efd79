"""The harness of the benchmarks measures what it says, on a corpus that is what it says."""

import gzip
import json
import sys

import pytest
from backports import zstd
from bench import corpus, growth, limits, machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a corpus of 2 MB of the shipped prose, which every machine has."""
    patch = pytest.MonkeyPatch()
    work = tmp_path_factory.mktemp("work")
    patch.setattr(corpus, "SHARED", work / "none")
    yield corpus.build(2, work=work)
    patch.undo()


def lines(folder, opener=open):
    found = []
    for path in corpus.files(folder):
        with opener(path, "rb") as file:
            found += file.readlines()
    return found


def test_corpus_has_its_size_and_its_repeats(folder):
    records = [json.loads(line) for line in lines(folder)]
    assert corpus.size_mb(folder) == pytest.approx(2, rel=0.02)
    assert len(corpus.files(folder)) == 10
    assert len({record["id"] for record in records}) == len(records)
    repeated = 1 - len({record["text"] for record in records}) / len(records)
    assert 0.06 < repeated < 0.14


def test_corpus_is_the_same_when_made_again_or_packed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "SHARED", tmp_path / "none")
    plain = lines(folder)
    for packing, opener in (("", open), ("gz", gzip.open), ("zst", zstd.open)):
        again = corpus.build(2, packing, work=tmp_path)
        assert lines(again, opener) == plain
        assert corpus.size_mb(again) == corpus.size_mb(folder)


def test_recombined_documents_are_new():
    documents = [{"text": f"a{i}\n\nb{i}\n\nc{i}"} for i in range(30)]
    texts = {
        corpus._recombined(document, documents[(i * 7 + turn) % 30], turn)["text"]
        for turn in range(1, 5)
        for i, document in enumerate(documents)
    }
    assert len(texts) == 120


def test_a_command_is_measured():
    work = "import time; s = bytearray(60_000_000); t = time.process_time()\nwhile time.process_time() - t < 0.5: pass\nprint('é')"
    sample = machine.measure(machine.python("-c", work), pin=machine.cores()[:1], memory=True)
    assert sample.output == "é\n"
    assert 0.4 < sample.cpu_s < 5
    assert sample.wall_s > 0.4
    assert 60 < sample.peak_rss_mb < 200


def test_memory_of_children_counts():
    child = "s = bytearray(50_000_000); import time; time.sleep(0.6)"
    work = f"import subprocess, sys; [p.wait() for p in [subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in '12']]"
    assert machine.measure(machine.python("-c", work), memory=True).peak_rss_mb > 100


def test_pinning_holds():
    shown = machine.measure(
        machine.python("-c", "import os; print(len(os.sched_getaffinity(0)))"), pin=machine.cores()[:1]
    )
    assert shown.output == "1\n"


def test_a_failed_command_is_an_error():
    with pytest.raises(RuntimeError, match="ended with 3\noops"):
        machine.measure([sys.executable, "-c", "import sys; sys.stderr.write('oops'); sys.exit(3)"])


def test_the_limit_is_less_than_its_parts(folder):
    rates = limits.rates(folder)
    parts = [rates[name] for name in ("read", "parse", "compress")]
    assert rates["together_zst"] < rates["together"] < min(parts)


def test_the_page_on_growth_is_made_of_the_committed_figures():
    results = json.loads(growth.RESULTS.read_text())
    assert growth.page(results) in growth.PAGE.read_text("utf-8")
    assert growth.PLOT.read_text("utf-8") == growth.plot(results["sizes"])
    per_gb = [one["first"]["cpu_seconds"] / one["first"]["bytes"] for one in results["sizes"]]
    assert all(abs(one / per_gb[0] - 1) <= 0.2 for one in per_gb), "processor time is linear within 20 %"
    peaks = [one["first"]["peak_mb"] for one in results["sizes"]]
    assert max(peaks) <= 1.25 * min(peaks), "memory is flat"

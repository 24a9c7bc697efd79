"""The child process: killed and replaced, one document lost and no other; answers in order; hostile HTML and PDF contained."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from tests.examples import some
from tests.extract import pdfs
from tests.extract.hostile import shared_html

from gristmill.core.errors import SourceError
from gristmill.extract import Document, ExtractOptions, Extractor
from gristmill.extract import extractor as extractor_module

SLOW = b"<p " + b" ".join(b"a%d='<>'" % i for i in range(100_000)) + b">x</p>"  # about 25 s of resiliparse


def page(n: int) -> bytes:
    return b"<p>This is the page with the number %d, and it has a sentence.</p>" % n


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def child_of(extractor: Extractor) -> psutil.Process:
    """Give the extractor's own process: other tests may have left servers of theirs running beside it."""
    return psutil.Process(extractor._child._process.pid)


def run(documents: int, killers: int, cpu_s: float) -> tuple[list[int], float]:
    """Extract so many documents, some of them killers, evenly spread; give the places of those refused, and the seconds."""
    places = {round((i + 0.5) * documents / killers) for i in range(killers)}
    start = time.monotonic()
    with Extractor(ExtractOptions(cpu_s=cpu_s, extractor="resiliparse")) as extractor:
        results = list(
            extractor.extract_many(Document("html", SLOW if n in places else page(n)) for n in range(documents))
        )
    refused = [n for n, result in enumerate(results) if result.code]
    assert {results[n].code for n in refused} <= {"extract.timeout"}
    assert set(refused) == places
    assert all(f"number {n}," in result.text for n, result in enumerate(results) if n not in places)
    return refused, time.monotonic() - start


def test_ten_killers_among_a_thousand_documents_cost_ten_documents_and_no_order():
    refused, _ = run(1000, 10, cpu_s=0.3)
    assert len(refused) == 10


HOSTILE_HTML = list(shared_html())


@pytest.mark.slice
@pytest.mark.parametrize("name", some(HOSTILE_HTML, len(HOSTILE_HTML) // 6))
def test_hostile_html_is_contained(name):
    make, codes = shared_html()[name]
    options = ExtractOptions(cpu_s=1.5, max_memory_mb=512)
    with Extractor(options) as extractor:
        before = time.monotonic()
        result = extractor.extract("html", make())
        assert result.code in codes | {"extract.timeout"}, (
            result.code,
            result.detail,
        )  # a slow machine runs out of time
        assert time.monotonic() - before < 30
        assert extractor.extract("html", page(1)).code == ""  # the next one is untouched


HOSTILE_PDF = {
    "empty": (b"", {"type.mismatch"}),
    "HTML": (b"<html>", {"type.mismatch"}),
    "mark only": (b"%PDF-1.7\n%%EOF", {"pdf.corrupt"}),
    "locked": (pdfs.locked(), {"pdf.locked"}),
    "scan": (pdfs.scan(3), {"pdf.scan"}),
    "private use": (pdfs.private_use(), {"pdf.mojibake"}),
    "page tree loop": (pdfs.page_tree_loop(), {"", "pdf.corrupt"}),
    "page tree bomb": (pdfs.page_tree_bomb(), {"size.cap", "pdf.corrupt", "extract.timeout"}),
    "too many pages": (pdfs.many_pages(10_000), {"size.cap"}),
    "form loop": (pdfs.form_loop(), {"", "extract.crash", "extract.timeout"}),
    "form bomb": (pdfs.form_bomb(), {"", "extract.timeout", "extract.crash", "extract.memory"}),
    "stream bomb": (
        partial(pdfs.stream_bomb, 600),
        {"extract.timeout", "extract.crash", "extract.memory", "pdf.corrupt", ""},
    ),
    "reference loop": (pdfs.reference_loop(), {"pdf.no_text", "pdf.corrupt"}),
    "deep arrays": (pdfs.deep_arrays(100_000), {"", "pdf.corrupt", "extract.crash"}),
}


@pytest.mark.slice
@pytest.mark.parametrize("name", some(list(HOSTILE_PDF), len(HOSTILE_PDF) // 2))
def test_hostile_pdf_is_contained(name):
    made, codes = HOSTILE_PDF[name]
    data = made() if callable(made) else made  # what takes seconds to make is not made by whoever looks for tests
    with Extractor(ExtractOptions(cpu_s=1, max_memory_mb=512)) as extractor:
        before = time.monotonic()
        result = extractor.extract("pdf", data)
        assert result.code in codes, (result.code, result.detail)
        assert time.monotonic() - before < 30
        assert extractor.extract("pdf", pdfs.plain(("Good page",))).text == "Good page"


def test_pdf_cut_anywhere_is_refused_or_whole():
    data = pdfs.plain(("One",), ("Two",), ("Three",))
    with Extractor() as extractor:
        whole = extractor.extract("pdf", data).text
        assert whole == "One\n\nTwo\n\nThree"
        results = extractor.extract_many(Document("pdf", data[:end]) for end in range(0, len(data), 37))
        codes = {result.code if result.text != whole else "whole" for result in results}
    assert codes <= {"file.truncated", "type.mismatch", "pdf.corrupt", "whole"}


def test_child_killed_from_outside_is_replaced_and_its_document_tried_again():
    with Extractor() as extractor:
        assert extractor.extract("html", page(1)).text
        pid = child_of(extractor).pid
        os.kill(pid, signal.SIGKILL)
        result = extractor.extract("html", page(2))
        assert (result.code, "number 2," in result.text) == ("", True)


def test_child_that_is_stopped_is_given_up(monkeypatch):
    monkeypatch.setattr(extractor_module, "_GRACE_S", 0.2)
    with Extractor(ExtractOptions(wall_s=3, extractor="resiliparse")) as extractor:
        assert extractor.extract("html", page(1)).text
        pid = child_of(extractor).pid
        os.kill(pid, signal.SIGSTOP)
        result = extractor.extract("html", page(2))
        assert result.code == "extract.timeout"
        assert extractor.extract("html", page(3)).text


def test_memory_limit_refuses_one_document_with_a_code():
    swelling = b"".join(b"<font a=%d>x<p>" % i for i in range(1990))
    with Extractor(ExtractOptions(max_memory_mb=256, cpu_s=60)) as extractor:
        assert extractor.extract("html", swelling).code in {"extract.memory", "extract.crash"}
        assert extractor.extract("html", page(1)).code == ""


def test_abandoned_batch_does_not_answer_for_the_next_document():
    with Extractor() as extractor:
        batch = extractor.extract_many(Document("html", page(n)) for n in range(100))
        assert "number 0," in next(batch).text
        with pytest.raises(RuntimeError, match="in use"):
            extractor.extract("html", page(5))
        batch.close()
        assert "number 7," in extractor.extract("html", page(7)).text


def test_documents_larger_than_the_pipe_both_ways_do_not_block():
    big = b"<p>" + b"A sentence of words that is repeated very often. " * 20_000 + b"</p>"
    with Extractor(ExtractOptions(extractor="resiliparse")) as extractor:
        results = list(extractor.extract_many(Document("html", big) for _ in range(12)))
    assert [len(result.text) for result in results] == [len(results[0].text)] * 12
    assert len(results[0].text) > 900_000


def test_nothing_is_started_before_the_first_document_and_nothing_is_left_after_the_last():
    before = children()
    with Extractor() as extractor:
        assert children() == before
        extractor.extract("html", page(1))
        (pid,) = children() - before
    assert children() == before
    assert not psutil.pid_exists(pid)


def test_child_ends_when_its_parent_is_gone(tmp_path):
    extractor = Extractor()
    extractor.extract("html", page(1))
    child = child_of(extractor)
    extractor._child._process.stdin.close()  # as the kernel does for a dead parent
    assert child.wait(5) is not None or not child.is_running()
    extractor.close()


def test_child_sees_no_secret_of_the_environment(monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    with Extractor() as extractor:
        extractor.extract("html", page(1))
        child = child_of(extractor)
        assert b"hunter2" not in Path(f"/proc/{child.pid}/environ").read_bytes()


def test_child_that_cannot_start_is_a_source_error(monkeypatch):
    monkeypatch.setattr(extractor_module, "_MAIN", "raise SystemExit(5)")
    with Extractor() as extractor, pytest.raises(SourceError, match=r"cannot start .*exit code 5"):
        extractor.extract("html", page(1))


def test_results_do_not_depend_on_what_went_before():
    pages = [
        page(n) + b"<p>The same paragraph stands on every one of these pages, word for word.</p>" * 3 for n in range(30)
    ]
    texts = []
    for order in (range(30), reversed(range(30))):
        with Extractor(ExtractOptions(extractor="trafilatura")) as extractor:
            numbers = list(order)
            results = extractor.extract_many(Document("html", pages[n]) for n in numbers)
            texts.append({n: result.text for n, result in zip(numbers, results, strict=True)})
    assert texts[0] == texts[1]
    assert all("The same paragraph" in text for text in texts[0].values())

"""HTML and PDF through the `files` source: told by content, one record a file, refused by code, every byte counted."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from tests.examples import some
from tests.extract import pdfs

import gristmill
from gristmill.config import load
from gristmill.core.errors import MissingExtra
from gristmill.core.source import PlanContext
from gristmill.sources import files as files_module
from gristmill.sources.files import Files
from gristmill.sources.formats.detect import detect
from gristmill.testing import laws

ROOT = Path(__file__).resolve().parents[2]
LONG = "A paragraph of the article, with enough words in it to be taken for text and nothing else by anybody. " * 6
PAGE = f"""<!DOCTYPE html><html lang=de><head><title>Titel</title><meta charset=utf-8>
<link rel=canonical href="https://example.org/seite"><link rel=license href="https://creativecommons.org/licenses/by/4.0/">
<meta property="article:published_time" content="2024-05-06T07:08:09+02:00"><meta name=robots content=noai></head>
<body><nav><a href=/>Start</a></nav><article><p>Grüße. {LONG}</p></article></body></html>""".encode()


def test_html_file_is_one_record_with_what_it_says_of_itself(read):
    out = read({"a/page.html": PAGE})
    (row,) = out.rows
    assert row["text"] == f"Grüße. {LONG.strip()}"
    assert (row["key"], row["origin"], row["url"]) == (
        None,
        "a/page.html#0" if "/" in row["origin"] else row["origin"],
        "https://example.org/seite",
    )
    assert row["origin"].endswith("page.html#0")
    assert (row["lang"], row["license"]) == ("de", "https://creativecommons.org/licenses/by/4.0/")
    assert row["time"].isoformat() == "2024-05-06T05:08:09+00:00"
    meta = json.loads(row["meta"])
    assert (meta["title"], meta["robots"], meta["charset"]) == ("Titel", "noai", "utf-8")
    assert meta["extractor"].startswith("resiliparse ")
    assert list(out.bytes_in.values()) == [len(PAGE)]
    assert not out.warnings


def test_pdf_file_is_one_record_with_pages_parted(read):
    data = pdfs.plain(
        ("One line", "and another"),
        ("Two",),
        info=b"/Title (A title) /Author (Ann) /CreationDate (D:20240506070809+02'00')",
    )
    out = read({"a.pdf": data})
    (row,) = out.rows
    assert row["text"] == "One line\nand another\n\nTwo"
    assert row["time"].isoformat() == "2024-05-06T05:08:09+00:00"
    meta = json.loads(row["meta"])
    assert (meta["title"], meta["author"], meta["pages"]) == ("A title", "Ann", 2)
    assert list(out.bytes_in.values()) == [len(data)]


def test_content_and_not_the_name_tells_the_format(read):
    out = read({
        "html.dat": PAGE, "pdf.dat": pdfs.plain(("Text",)), "gz.html.gz": gzip.compress(PAGE, mtime=0), "wide.html": PAGE.decode().encode("utf-16"),
        "lied.json": PAGE, "notes.md": b"<h1>Markdown</h1>\n", "fragment.htm": b"<p>A piece of a page, which has no head and no body.</p>",
    })  # fmt: skip
    texts = {row["origin"].removesuffix("#0"): row["text"] for row in out.rows}
    assert sorted(texts) == ["fragment.htm", "gz.html.gz", "html.dat", "lied.json", "notes.md", "pdf.dat", "wide.html"]
    assert texts["notes.md"] == "<h1>Markdown</h1>\n"
    assert texts["wide.html"] == texts["html.dat"] == texts["gz.html.gz"] == texts["lied.json"]
    assert out.warnings == {"file.extension": 1}


BAD = {
    "deep.html": (b"<html>" + b"<div>" * 3000, "html.too_deep"),
    "shell.html": (b"<html><body><div id=app></div><script src=a.js></script>", "web.shell"),
    "nothing.html": (b"<html><body><img src=a.png></body></html>", "html.no_text"),
    "json.html": (b'{"not": "html"}', "type.mismatch"),
    "big.html": (b"<html>" + b"<p>words</p>" * 20_000, "size.cap"),
    "locked.pdf": (pdfs.locked(), "pdf.locked"),
    "scan.pdf": (pdfs.scan(2), "pdf.scan"),
    "cut.pdf": (pdfs.plain(("Text",) * 40)[:900], "file.truncated"),
    "fonts.pdf": (pdfs.private_use(), "pdf.mojibake"),
    "hang.html": (b"<html><p " + b" ".join(b"a%d='<>'" % i for i in range(18_000)) + b">x</p>", "extract.timeout"),
}


def test_bad_files_are_rejects_among_good_ones(read):
    good = {f"{n:02}.html": PAGE for n in range(20)}
    options = {"max_bytes": 200_000 + 20_000, "cpu_s": 0.35, "extractor": "resiliparse"}
    out = read(
        good | {name: data for name, (data, _) in BAD.items() if name != "json.html"}, extract=options_of(options)
    )
    assert dict(out.rejects) == {code: f"{name}#0" for name, (_, code) in BAD.items() if name != "json.html"}
    assert len(out.rows) == 20
    assert out.failed == {}
    assert out.bytes_in == Counter(
        {name: len(data) for name, data in (good | {n: d for n, (d, _) in BAD.items() if n != "json.html"}).items()}
    )


def options_of(values):
    from gristmill.extract import ExtractOptions

    return ExtractOptions(**values)


def test_json_given_as_html_is_refused_by_its_content(read):
    assert read({"json.html": BAD["json.html"][0]}, format="html").rejects == [("type.mismatch", "json.html#0")]


def test_empty_page_is_a_warning_and_no_record(read):
    out = read({"a.html": b"<html><body> </body></html>"})
    assert (out.rows, out.rejects, dict(out.warnings)) == ([], [], {"html.empty": 1})


def test_reading_twice_in_any_packing_gives_the_same(read, tmp_path):
    files = {f"{n}.html": PAGE.replace(b"Titel", b"Titel %d" % n) for n in range(9)}
    first = read(files)
    again = read({}, split_bytes=1)
    assert first.rows == again.rows
    assert len(again.plan.splits) == 9


def test_fields_cannot_be_mapped():
    for kind in ("html", "pdf"):
        with pytest.raises(ValueError, match=f"{kind} files have no fields"):
            Files(path="x", format=kind, id="id")


def test_missing_extra_is_said_with_the_command(tmp_path, monkeypatch):
    (tmp_path / "a.html").write_bytes(PAGE)
    monkeypatch.setattr(files_module, "needs", lambda kind: f'{kind} needs it; pip install "gristmill[web]"')
    for kind in ("html", "auto"):
        with pytest.raises(MissingExtra, match=re.escape('pip install "gristmill[web]"')):
            Files(path="*.html", format=kind).plan(None, PlanContext(tmp_path))
    assert "gristmill[web]" in Files(path="*.html", format="html").check(tmp_path)[0]


@pytest.mark.parametrize(
    ("head", "name", "told"),
    [
        (b"\xef\xbb\xbf  <!-- c --><!DOCTYPE HTML PUBLIC>", "x", ("html", False)),
        (b"<?xml version='1.0'?>\n<html xmlns='x'>", "x.jsonl", ("html", True)),
        (b"<p>fragment", "x.html.gz", ("html", False)),
        (b"plain words", "x.html", ("html", False)),
        (b"<p>fragment", "x", ("text", False)),
        (b"<html>", "x.md", ("text", False)),
        (b"<html>", "x.csv", ("csv", False)),
        (b"%PDF-1.4", "x.txt", ("pdf", True)),
        (b"%PDF-1.4", "x.pdf", ("pdf", False)),
    ],
)
def test_format_is_told(head, name, told):
    assert detect(head, name) == told


@pytest.mark.parametrize("name", ["html", "pdf"])
def test_example_and_page_hold_the_same_source_and_load(name, tmp_path):
    example = ROOT / "examples" / "sources" / name / "gristmill.yml"
    page = (ROOT / "docs" / "sources" / f"{name}.md").read_text("utf-8")
    shown = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]
    (tmp_path / "gristmill.yml").write_text(shown)
    (from_page,), (from_example,) = (load.load(path).sources for path in (tmp_path / "gristmill.yml", example))
    assert from_page == from_example


@pytest.mark.slice
@pytest.mark.parametrize("workers", some([1, 2], 1))
def test_pipeline_over_pages_and_papers_balances(tmp_path, workers):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(6):
        (folder / f"{n}.html").write_bytes(PAGE.replace("Grüße".encode(), b"Page %d" % n))
        (folder / f"{n}.pdf").write_bytes(pdfs.plain((f"Paper number {n}",)))
    for name in ("deep.html", "shell.html", "locked.pdf", "scan.pdf"):
        (folder / name).write_bytes(BAD[name][0])
    (tmp_path / "gristmill.yml").write_text(
        "version: 1\ndataset: ./corpus\nsources:\n  - name: mixed\n    files: {path: 'in/*', split_bytes: 4000}\n"
        f"gate: {{max_quarantined_ratio: 0.5}}\nrun: {{workers: {workers}}}\n"
    )
    pipeline = gristmill.Pipeline.from_file(tmp_path / "gristmill.yml")
    counts = pipeline.run().counts
    assert (counts.read, counts.published) == (16, 12)
    assert counts.quarantined == {"html.too_deep": 1, "web.shell": 1, "pdf.locked": 1, "pdf.scan": 1}
    laws.assert_laws(tmp_path / "corpus", [])
    assert pipeline.run().status == "nothing_new"

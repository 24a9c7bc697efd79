"""The page that says what is shown by which test is true: every test it names is there, every code is one, no row is bare."""

import re
from pathlib import Path

import pytest
from tests.shown import TEST, missing, rows
from tests.test_docs import codes_of_the_source

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "sources" / "coverage.md").read_text("utf-8")
TABLES = {title: rows(TEXT, title) for title in ("Bad inputs", "Promises")}
CASES = [cells for table in TABLES.values() for cells in table]


@pytest.mark.parametrize("cells", CASES, ids=[cells[0][:60] for cells in CASES])
def test_a_row_names_tests_that_are_there(cells):
    assert TEST.findall(cells[-1])
    assert missing(cells[-1]) == []


def test_codes_are_those_of_the_source():
    told = {code for cells in CASES for code in re.findall(r"`([a-z]+\.[a-z_]+)`", " ".join(cells[:-1]))}
    assert len(told) > 60
    pages = [page for page in (ROOT / "docs" / "sources").glob("*.md") if page.name != "coverage.md"]
    put_together = {code for page in pages for code in re.findall(r"`([a-z]+\.[a-z_]+)`", page.read_text("utf-8"))}
    assert sorted(told - codes_of_the_source() - put_together) == []


def test_all_kinds_have_their_rows():
    groups = re.findall(r"^\| \*\*([^*]+)\*\*", TEXT, re.MULTILINE)
    wanted = [
        "any file or object",
        "any text",
        "compressed files",
        "archives",
        "JSON lines",
        "JSON",
        "CSV",
        "Parquet",
        "pages",
        "WARC",
    ]
    assert groups == [*wanted, "PDF", "SQL", "API", "web", "dlt", "listings"]


def test_commands_are_modules_that_run():
    for module in re.findall(r"`python -m ([\w.]+)", TEXT):
        path = ROOT / module.replace(".", "/")
        path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert '__name__ == "__main__"' in path.read_text("utf-8"), module

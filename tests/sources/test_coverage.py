"""The page that says what is shown by which test is true: every test it names is there, every code is one, no row is bare."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from tests.test_docs import codes_of_the_source

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "sources" / "coverage.md").read_text("utf-8")
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows(title):
    """Give the cells of each row of the table under a heading, those that name a group left out."""
    part = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    found = [re.split(r"\s*\|\s*", line.strip().strip("|").strip()) for line in part.splitlines() if line[:1] == "|"][
        2:
    ]
    return [cells for cells in found if not cells[0].startswith("**")]


TABLES = {title: rows(title) for title in ("Bad inputs", "Faults of the network and of databases", "Promises")}
CASES = [cells for table in TABLES.values() for cells in table]


@cache
def functions_of(path):
    tree = ast.parse((ROOT / "tests" / path).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("cells", CASES, ids=[cells[0][:60] for cells in CASES])
def test_a_row_names_tests_that_are_there(cells):
    named = TEST.findall(cells[-1])
    assert named
    assert cells[-1].count("::") == len(named)
    for path, name in named:
        assert (ROOT / "tests" / path).is_file(), path
        assert name in functions_of(path), f"{path} has no {name}"


def test_codes_are_those_of_the_source():
    told = {code for cells in CASES for code in re.findall(r"`([a-z]+\.[a-z_]+)`", " ".join(cells[:-1]))}
    assert len(told) > 60
    pages = [page for page in (ROOT / "docs" / "sources").glob("*.md") if page.name != "coverage.md"]
    put_together = {code for page in pages for code in re.findall(r"`([a-z]+\.[a-z_]+)`", page.read_text("utf-8"))}
    assert sorted(told - codes_of_the_source() - put_together) == []


def test_all_kinds_and_all_faults_have_their_rows():
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
    faults = [cells[0] for cells in TABLES["Faults of the network and of databases"]]
    assert faults == [f"H{n}" for n in range(1, 11)] + [f"B{n}" for n in range(1, 7)]


def test_commands_are_modules_that_run():
    for module in re.findall(r"`python -m ([\w.]+)", TEXT):
        path = ROOT / module.replace(".", "/")
        path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert '__name__ == "__main__"' in path.read_text("utf-8"), module

"""The page of failures is true: each has one row, in order, and the tests it names are there; what is not there yet is said to be planned."""

import re
from pathlib import Path

import pytest
from tests.shown import TEST, missing, rows
from tests.test_docs import SUFFIXES, codes_of_the_source, told_of_sources

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "failures.md").read_text("utf-8")
GROUPS = {
    "Processes": ("P", 13),
    "Storage": ("S", 11),
    "Records and files": ("D", 12),
    "Network": ("H", 10),
    "Databases": ("B", 6),
    "Time and surroundings": ("T", 6),
    "Security": ("SEC", 24),
}
TABLES = {title: rows(TEXT, title) for title in GROUPS}
CASES = [cells for table in TABLES.values() for cells in table]


def test_each_failure_has_one_row_in_its_place():
    told = {title: [cells[0] for cells in table] for title, table in TABLES.items()}
    assert told == {title: [f"{name}{n + 1}" for n in range(many)] for title, (name, many) in GROUPS.items()}
    assert re.findall(r"^## (.+)$", TEXT, re.MULTILINE) == [*GROUPS, "Run after run"]


@pytest.mark.parametrize("cells", CASES, ids=[cells[0] for cells in CASES])
def test_a_row_names_tests_that_are_there_or_says_that_it_is_planned(cells):
    _, failure, happens, shown = cells
    assert failure
    assert happens
    assert TEST.findall(shown) or "*(planned)*" in happens
    assert missing(shown) == []


def test_what_stands_below_the_tables_is_there_too():
    assert missing(TEXT) == []


def test_codes_are_those_of_the_source():
    told = {code for cells in CASES for code in re.findall(r"`([a-z]+\.[a-z_]+)`", cells[2])}
    told = {code for code in told if code.split(".")[1] not in SUFFIXES}
    settings = {"run.step_timeout_s", "retention.grace"}
    assert len(told) > 15
    assert sorted(told - codes_of_the_source() - told_of_sources() - settings) == []


def test_a_row_that_is_not_so_is_seen():
    assert missing("`test_failures.py::test_codes_are_those_of_the_source`") == []
    assert missing("`test_failures.py::test_of_nothing` -- `nowhere.py::test_x`") == [
        "test_failures.py::test_of_nothing",
        "nowhere.py::test_x",
    ]
    assert len(missing("test_failures.py::test_codes_are_those_of_the_source")) == 1

"""The list of reachable sources says what is so: every line loads, every test it names is there, every claim of a test is in one."""

import re
from pathlib import Path

import msgspec
import pytest
from ruamel.yaml import YAML

from gristmill.core.find import find
from gristmill.core.references import resolve_tree

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "sources" / "index.md"
TEXT = PAGE.read_text("utf-8")
SQL = re.search(r"`(sql: \{.*\})`\.", TEXT)[1]


def rows():
    """Give (place, line, tested) of every row of the tables."""
    found = []
    for line in TEXT.splitlines():
        cells = re.split(r"\s*\|\s*", line.strip().strip("|").strip())
        if line.startswith("|") and cells[0] not in {"place", "---"}:
            assert len(cells) == 4, line
            found.append((cells[0], cells[2].strip("`"), cells[3]))
    return found


ROWS = rows()


def test_there_are_fifty_and_more_places():
    places = [place for place, _, _ in ROWS]
    assert len(places) == len(set(places)) >= 50


@pytest.mark.parametrize(("place", "line"), [row[:2] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_line_loads(place, line, tmp_path, monkeypatch):
    if line.startswith("see "):
        return  # the page it leads to has a config, which loads (tests/test_docs.py)
    if "://" in line.partition(" ")[0]:  # a DSN: all databases share a line
        monkeypatch.setenv("DSN", line)
        line = SQL
    for name in re.findall(r"\$\{env:(\w+)\}", line):
        if name != "DSN" or line != SQL:
            monkeypatch.setenv(name, "postgresql://user@host/db" if name == "DSN" else "a-secret")
    ((part, parameters),) = YAML(typ="safe").load(line).items()
    given, _, _ = resolve_tree(parameters, tmp_path)
    msgspec.convert(given, find("sources", part, tmp_path))


@pytest.mark.parametrize(("place", "tested"), [(row[0], row[2]) for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_is_called_tested_names_its_test(place, tested):
    if tested == "no":
        return
    target = re.fullmatch(r"\[[\w -]+\]\(([^)]+)\)", tested)
    assert target, f"{place}: say no, or link to the test"
    assert (PAGE.parent / target[1]).is_file()

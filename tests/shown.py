"""Pages that say which test shows what: the rows of their tables, and whether the tests they name are there.

A page names a test as `file.py::test_name`, by its path below `tests/`. Not here: what a page must hold (the test of that page).
"""

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parent
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows(text, title):
    """Give the cells of each row of the table under a heading, those that name a group left out."""
    part = text.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line[:1] == "|"][2:]
    found = [re.split(r"\s*\|\s*", line.strip().strip("|").strip()) for line in lines]
    return [cells for cells in found if not cells[0].startswith("**")]


def missing(cell):
    """Give what a cell names as a test that is none."""
    named = TEST.findall(cell)
    odd = [] if cell.count("::") == len(named) else ["a test that is not written as `file.py::test_name`"]
    return odd + [f"{path}::{name}" for path, name in named if name not in _functions_of(path)]


@cache
def _functions_of(path):
    if not (TESTS / path).is_file():
        return set()
    tree = ast.parse((TESTS / path).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}

"""What becomes of a module that is broken in one place; `make soak` breaks those by which a snapshot is committed."""

from __future__ import annotations

import ast

from tests.mutants.__main__ import ROOT, TESTS
from tests.mutants.write import mutants

SOURCE = '''
LIMIT: int = 3

def commit(a: int, path: str = "x") -> int | None:
    """Words: 1 + 1."""
    sync(path)
    try:
        if a < LIMIT and not path:
            raise ValueError
    except OSError:
        return a + 1
'''


def test_each_place_that_does_something_is_broken_and_no_other() -> None:
    assert [(each.line, each.what) for each in mutants(SOURCE)] == [
        (6, "left out"),
        (8, "not"),
        (8, "Or"),
        (8, "LtE"),
        (8, "GtE"),
        (8, "without"),
        (9, "left out"),
        (10, "catches nothing"),
        (11, "Sub"),
        (11, "2"),
    ]


def test_a_mutant_is_another_program_that_can_be_compiled() -> None:
    source = (ROOT / "src/gristmill/store/deltalog.py").read_text("utf-8")
    trees = [ast.dump(ast.parse(each.source)) for each in mutants(source)]
    assert len(trees) > 30
    assert ast.dump(ast.parse(source)) not in trees
    assert len(trees) == len(set(trees))


def test_the_tests_that_judge_a_module_are_there() -> None:
    judged = {
        module: [(ROOT / f"tests/{test}.py").exists() for test in tests.split()] for module, tests in TESTS.items()
    }
    assert all(all(there) for there in judged.values()), judged

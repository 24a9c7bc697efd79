"""Every fuzz target holds for its seeds, for a few hundred changed ones, and for all that fuzzing ever found."""

import importlib
from pathlib import Path

import pytest
from tests.examples import some
from tests.fuzz import blind
from tests.fuzz.__main__ import TARGETS
from tests.fuzz.reading import clean

FOUND = sorted((Path(__file__).parent / "found").glob("*"))
SLOW = {"pdf": 5, "html": 30}  # each costs milliseconds


@pytest.fixture(scope="module", autouse=True)
def _cleaned():
    yield
    clean()


@pytest.mark.slice
@pytest.mark.parametrize("name", some(list(TARGETS), 6))
def test_a_target_holds_for_changed_seeds(name):
    target = importlib.import_module(f"tests.fuzz.{name}")
    for data in blind.cases(target, SLOW.get(name, 60), 1):
        target.one(data)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found_once_holds(path):
    importlib.import_module(f"tests.fuzz.{path.name.partition('-')[0]}").one(path.read_bytes())


def test_there_is_a_target_for_every_reader():
    readers = {"jsonl", "json", "csv", "text", "compressed", "parquet", "warc", "html", "charset", "pdf", "encodings"}
    assert readers | {"config", "cells", "rest", "dataset", "s3keys", "web"} == set(TARGETS)

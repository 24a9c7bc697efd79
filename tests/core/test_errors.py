"""Errors that cross from one process to another are what they were."""

import pickle
import signal

import pytest

from gristmill.core import errors
from gristmill.core.errors import ConfigError, GristmillError, Stopped, UnitFailed


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("one", "two"),
        Stopped(signal.SIGTERM),
        UnitFailed("a.jsonl", "file.truncated", "cut", advance=False),
        UnitFailed("a.jsonl", "file.corrupt", "odd"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_with_fields_keeps_them(error):
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert (str(there), vars(there), there.exit_code) == (str(error), vars(error), error.exit_code)


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, GristmillError) and kind is not UnitFailed
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_other_error_keeps_its_words_and_its_exit_code(kind):
    error = kind("what was found, and what to do")
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is kind
    assert (str(there), there.exit_code) == (str(error), error.exit_code)

"""filter.length and require: limits on characters and words, columns that must not be null."""

import msgspec
import pytest
from tests.steps.batches import batch_of

from gristmill.steps.filter.length import Length
from gristmill.steps.require import Require

TEXTS = ["", "éé", "one two three", "漢字", "a b c d e f", "x" * 50]


@pytest.mark.parametrize(
    ("parameters", "reasons"),
    [
        ({"min_chars": 2}, ["too_short", None, None, None, None, None]),
        ({"max_chars": 2}, [None, None, "too_long", None, "too_long", "too_long"]),
        ({"min_words": 1}, ["too_few_words", None, None, None, None, None]),
        ({"max_words": 3}, [None, None, None, None, "too_many_words", None]),
        (
            {"min_chars": 2, "max_chars": 13, "min_words": 2},
            ["too_short", "too_few_words", None, "too_few_words", None, "too_long"],
        ),
    ],
)
def test_length(parameters, reasons):
    """A text at a limit is kept; the first limit that is broken is the reason."""
    assert Length(**parameters).judge(batch_of(TEXTS)).to_pylist() == reasons


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "no limit is set; set at least one of min_chars"),
        ({"min_chars": 9, "max_chars": 8}, "min_chars 9 is above max_chars 8"),
        ({"min_words": 2, "max_words": 1}, "min_words 2 is above max_words 1"),
    ],
)
def test_length_without_sense(parameters, words):
    """No limit at all, or limits that nothing passes, are refused with both numbers."""
    with pytest.raises(ValueError, match=words):
        Length(**parameters)


def test_negative_limits_are_refused():
    """A bound stands in the field's type."""
    for cls in (Length, Require):
        with pytest.raises(msgspec.ValidationError, match=">= 0"):
            msgspec.convert({"min_chars": -1}, cls)


def test_signals_are_measured_once():
    """Two filters on one batch share the signals, which stay on the batch."""
    batch = batch_of(TEXTS)
    Length(min_chars=1).judge(batch)
    measured = batch.signals["chars"]
    Length(min_words=1).judge(batch)
    Require(max_chars=7).judge(batch)
    assert batch.signals["chars"] is measured
    assert measured.tolist() == [len(t) for t in TEXTS]
    assert batch.signals["words"].tolist() == [len(t.split()) for t in TEXTS]


def test_require_nothing_keeps_all():
    """Without a parameter nothing is dropped and nothing is measured."""
    batch = batch_of(TEXTS)
    assert Require().judge(batch).to_pylist() == [None] * len(TEXTS)
    assert batch.signals == {}


def test_require_names_the_rule():
    """The reason is the rule's name, and the first that fails in their order."""
    batch = batch_of(TEXTS, url=["u", None, "u", None, "u", "u"], meta=[None, None, "{}", "{}", "{}", "{}"])
    step = Require(min_chars=2, max_chars=40, max_words=5, not_null=["url", "meta"])
    assert step.judge(batch).to_pylist() == [
        "min_chars",
        "not_null_url",
        None,
        "not_null_url",
        "max_words",
        "max_chars",
    ]


def test_require_unknown_column():
    """A column that there is not, or that is never null, is refused with the near miss."""
    with pytest.raises(
        ValueError, match=r"'urll' is no column that may be null; did you mean 'url'\? allowed: origin, url"
    ):
        Require(not_null=["urll"])
    with pytest.raises(ValueError, match="'text' is no column that may be null"):
        Require(not_null=["text"])
    with pytest.raises(ValueError, match="min_words 5 is above max_words 4"):
        Require(min_words=5, max_words=4)

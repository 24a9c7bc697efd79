"""What a tombstone says, whatever a source's columns or fields are made of."""

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from gristmill.core.tombstones import is_gone

THERE = [None, False, 0, 0.0, Decimal("0.00"), "", "  ", "0", "0.0", "False", "f", "NO", "n", "off", "null", "None"]
THERE += ["0000-00-00", "0000-00-00 00:00:00", b"", b"\0", b"no"]
GONE = [True, 1, -1, 2.5, Decimal(1), 1767225600, "1", "1.0", "-3", "1767225600", " True ", "t", "yes", "Y", "on"]
GONE += ["2026-01-05", "2026-01-05 03:04:05", "2026-01-05T03:04:05.5Z", "2026-01-05T03:04:05+02:00", b"\1", b"true"]
GONE += [date(2026, 1, 5), datetime(2026, 1, 5, tzinfo=UTC), uuid.UUID(int=1)]
NEITHER = ["deleted", "active", "x", "-", "2026-13-01", float("nan"), {}, {"at": 1}, [], ["yes"], b"x", b"\2"]


@pytest.mark.parametrize("value", THERE, ids=repr)
def test_null_false_zero_and_words_for_no_leave_the_record_there(value):
    assert is_gone(value) is False


@pytest.mark.parametrize("value", GONE, ids=repr)
def test_true_other_numbers_times_and_words_for_yes_say_it_is_gone(value):
    assert is_gone(value) is True


@pytest.mark.parametrize("value", NEITHER, ids=repr)
def test_anything_else_says_neither_and_is_not_guessed_at(value):
    assert is_gone(value) is None

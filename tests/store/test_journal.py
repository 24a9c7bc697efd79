"""The journal: an entry is found whole or not at all."""

import pytest

from gristmill.store import journal
from gristmill.store.layout import Layout


@pytest.mark.parametrize(
    "left", [b"", b"\0" * 40, b'{"task": "r-1", "by', b'{"task": "a\0\0\0"}\n', b'{"task": "\xff"}\n']
)
def test_an_entry_that_a_power_loss_cut_is_taken_for_gone(tmp_path, left):
    """What was never synced may be short or hold zeros: the task is done again, and its entry is whole then."""
    layout = Layout(tmp_path / "set")
    journal.record(layout, 1, "task", {"task": "r-1"}, dict)
    layout.task(1, "task").write_bytes(left)
    assert journal.find(layout, 1, "task", dict) is None
    assert journal.record(layout, 1, "task", {"task": "r-1"}, dict) == {"task": "r-1"}
    assert journal.find(layout, 1, "task", dict) == {"task": "r-1"}

"""The conformance kit itself: a sound source keeps every law, and each law is broken by a source that is bad in its way."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.testing import conformance, source_laws
from gristmill.testing.conformance import LAWS, applies, check, check_all, name_of
from gristmill.testing.world import Can, Part
from gristmill.testing.worlds import FilesWorld

TOKEN = "tok-93b2c1d4"

# fault -> a law that sees it
FAULTS = {
    "check": "everything_is_read_once",
    "lost": "everything_is_read_once",
    "listing": "everything_is_read_once",
    "origin": "everything_is_read_once",
    "unit": "everything_is_read_once",
    "outcome": "everything_is_read_once",
    "restless": "a_second_run_of_nothing_new_changes_nothing",
    "again": "a_split_read_twice_is_the_same",
    "pages": "a_split_read_twice_is_the_same",
    "order": "splits_do_not_depend_on_each_other",
    "split.ids": "splits_do_not_depend_on_each_other",
    "plan.differs": "the_same_plan_twice",
    "side.state": "a_run_that_dies_leaves_no_trace",
    "new": "new_records_are_found",
    "late": "late_records_are_found",
    "update": "changes_are_found",
    "delete": "deletions_withdraw",
    "days": "days_of_changes_equal_one_reading",
    "resume.skips": "reading_goes_on_where_a_page_says",
    "resume.all": "reading_goes_on_where_a_page_says",
    "resume.none": "reading_goes_on_where_a_page_says",
    "window.ignored": "a_backfill_reads_its_window_and_leaves_the_cursor",
    "window.moves": "a_backfill_reads_its_window_and_leaves_the_cursor",
    "reject.silent": "what_is_no_record_is_told",
    "reject.twice": "what_is_no_record_is_told",
    "reject.quotes": "what_is_no_record_is_told",
    "guard": "losing_almost_everything_stops_the_run",
    "secret.spec": "what_is_written_down_is_plain_and_free_of_secrets",
    "secret.note": "what_is_written_down_is_plain_and_free_of_secrets",
    "secret.error": "what_is_written_down_is_plain_and_free_of_secrets",
    "plan.json": "what_is_written_down_is_plain_and_free_of_secrets",
    "fold.differs": "folding_is_pure",
    "fold.changes": "folding_is_pure",
}


class ShelfWorld:
    """The table of `shelf.py`."""

    can = Can(delete="scan", late=True, window=True, resume=True, spoil=True, wipe=True)
    secret = TOKEN

    def __init__(self, fault=""):
        self.fault = fault

    def start(self, folder):
        self.folder, self.table, self.clock, self.bad = folder, {}, 1000, []
        shutil.copy(Path(__file__).parent / "shelf.py", folder / "shelf.py")
        self._write()

    def stop(self):
        (self.folder / "shelf.json").unlink(missing_ok=True)

    def config(self):
        return {"./shelf.py": {"token": TOKEN, "fault": self.fault}}

    def rows(self):
        return {key: row["text"] for key, row in self.table.items()}

    def insert(self, key, text):
        self.clock += 10
        self._put(key, text, self.clock)

    update = insert

    def delete(self, key):
        del self.table[key]
        self._write()

    def late(self, key, text):
        self._put(key, text, self.clock - 25)

    def window(self):
        times = sorted(row["at"] for row in self.table.values())
        since, until = times[2], times[9]
        rows = {key: row["text"] for key, row in self.table.items() if since <= row["at"] < until}
        return Part(since=str(since), until=str(until), rows=rows)

    def spoil(self, mark):
        self.clock += 10
        self.bad = [{"key": "z1", "text": [mark], "at": self.clock}]
        self._write()
        return ["text.type"]

    def wipe(self):
        self.table = dict(list(self.table.items())[:3])
        self._write()

    def _put(self, key, text, at):
        self.table[key] = {"key": key, "text": text, "at": at}
        self._write()

    def _write(self):
        (self.folder / "shelf.json").write_text(json.dumps([*self.table.values(), *self.bad]))


@pytest.mark.parametrize("law", LAWS, ids=name_of)
def test_a_sound_source_keeps_every_law(law, tmp_path):
    check(law, ShelfWorld(), tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_law_sees_the_source_that_breaks_it(fault, tmp_path):
    law = next(law for law in LAWS if name_of(law) == FAULTS[fault])
    with pytest.raises(AssertionError, match=r".{15}"):
        check(law, ShelfWorld(fault), tmp_path)


def test_every_law_is_broken_by_some_source():
    assert {name_of(law) for law in LAWS} == set(FAULTS.values())


def test_every_law_that_is_written_is_checked():
    written = [
        value
        for name, value in vars(source_laws).items()
        if callable(value) and getattr(value, "__module__", "") == source_laws.__name__ and name[0] != "_"
    ]
    assert written == LAWS
    assert set(conformance.NEEDS) <= set(LAWS)
    assert set(conformance.NEEDS.values()) <= set(Can.__struct_fields__)


def test_check_all_names_what_a_source_was_held_to_and_every_law_it_breaks(tmp_path):
    held = check_all(FilesWorld, tmp_path / "good")
    assert "deletions_withdraw" in held
    assert "late_records_are_found" not in held
    with pytest.raises(AssertionError, match=r"(?s)\d+ laws are broken.*everything_is_read_once: after the first run"):
        check_all(lambda: ShelfWorld("lost"), tmp_path / "bad")


def test_a_world_is_taken_down_when_a_law_is_broken(tmp_path):
    world = ShelfWorld("lost")
    with pytest.raises(AssertionError):
        check(LAWS[0], world, tmp_path)
    assert not (tmp_path / "shelf.json").exists()


def test_what_a_world_cannot_do_is_not_asked_of_it():
    bare = Can(update=False)
    asked = {name_of(law) for law in LAWS if applies(law, bare)}
    assert asked.isdisjoint({"changes_are_found", "deletions_withdraw", "late_records_are_found"})
    assert "everything_is_read_once" in asked


def test_the_kit_needs_no_test_framework():
    code = "import sys, gristmill.testing.conformance, gristmill.testing.worlds; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

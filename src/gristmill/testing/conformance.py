"""The conformance kit: holds a source to the laws every source must keep.

The author of a source writes a `World` (`gristmill.testing.world`): what the source reads, with a way to change it, and a `Can`
that says what it can do. `check_all` checks each law in a fresh world; a test framework may take `LAWS` one by one.
Not here: the laws themselves (`source_laws`), whole pipelines (`rehearsal`), what a source does in its own kind (its own
tests). Invariants: nothing of a test framework is imported; what a world cannot do is not asked of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from gristmill.testing import source_laws as laws
from gristmill.testing.world import Can, World, must

Law: TypeAlias = Callable[[World, Path], None]
Make: TypeAlias = Callable[[], World]

LAWS: list[Law] = [
    laws.everything_is_read_once,
    laws.a_second_run_of_nothing_new_changes_nothing,
    laws.a_split_read_twice_is_the_same,
    laws.splits_do_not_depend_on_each_other,
    laws.the_same_plan_twice,
    laws.a_run_that_dies_leaves_no_trace,
    laws.new_records_are_found,
    laws.late_records_are_found,
    laws.changes_are_found,
    laws.deletions_withdraw,
    laws.days_of_changes_equal_one_reading,
    laws.reading_goes_on_where_a_page_says,
    laws.a_backfill_reads_its_window_and_leaves_the_cursor,
    laws.what_is_no_record_is_told,
    laws.losing_almost_everything_stops_the_run,
    laws.what_is_written_down_is_plain_and_free_of_secrets,
    laws.folding_is_pure,
]
# What a world must be able to do for a law to be asked of it: a field of `Can`.
NEEDS: dict[Law, str] = {
    laws.late_records_are_found: "late",
    laws.changes_are_found: "update",
    laws.deletions_withdraw: "delete",
    laws.reading_goes_on_where_a_page_says: "resume",
    laws.a_backfill_reads_its_window_and_leaves_the_cursor: "window",
    laws.what_is_no_record_is_told: "spoil",
    laws.losing_almost_everything_stops_the_run: "wipe",
}


def check_all(make: Make, folder: Path) -> list[str]:
    """Check every law in a world of its own; give the names of those that the world could be held to.

    Raises:
        AssertionError: names all broken laws.
    """
    held, broken = [], []
    for law in LAWS:
        world = make()
        if not applies(law, world.can):
            continue
        name = name_of(law)
        try:
            check(law, world, folder / name)
        except AssertionError as error:
            broken.append(f"{name}: {error}")
        held.append(name)
    must(not broken, f"{len(broken)} laws are broken\n" + "\n".join(broken))
    return held


def check(law: Law, world: World, folder: Path) -> None:
    """Check one law in a world that is started for it.

    Raises:
        AssertionError: the law is broken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world.start(folder)
    try:
        law(world, folder)
    finally:
        world.stop()


def applies(law: Law, can: Can) -> bool:
    """Tell if a world can be held to a law."""
    needs = NEEDS.get(law, "")
    return not needs or getattr(can, needs) not in {False, "no"}


def name_of(law: Law) -> str:
    """Give a law's name: `late_records_are_found`."""
    return law.__name__

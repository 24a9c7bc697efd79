"""The laws of a source: what must hold in any world it reads, one function a law.

Not here: which laws a world is held to (`conformance`), whole pipelines (`rehearsal`). Invariants: a law touches the source
through its four verbs only, by way of the small engine `mill`; a law that is broken raises an AssertionError with a sentence,
also where Python runs with -O; for every law the kit's own tests hold a small source that breaks it.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec

from gristmill.core.errors import GristmillError, SourceError
from gristmill.core.source import PAGE_SCHEMA, Page, Split, State, Window
from gristmill.testing.mill import Held, Mill, Ran, faces, take_up
from gristmill.testing.world import World, must, same, source_of

MANY = 40  # records of a law that needs several pages
SMALL = 512  # bytes a page, where a law needs several
POINTS = 12  # resume points of a split that are tried, spread over it


def _mill(world: World, folder: Path, n: int = 3, batch_bytes: int = 8 << 20) -> Mill:
    """Fill a world and give an engine for it that has read nothing yet."""
    for i in range(n):
        world.insert(f"a{i}", f"text {i} of the first day")
    return Mill(source_of(world, folder), folder, batch_bytes)


def everything_is_read_once(world: World, folder: Path) -> None:
    """A first run gives what the world holds; pages are as the contract draws them; the source finds no problem."""
    mill = _mill(world, folder)
    problems = mill.source.check(folder)
    must(problems == [], f"check finds problems in a sound world: {problems}")
    ran = mill.run()
    for split, pages in zip(ran.plan.splits, ran.pages, strict=True):
        for page in pages:
            must(page.unit in split.units, f"a page's unit {page.unit!r} is not in its split's units")
            must(page.rows.schema.equals(PAGE_SCHEMA), f"a page has the columns {page.rows.schema.names}")
            page.rows.validate(full=True)
            must(page.rows.column("text").null_count == 0, "a row has no text")
            bare = page.outcome == "ok" or page.rows.num_rows == 0
            must(bare, f"{page.unit} ends as {page.outcome} and gives rows")
            places = [*page.rows.column("origin").to_pylist(), *(reject.origin for reject in page.rejects)]
            astray = [origin for origin in places if not origin.startswith(page.unit)]
            must(not astray, f"an origin does not begin with its unit {page.unit!r}: {astray[:1]}")
        units = [page.unit for page in pages]
        must(sorted(units, key=split.units.index) == units, "pages do not come in the order of the split's units")
    listed = ran.plan.listing["unit"].to_pylist()
    must(listed == sorted(set(listed)), "the listing is not sorted by unit, each once")
    same(mill.texts, world.rows(), "after the first run")


def a_second_run_of_nothing_new_changes_nothing(world: World, folder: Path) -> None:
    """Reading on when nothing happened keeps every record, and comes to rest: the state does not change for ever."""
    mill = _mill(world, folder)
    mill.run()
    mill.run()
    before = mill.state
    mill.run()
    same(mill.texts, world.rows(), "after three runs of the same")
    if not world.can.moving:
        must(_doc(mill.state) == _doc(before), "the state's doc changes with every run, though nothing does")


def a_split_read_twice_is_the_same(world: World, folder: Path) -> None:
    """The same split gives the same rows, rejects and ends, in the same order, whatever the size of a page."""
    mill = _mill(world, folder, MANY)
    for split in mill.plan().splits:
        once, twice = mill.read(split), mill.read(split)
        must(faces(once) == faces(twice), f"split {split.id[:8]} read twice gives two things")
        mill.batch_bytes = 256
        small = mill.read(split)
        mill.batch_bytes = 8 << 20
        must(faces(once) == faces(small), f"split {split.id[:8]} gives other rows when pages are small")


def splits_do_not_depend_on_each_other(world: World, folder: Path) -> None:
    """Splits can be read in any order, by objects that know of no other, and give what they give in turn."""
    mill = _mill(world, folder, MANY)
    plan = mill.plan()
    ids = [split.id for split in plan.splits]
    must(len(set(ids)) == len(ids), "two splits of a plan have the same id")
    in_turn = {split.id: faces(mill.read(split)) for split in plan.splits}
    for split in reversed(plan.splits):
        alone = Mill(source_of(world, folder), folder)
        must(faces(alone.read(split)) == in_turn[split.id], f"split {split.id[:8]} reads otherwise out of turn")


def the_same_plan_twice(world: World, folder: Path) -> None:
    """Planning is a function of the world and the state: two plans are the same, and planning changes nothing."""
    mill = _mill(world, folder)
    for when in ("before", "after"):
        first, second = (_plan_face(mill, world) for _ in range(2))
        must(first == second, f"two plans {when} a first run differ: {_first_difference(first, second)}")
        mill.run()


def _plan_face(mill: Mill, world: World) -> dict[str, Any]:
    plan = mill.plan()
    face = {name: getattr(plan, name) for name in ("replaced", "gone", "failed", "warnings", "ceiling")}
    face |= {"listing": plan.listing.to_pylist(), "splits": [msgspec.to_builtins(split) for split in plan.splits]}
    if world.can.moving:
        face = {"units": [split.units for split in plan.splits], "gone": plan.gone, "replaced": plan.replaced}
    return face


def _first_difference(left: dict[str, Any], right: dict[str, Any]) -> str:
    return next((name for name in left if left[name] != right[name]), "")


def a_run_that_dies_leaves_no_trace(world: World, folder: Path) -> None:
    """What was read and not committed is read again from the old state, with the same records in the end, each once."""
    mill = _mill(world, folder, MANY)
    mill.batch_bytes = SMALL
    for split in mill.plan().splits:
        _some_pages(mill, split)  # the run dies here
    undisturbed = mill.run()
    must(sum(len(pages) for pages in undisturbed.pages) > 0, "a plan after a run that died reads nothing")
    same(mill.texts, world.rows(), "after a first run that died, and another")
    world.insert("b0", "of the second day")
    for split in mill.plan().splits:
        _some_pages(mill, split)
    mill.run()
    same(mill.texts, world.rows(), "after a second run that died, and another")


def _some_pages(mill: Mill, split: Split, n: int = 2) -> None:
    pages = mill.pages(split)
    for _ in range(n):
        next(pages, None)
    pages.close()


def new_records_are_found(world: World, folder: Path) -> None:
    """What is put in between two runs is there after the second, and nothing that was there is lost."""
    mill = _mill(world, folder)
    mill.run()
    for day in range(3):
        world.insert(f"b{day}", f"text of day {day}")
        mill.run()
        same(mill.texts, world.rows(), f"after the run of day {day}")


def late_records_are_found(world: World, folder: Path) -> None:
    """A record that shows up behind the cursor is found."""
    mill = _mill(world, folder)
    mill.run()
    world.late("b0", "committed late")
    world.insert("b1", "in time")
    mill.run()
    same(mill.texts, world.rows(), "after a record came late")
    world.late("b2", "committed late, alone")
    mill.run()
    same(mill.texts, world.rows(), "after a record came late, alone")


def changes_are_found(world: World, folder: Path) -> None:
    """A changed text is there after the next run, also that of the newest record, and one that changes twice."""
    mill = _mill(world, folder)
    mill.run()
    for key, text in (("a0", "changed"), ("a2", "the newest, changed"), ("a2", "the newest, changed again")):
        world.update(key, text)
        mill.run()
        same(mill.texts, world.rows(), f"after {key} was changed")
    world.update("a1", "changed for a moment")
    world.update("a1", "changed for good")
    mill.run()
    same(mill.texts, world.rows(), "after two changes between runs")


def deletions_withdraw(world: World, folder: Path) -> None:
    """What is taken away is withdrawn; put in again it is back."""
    mill = _mill(world, folder, MANY)
    mill.run()
    world.delete("a1")
    for _ in range(world.can.runs):
        mill.run()
    same(mill.texts, world.rows(), "after a record was taken away")
    world.insert("a1", "back again")
    mill.run()
    same(mill.texts, world.rows(), "after it was put back")


def days_of_changes_equal_one_reading(world: World, folder: Path) -> None:
    """After days of all a world can do, the records are those of a first run over what it holds in the end."""
    mill = _mill(world, folder, MANY)
    for day in range(4):
        mill.run()
        world.insert(f"d{day}", f"new on day {day}")
        if world.can.update:
            world.update(f"a{day}", f"changed on day {day}")
        if world.can.late:
            world.late(f"e{day}", f"late on day {day}")
        if world.can.delete != "no":
            world.delete(f"a{day + 10}")
    for _ in range(world.can.runs):
        mill.run()
    same(mill.texts, world.rows(), "after four days")
    afresh = Mill(source_of(world, folder), folder)
    afresh.run()
    same(mill.texts, afresh.texts, "four days beside one reading of all")


def reading_goes_on_where_a_page_says(world: World, folder: Path) -> None:
    """From every page's `resume`, what is left leads to the same records, note and end; and it is not all read again."""
    mill = _mill(world, folder, MANY)
    mill.batch_bytes = SMALL
    points, left = 0, 0
    for split in mill.plan().splits:
        whole = mill.read(split)
        wanted = _outcome_of(whole)
        where = [at for at, page in enumerate(whole) if page.resume is not None]
        points += len(where)
        for at in where[:: max(1, len(where) // POINTS)] + where[-1:]:
            rest = mill.read(split, whole[at].resume)
            found = _outcome_of([*whole[: at + 1], *rest])
            must(
                found == wanted, f"going on after page {at} of {len(whole)} leads to {_first_difference(found, wanted)}"
            )
            left = sum(one.rows.num_rows for one in rest)
        total = sum(page.rows.num_rows for page in whole)
        must(left < total, "going on after the last resume point reads everything again")
    must(points > 0, "no page of a split of many records has a resume point")


def _outcome_of(pages: list[Page]) -> dict[str, Any]:
    """Give what a split's pages lead to: other records, another note, another end."""
    records: dict[str, Held] = {}
    take_up(records, pages, {})
    return {
        "other records": {key: held.text for key, held in records.items()},
        "other deletions": sorted({key for page in pages for key in page.deleted}),
        "another note": {page.unit: page.note for page in pages if page.note},
        "another end": {page.unit: page.outcome for page in pages},
    }


def a_backfill_reads_its_window_and_leaves_the_cursor(world: World, folder: Path) -> None:
    """A window with both ends gives what lies in it, and the state's doc stays; what was read before stays too."""
    mill = _mill(world, folder, MANY)
    mill.run()
    part = world.window()
    must(0 < len(part.rows) < len(world.rows()), "the world's window holds nothing, or all")
    before = _doc(mill.state)
    ran = mill.run(Window(part.since, part.until))
    found: dict[str, Held] = {}
    for pages in ran.pages:
        take_up(found, pages, {})
    same({key: held.text for key, held in found.items()}, part.rows, "in the window")
    must(_doc(mill.state) == before, "a backfill moved the cursor")
    same(mill.texts, world.rows(), "after a backfill")
    world.insert("b0", "after the backfill")
    mill.run()
    same(mill.texts, world.rows(), "after a backfill and a run")


def what_is_no_record_is_told(world: World, folder: Path) -> None:
    """A piece that is no record is rejected once, with a code and a place, and its content is not quoted; the others stand."""
    mill = _mill(world, folder)
    mark = "quothnevermore"
    codes = world.spoil(mark)
    ran = mill.run()
    rejects = [reject for pages in ran.pages for page in pages for reject in page.rejects]
    told = [(reject.code, reject.origin) for reject in rejects]
    told += [(read.code or "", read.unit) for read in ran.reads if read.status == "bad" and not rejects]
    must(len(told) == 1, f"one bad piece is told {len(told)} times: {told[:5]}")
    must(told[0][0] in codes, f"it is told as {told[0][0]!r}, expected one of {codes}")
    must(bool(told[0][1]), "it has no place")
    must(not any(mark in reject.detail for reject in rejects), "the detail of a reject quotes the content")
    same(mill.texts, world.rows(), "beside a bad piece")


def losing_almost_everything_stops_the_run(world: World, folder: Path) -> None:
    """If far more is gone than can be right, planning or reading raises a SourceError, and the state stays."""
    mill = _mill(world, folder, MANY)
    mill.run()
    before = mill.texts
    world.wipe()
    try:
        mill.run()
    except SourceError:
        same(mill.texts, before, "after a run that was stopped")
        return
    must(False, f"{len(before) - len(mill.texts)} of {len(before)} records were withdrawn without a word")


def what_is_written_down_is_plain_and_free_of_secrets(world: World, folder: Path) -> None:
    """Splits, ceilings, states, notes and resume points are JSON; no secret of the config is in them, or in what is said."""
    mill = _mill(world, folder, MANY)
    mill.batch_bytes = SMALL
    told: list[Any] = [mill.source.check(folder)]
    for day in range(2):
        ran = mill.run()
        told += _written(ran, mill.state)
        world.insert(f"b{day}", "more")
    world.stop()
    for attempt in (mill.plan, mill.run):
        try:
            attempt()
        except GristmillError as error:
            told.append(str(error))
    text = json.dumps(told, ensure_ascii=False)
    must(not world.secret or world.secret not in text, "a secret of the config is in what is written down or said")


def _written(ran: Ran, state: State | None) -> list[Any]:
    """Give all that outlives a run, besides the records' texts.

    Raises:
        AssertionError: it is not JSON-able.
    """
    plan = ran.plan
    units = state.units.to_pylist() if state is not None and state.units is not None else []
    pages = [page for pages in ran.pages for page in pages]
    plain = {
        "a split": [msgspec.structs.asdict(split) for split in plan.splits],
        "the ceiling": plan.ceiling,
        "what failed": [plan.failed, plan.warnings, plan.replaced, plan.gone],
        "the state's doc": _doc(state),
        "a note": [page.note for page in pages],
        "a resume point": [page.resume for page in pages],
    }
    for what, value in plain.items():
        try:
            alike = json.loads(json.dumps(value, allow_nan=False)) == _listed(value)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{what} cannot be written as JSON: {error}") from error
        must(alike, f"{what} does not come back from JSON as it was")
    rejects = [msgspec.to_builtins(reject) for page in pages for reject in page.rejects]
    origins = [page.rows.column("origin").to_pylist() for page in pages]
    return [*plain.values(), json.loads(json.dumps(units, default=str)), plan.listing.schema.names, rejects, origins]


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def folding_is_pure(world: World, folder: Path) -> None:
    """Folding the same twice gives the same, and changes nothing it was given."""
    mill = _mill(world, folder, MANY)
    for day in range(2):
        plan = mill.plan()
        before = mill.state
        ran = mill.run()
        bare = msgspec.structs.replace(plan, splits=[])
        given = copy.deepcopy((_doc(before), bare.ceiling, [read.note for read in ran.reads]))
        once, twice = (mill.source.fold(before, bare, ran.reads, mill.seq) for _ in range(2))
        must(_state_face(once) == _state_face(twice), "two folds of the same differ")
        now = (_doc(before), bare.ceiling, [read.note for read in ran.reads])
        must(now == given, "fold changed what it was given")
        world.insert(f"b{day}", "more")


def _state_face(state: State) -> dict[str, Any]:
    return {"doc": state.doc, "units": state.units.to_pylist() if state.units is not None else None}


def _doc(state: State | None) -> dict[str, Any]:
    return state.doc if state is not None else {}

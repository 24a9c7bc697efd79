"""The `dlt` source: state in our hands, pages that can be resumed, and what dlt's resources may do wrong."""

import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("dlt", reason="the extra dlt is not installed")

from gristmill.core.errors import ConfigError, SourceError, Transient
from gristmill.core.find import find
from gristmill.core.source import PlanContext, ReadContext, State, Window
from gristmill.sources.formats import dlt_items
from gristmill.testing.mill import Mill

HEAD = "import dlt\nfrom dlt.sources import incremental\n"


def source(folder, code, name="items", **parameters):
    """Write a module of resources and give the source that reads one."""
    (folder / "feed.py").write_text(HEAD + textwrap.dedent(code))
    given = {"resource": f"./feed.py:{name}", "key": "id"} | parameters
    return msgspec.convert(given, find("sources", "dlt", folder))


ALL = Window()


def pages(made, folder, state=None, resume=None, window=ALL, batch_bytes=8 << 20):
    plan = made.plan(state, PlanContext(folder=folder, window=window))
    context = ReadContext(folder=folder, resume=resume, batch_bytes=batch_bytes)
    return list(made.read(plan.splits[0], context))


def keys(found):
    return [page.rows.column("key").to_pylist() for page in found]


def texts(folder, code, **parameters):
    mill = Mill(source(folder, code, **parameters), folder)
    mill.run()
    return mill.texts


# --- items become pages ------------------------------------------------------------------------------------------


def test_each_list_is_a_page_and_single_objects_are_gathered(tmp_path):
    made = source(
        tmp_path,
        """
        @dlt.resource
        def items():
            yield [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}]
            yield [{"id": 3, "text": "three"}]
            yield {"id": 4, "text": "four"}
            yield {"id": 5, "text": "five"}
        """,
    )
    assert keys(pages(made, tmp_path)) == [["1", "2"], ["3"], ["4", "5"]]
    assert keys(pages(made, tmp_path, batch_bytes=100)) == [["1", "2"], ["3"], ["4", "5"]]
    assert keys(pages(made, tmp_path, batch_bytes=1)) == [["1"], ["2"], ["3"], ["4"], ["5"]]


def test_tables_frames_and_batches_are_read(tmp_path):
    code = """
        import pandas, pyarrow
        @dlt.resource
        def items():
            yield pyarrow.table({"id": ["a", "b"], "text": ["one", "two"]})
            yield pyarrow.record_batch({"id": ["c"], "text": ["three"]})
            yield pandas.DataFrame({"id": ["d"], "text": ["four"]})
        """
    assert texts(tmp_path, code) == {"a": "one", "b": "two", "c": "three", "d": "four"}


def test_columns_are_mapped_and_the_rest_goes_to_meta(tmp_path):
    made = source(
        tmp_path,
        """
        import datetime, decimal
        @dlt.resource
        def items():
            yield [{"id": 1, "doc": {"body": "text", "title": "T"}, "at": datetime.date(2026, 1, 2), "link": "http://a",
                    "cost": decimal.Decimal("1.10")}]
        """,
        text="{doc.title}: {doc.body}",
        time="at",
        url="link",
    )
    row = pages(made, tmp_path)[0].rows.to_pylist()[0]
    assert (row["key"], row["text"], row["url"], row["origin"]) == ("1", "T: text", "http://a", "items#0")
    assert row["time"] == datetime(2026, 1, 2, tzinfo=UTC)
    assert json.loads(row["meta"]) == {"cost": "1.10", "doc": {}}


def test_reading_does_not_change_the_objects_of_the_resource(tmp_path):
    made = source(
        tmp_path,
        """
        ROWS = [{"id": 1, "doc": {"body": "text"}}]
        @dlt.resource
        def items():
            yield ROWS
        """,
        text="doc.body",
    )
    assert pages(made, tmp_path)[0].rows == pages(made, tmp_path)[0].rows


def test_what_is_no_record_is_rejected_with_its_number(tmp_path):
    made = source(
        tmp_path,
        """
        @dlt.resource
        def items():
            yield [{"id": 1, "text": "one"}, {"id": 2}, {"text": "no id"}, {"id": 1.5, "text": "x"}, "a string", 7]
        """,
    )
    found = pages(made, tmp_path)[0]
    assert [(r.code, r.origin) for r in found.rejects] == [
        ("field.missing", "items#1"),
        ("id.missing", "items#2"),
        ("id.invalid", "items#3"),
        ("json.not_object", "items#4"),
        ("json.not_object", "items#5"),
    ]
    assert found.rows.num_rows == 1


def test_a_tombstone_withdraws_and_a_record_that_comes_back_in_the_same_item_stays(tmp_path):
    code = """
        @dlt.resource
        def items():
            yield [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}]
            yield [{"id": 1, "gone": True}, {"id": 2, "gone": "2026-01-01"}, {"id": 1, "text": "one again", "gone": False}]
        """
    assert texts(tmp_path, code, deleted="gone") == {"1": "one again"}


def test_a_tombstone_that_says_neither_is_no_deletion_and_no_record(tmp_path):
    code = """
        @dlt.resource
        def items():
            words = ["no", 0, None, "0000-00-00", "yes", 2, "archived", {}]
            yield [{"id": n, "text": "a", "gone": word} for n, word in enumerate(words)]
        """
    found = pages(source(tmp_path, code, deleted="gone"), tmp_path)[0]
    assert (found.rows["key"].to_pylist(), found.deleted, found.present) == (
        ["0", "1", "2", "3"],
        ["4", "5"],
        ["6", "7"],
    )
    assert [(r.code, r.origin) for r in found.rejects] == [
        ("deleted.unknown", "items#6"),
        ("deleted.unknown", "items#7"),
    ]


# --- state -------------------------------------------------------------------------------------------------------

FEED = """
    import json, pathlib
    @dlt.resource(primary_key="id")
    def items(at=incremental("at", initial_value=0, row_order="asc")):
        rows = json.loads((pathlib.Path(__file__).parent / "rows.json").read_text())
        rows = [row for row in rows if row["at"] >= at.start_value]
        for start in range(0, len(rows), 2):
            yield rows[start : start + 2]
    """


def write_rows(folder, *rows):
    (folder / "rows.json").write_text(json.dumps([{"id": i, "text": text, "at": at} for i, text, at in rows]))


def test_the_next_run_goes_on_from_the_cursor_and_the_state_is_ours(tmp_path):
    write_rows(tmp_path, (1, "one", 1), (2, "two", 2), (3, "three", 3))
    mill = Mill(source(tmp_path, FEED), tmp_path)
    mill.run()
    cursor = mill.state.doc["dlt"]["resources"]["items"]["incremental"]["at"]
    assert (mill.state.doc["v"], cursor["last_value"], cursor["unique_hashes"]) == (1, 3, [])
    write_rows(tmp_path, (1, "lost", 1), (2, "lost", 2), (3, "three", 3), (4, "four", 4))
    assert keys(mill.run().pages[0]) == [["3", "4"], []]
    assert mill.texts == {"1": "one", "2": "two", "3": "three", "4": "four"}


def test_a_changed_record_with_the_same_cursor_value_is_not_lost(tmp_path):
    write_rows(tmp_path, (1, "one", 1), (2, "two", 2))
    mill = Mill(source(tmp_path, FEED), tmp_path)
    mill.run()
    write_rows(tmp_path, (1, "one", 1), (2, "two, changed", 2), (3, "beside it", 2))
    mill.run()
    assert mill.texts == {"1": "one", "2": "two, changed", "3": "beside it"}


@pytest.mark.parametrize(
    "given", ["incremental('at', primary_key='id')", "incremental('at', primary_key=('id', 'at'))"]
)
def test_nor_where_the_cursor_itself_has_a_key(tmp_path, given):
    write_rows(tmp_path, (1, "one", 1), (2, "two", 2))
    code = f"""
        import json, pathlib
        @dlt.resource(primary_key="id")
        def items(at={given}):
            yield json.loads((pathlib.Path(__file__).parent / "rows.json").read_text())
        """
    mill = Mill(source(tmp_path, code), tmp_path)
    mill.run()
    write_rows(tmp_path, (1, "one", 1), (2, "two, changed", 2))
    mill.run()
    assert mill.texts == {"1": "one", "2": "two, changed"}


def test_moving_the_module_keeps_the_cursor(tmp_path):
    write_rows(tmp_path, (1, "one", 1), (2, "two", 2))
    mill = Mill(source(tmp_path, FEED), tmp_path)
    mill.run()
    (tmp_path / "feed.py").rename(tmp_path / "moved.py")
    mill.source = msgspec.structs.replace(mill.source, resource="./moved.py:items")
    assert keys(mill.run().pages[0]) == [["2"], []]


def test_a_run_of_nothing_new_leaves_the_state_as_it_was(tmp_path):
    write_rows(tmp_path, (1, "one", 1))
    mill = Mill(source(tmp_path, FEED), tmp_path)
    mill.run()
    before = mill.state.doc
    mill.run()
    assert mill.state.doc == before
    assert mill.state.units.num_rows == 0  # no unit moves on, so the run is idle


def test_dates_decimals_and_bytes_in_the_state_come_back_as_they_were(tmp_path):
    code = """
        import datetime, decimal
        @dlt.resource
        def items():
            state = dlt.current.resource_state()
            seen = state.setdefault("seen", [datetime.date(2026, 1, 2), decimal.Decimal("1.10"), b"x", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)])
            state["runs"] = state.get("runs", 0) + 1
            yield {"id": state["runs"], "text": repr([type(one).__name__ for one in seen]) + str(seen[1])}
        """
    mill = Mill(source(tmp_path, code), tmp_path)
    mill.run()
    json.dumps(mill.state.doc)
    mill.run()
    assert mill.texts["1"] == mill.texts["2"]
    assert "'Decimal'" in mill.texts["2"]


def test_a_state_over_a_megabyte_fails(tmp_path):
    made = source(
        tmp_path,
        """
        @dlt.resource
        def items():
            dlt.current.resource_state()["seen"] = "x" * (1 << 20)
            yield [{"id": 1, "text": "one"}]
        """,
    )
    with pytest.raises(SourceError, match=r"keeps a state of \d+ bytes, over 1048576"):
        pages(made, tmp_path)


def test_a_state_of_another_format_is_refused(tmp_path):
    made = source(tmp_path, FEED)
    with pytest.raises(SourceError, match="its state has format 2; upgrade"):
        made.plan(State({"v": 2, "dlt": {}}), PlanContext(folder=tmp_path))


def test_two_sources_in_one_process_do_not_mix_their_states(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    mills = []
    for folder, at in zip(folders, (5, 9), strict=True):
        folder.mkdir()
        write_rows(folder, (1, "one", at))
        mills.append(Mill(source(folder, FEED), folder))
    reads = [mill.source.read(mill.plan().splits[0], ReadContext(folder=mill.folder)) for mill in mills]
    notes = [[page.note for page in pair] for pair in zip(*reads, strict=True)][-1]  # read in turn, a page each
    assert [note["dlt"]["resources"]["items"]["incremental"]["at"]["last_value"] for note in notes] == [5, 9]


# --- resume ------------------------------------------------------------------------------------------------------


def test_every_page_of_a_rising_cursor_can_be_gone_on_from(tmp_path):
    write_rows(tmp_path, *((i, f"text {i}", i // 2) for i in range(9)))
    made = source(tmp_path, FEED)
    whole = pages(made, tmp_path)
    wanted = sorted(key for page in keys(whole) for key in page)
    assert [page.resume is not None for page in whole] == [True] * 5 + [False]
    for at, page in enumerate(whole[:-1]):
        rest = pages(made, tmp_path, resume=json.loads(json.dumps(page.resume)))
        assert sorted({key for part in keys([*whole[: at + 1], *rest]) for key in part}) == wanted
        assert rest[-1].note == whole[-1].note


@pytest.mark.parametrize(
    "given",
    [
        "incremental('at', initial_value=0)",  # the order is not known: a lower value may come later
        "incremental('at', initial_value=0, row_order='desc')",
        "incremental('at', initial_value=0, row_order='asc', range_start='open')",  # its equals would be left out
    ],
)
def test_a_cursor_that_does_not_say_what_was_handed_out_gives_no_resume_point(tmp_path, given):
    code = f"""
        @dlt.resource
        def items(at={given}):
            yield [{{"id": 3, "text": "three", "at": 3}}]
            yield [{{"id": 1, "text": "one", "at": 1}}]
        """
    assert [page.resume for page in pages(source(tmp_path, code), tmp_path)][:-1] in ([None], [None, None])


def test_no_resume_point_while_a_page_of_the_parent_is_not_handed_out_whole(tmp_path):
    made = source(
        tmp_path,
        """
        @dlt.resource(selected=False)
        def parents(at=incremental("at", initial_value=0, row_order="asc")):
            for at in range(3):
                yield [{"id": at, "at": at}]

        @dlt.transformer(data_from=parents)
        def items(page):
            for parent in page:
                for child in range(2):
                    yield [{"id": f"{parent['id']}-{child}", "text": "t"}]
        """,
    )
    whole = pages(made, tmp_path)
    wanted = {f"{parent}-{child}" for parent in range(3) for child in range(2)}
    assert {key for page in keys(whole) for key in page} == wanted
    points = [at for at, page in enumerate(whole) if page.resume is not None]
    for at in points:
        rest = pages(made, tmp_path, resume=whole[at].resume)
        assert {key for page in keys([*whole[: at + 1], *rest]) for key in page} == wanted
    assert all(page.resume is None for page in whole[::2])  # in the middle of a parent


OWN = """
    @dlt.resource
    def items():
        state = dlt.current.resource_state()
        for at in range(state.get("next", 0), 4):
            state["next"] = at + 1
            yield [{"id": at, "text": "t"}]
    """


def test_the_state_a_resource_keeps_itself_is_a_resume_point_only_if_the_config_says_so(tmp_path):
    assert [page.resume for page in pages(source(tmp_path, OWN), tmp_path)] == [None] * 5
    made = source(tmp_path, OWN, resume="page")
    whole = pages(made, tmp_path)
    assert keys(pages(made, tmp_path, resume=whole[1].resume)) == [["2"], ["3"], []]


# --- windows, whole reads ----------------------------------------------------------------------------------------

PLAIN = """
    import datetime
    @dlt.resource
    def items():
        yield [{"id": i, "text": f"text {i}", "at": i, "day": datetime.date(2026, 1, 1 + i), "iso": f"2026-01-{i + 1:02d}"} for i in range(9)]
    """


@pytest.mark.parametrize(
    ("path", "initial", "since", "until"),
    [
        ("at", 0, "2", "5"),
        ("at", 0.0, "2.0", "5.0"),
        ("iso", "2026-01-01", "2026-01-03", "2026-01-06"),
        ("day", date(2026, 1, 1), "2026-01-03", "2026-01-06"),
    ],
)
def test_a_backfill_reads_the_window_in_the_cursors_own_type(tmp_path, path, initial, since, until):
    made = source(tmp_path, PLAIN, incremental={"cursor_path": path, "initial_value": initial})
    mill = Mill(made, tmp_path)
    mill.run()
    before = mill.state.doc
    ran = mill.run(Window(since, until))
    assert [key for page in keys(ran.pages[0]) for key in page] == ["2", "3", "4"]
    assert mill.state.doc == before


def test_the_type_of_a_window_may_come_from_the_state(tmp_path):
    mill = Mill(source(tmp_path, PLAIN, incremental={"cursor_path": "at"}), tmp_path)
    mill.run()
    assert keys(mill.run(Window("7", None)).pages[0]) == [["7", "8"], []]


@pytest.mark.parametrize(
    ("parameters", "window", "said"),
    [
        ({}, Window("1", "2"), "since and until need a cursor"),
        ({"incremental": {"cursor_path": "at"}}, Window(None, "2"), "until alone is no window"),
        ({"incremental": {"cursor_path": "at", "initial_value": 0}}, Window("x", "2"), "since: 'x' is no int"),
        ({"incremental": {"cursor_path": "at", "initial_value": 0}}, Window("10", "9"), "it ends before it begins"),
        (
            {"incremental": {"cursor_path": "iso", "initial_value": "2026-01-01"}},
            Window("2026-01-06", "2026-01-03"),
            "it ends before it begins",
        ),
    ],
)
def test_a_window_that_cannot_be_read_is_refused_in_planning(tmp_path, parameters, window, said):
    with pytest.raises(ConfigError, match=said):
        source(tmp_path, PLAIN, **parameters).plan(None, PlanContext(tmp_path, window))


def test_a_window_whose_cursor_is_of_no_known_type_is_not_judged(tmp_path):
    made = source(tmp_path, PLAIN, incremental={"cursor_path": "at"})
    assert made.plan(None, PlanContext(tmp_path, Window("10", "9"))).splits


def test_a_whole_read_withdraws_what_is_gone_and_stops_when_all_is(tmp_path):
    code = FEED.replace('at=incremental("at", initial_value=0, row_order="asc")', "").replace(
        ' if row["at"] >= at.start_value', ""
    )
    write_rows(tmp_path, (1, "one", 1), (2, "two", 2))
    mill = Mill(source(tmp_path, code, full=True), tmp_path)
    mill.run()
    write_rows(tmp_path, (2, "two", 2))
    mill.run()
    assert mill.texts == {"2": "two"}
    write_rows(tmp_path)
    with pytest.raises(SourceError, match="no record at all, though it did before"):
        mill.run()
    mill.source = msgspec.structs.replace(mill.source, allow_empty=True)
    mill.run()
    assert mill.texts == {}


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        """
        @dlt.resource(parallelized=True)
        def items():
            yield [{"id": 1, "text": "one"}]
        """,
        """
        @dlt.defer
        def one(i):
            return {"id": i, "text": "one"}
        @dlt.resource
        def items():
            for i in range(3):
                yield one(i)
        """,
        """
        @dlt.resource
        async def items():
            yield [{"id": 1, "text": "one"}]
        """,
    ],
    ids=["parallelized", "deferred", "async"],
)
def test_a_resource_that_works_in_parallel_is_refused(tmp_path, code):
    with pytest.raises(SourceError, match="works in parallel"):
        pages(source(tmp_path, code), tmp_path)


def test_what_a_resource_says_is_not_passed_on_but_its_place_is(tmp_path):
    made = source(
        tmp_path,
        """
        @dlt.resource
        def items(token):
            yield [{"id": 1, "text": "one"}]
            raise ValueError(f"record of token {token}: a private text")
        """,
        arguments={"token": "tok-123"},
    )
    with pytest.raises(SourceError, match=r"failed: ResourceExtractionError from ValueError, at feed\.py:7$") as raised:
        pages(made, tmp_path)
    assert "tok-123" not in str(raised.value)
    assert not isinstance(raised.value, Transient)


@pytest.mark.parametrize(
    ("raised", "passes"),
    [
        ("ConnectionResetError()", True),
        ("TimeoutError()", True),
        ("requests.exceptions.ReadTimeout()", True),
        ("requests.exceptions.ChunkedEncodingError()", True),
        ("requests.exceptions.HTTPError(response=answer(503))", True),
        ("requests.exceptions.HTTPError(response=answer(429))", True),
        ("requests.exceptions.HTTPError(response=answer(404))", False),
        ("requests.exceptions.HTTPError(response=answer(401))", False),
        ("requests.exceptions.InvalidURL()", False),
        ("PermissionError()", False),
    ],
)
def test_what_may_pass_is_tried_again_and_nothing_else(tmp_path, raised, passes):
    code = f"""
        import requests
        def answer(status):
            found = requests.Response()
            found.status_code = status
            return found
        @dlt.resource
        def items():
            raise {raised}
            yield
        """
    with pytest.raises(SourceError) as error:
        pages(source(tmp_path, code), tmp_path)
    assert isinstance(error.value, Transient) is passes


@pytest.mark.parametrize(
    ("code", "parameters", "said"),
    [
        ("x = 1", {}, r"\./feed.py has no function 'items'"),
        ("def items(): return 1", {}, "gives int, not a dlt resource or source"),
        ("import nothing_like_this\ndef items(): pass", {}, r"ModuleNotFoundError, at feed\.py:3"),
        ("def items(n): pass", {}, "failed: TypeError"),
        ("def items(): pass", {"resource": "./other.py:items"}, "there is no file .*other.py"),
        ("def items(): pass", {"resource": "nothing_like_this.at_all:items"}, "there is no module 'nothing_like_this'"),
        (
            "@dlt.source\ndef items():\n    return [dlt.resource([1], name='a'), dlt.resource([1], name='b')]",
            {},
            "has a, b, not ''; name one",
        ),
        (
            "@dlt.source\ndef items():\n    return [dlt.resource([1], name='a')]",
            {"select": "c"},
            "has a, not 'c'; name one",
        ),
        (
            "@dlt.source\ndef items(api_key=dlt.secrets.value):\n    return dlt.resource([1], name='a')",
            {},
            "api_key",
        ),
    ],
)
def test_check_says_what_keeps_the_resource_from_being_read(tmp_path, code, parameters, said):
    made = source(tmp_path, "", **parameters)
    (tmp_path / "feed.py").write_text(HEAD + code + "\n")
    (problem,) = made.check(tmp_path)
    assert re.search(said, problem), problem


def test_a_resource_of_a_source_is_selected(tmp_path):
    code = """
        @dlt.source
        def items():
            return [dlt.resource([{"id": 1, "text": "a"}], name="a"), dlt.resource([{"id": 2, "text": "b"}], name="b")]
        """
    assert texts(tmp_path, code, select="b") == {"2": "b"}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"resource": "feed.py"}, "resource: expected"),
        ({"key": ""}, "key: empty"),
        ({"full": True, "incremental": {"cursor_path": "at"}}, "full: reads everything"),
        ({"text": "{a"}, "text: .*stray brace"),
    ],
)
def test_parameters_that_cannot_work_are_refused(tmp_path, parameters, said):
    with pytest.raises(msgspec.ValidationError, match=said):
        source(tmp_path, PLAIN, **parameters)


# --- dlt itself --------------------------------------------------------------------------------------------------


def test_what_is_used_of_dlt_is_still_there():
    """Dlt promises none of these names: where one moves, this fails before a run does."""
    dlt = dlt_items.names()
    assert {"state"} <= set(inspect.signature(dlt.StateContext).parameters)
    assert {"pipes", "next_item_mode"} <= set(inspect.signature(dlt.PipeIterator.from_pipes).parameters)
    assert callable(dlt.PipeIterator.set_context)
    assert callable(dlt.PipeIterator.close)
    assert callable(dlt.DltResource._get_config_section_context)
    import dlt as face

    made = face.resource([{"at": 1}], name="r").apply_hints(incremental=dlt.Incremental("at", initial_value=0))
    assert made.source_name is None
    assert made.args_bound is True
    assert [type(step) for step in made._pipe.steps[1:]] == [dlt.Incremental]
    assert made._pipe.parent is None or made._pipe.parent.is_empty
    items = dlt_items.Items(made, {})
    assert (items._iterator._sources[0].pipe.name, items._iterator._futures_pool.empty) == ("r", True)
    assert items._iterator._futures_pool._thread_pool is None
    assert items._iterator._futures_pool._async_pool is None
    assert next(items) == {"at": 1}
    assert next(items, None) is None
    assert items.state() == {
        "resources": {"r": {"incremental": {"at": {"initial_value": 0, "last_value": 1, "unique_hashes": []}}}}
    }
    cursor = next(items._cursors())
    assert (cursor.row_order, cursor.range_start, cursor.primary_key) == (None, "closed", ())


def test_telemetry_is_off_before_dlt_is_loaded(tmp_path):
    code = (
        "from gristmill.sources.formats.dlt_items import names\nnames()\n"
        "from dlt.common.runtime.run_context import active\nprint(active().runtime_config.dlthub_telemetry)"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("RUNTIME__")}
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=env | {"HOME": str(tmp_path)},
    )
    assert told.stdout.strip() == "False"
    assert [path.name for path in Path(tmp_path).iterdir()] == []  # nor is anything left behind


def test_the_config_loads_without_dlt():
    code = (
        "import sys; sys.modules['dlt'] = None\nfrom pathlib import Path\nfrom gristmill.core.find import find\n"
        "made = find('sources', 'dlt', Path())(resource='a:b', key='id')\nprint(made.check(Path()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "gristmill[dlt]"' in told.stdout


def test_bytes_of_a_table_are_text_where_they_are_named_and_base64_elsewhere(tmp_path):
    made = source(
        tmp_path,
        """
        @dlt.resource
        def items():
            import pyarrow as pa
            names = ["id", "lang", "text", "body", "raw", "gone"]
            rows = [[b"one", b"en", b"a", b"b", b"abc", b"false"], [b"two", b"de", b"c", b"d", b"/w==", b"true"]]
            yield pa.table({name: pa.array([row[at] for row in rows], pa.binary()) for at, name in enumerate(names)})
        """,
        text="{text} {body}",
        lang="lang",
        deleted="gone",
    )
    found = pages(made, tmp_path)
    (row,) = [row for page in found for row in page.rows.to_pylist()]
    assert (row["key"], row["lang"], row["text"]) == ("one", "en", "a b")
    assert [(page.rejects, page.warnings) for page in found] == [([], {})] * len(found)
    assert json.loads(row["meta"])["raw"] == "YWJj"
    assert [key for page in found for key in page.deleted] == ["two"]

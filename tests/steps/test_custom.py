"""custom: the three modes, the ways to name a function, and what happens when it fails or lies."""

import hashlib
import pickle
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.steps.batches import batch_of

from gristmill.core.batch import RECORD_SCHEMA
from gristmill.core.errors import ConfigError, StepError
from gristmill.core.step import BoundStep
from gristmill.steps.custom import CHANGEABLE, FIELDS, Custom, Drop

TEXTS = ["one", "two", "three", "four"]


def run(function, texts=TEXTS, mode="record", folder=None, **columns):
    changed, reasons = Custom(call=function, mode=mode).open(folder).run(batch_of(texts, **columns))
    errors = changed.errors.to_pylist() if changed.errors is not None else [None] * len(texts)
    return changed, errors, reasons.to_pylist()


def test_record_changes_and_drops():
    """A function changes fields, drops with None, and drops with a reason."""

    def work(record):
        if record["text"] == "two":
            return None
        if record["text"] == "three":
            return Drop("odd")
        return {**record, "text": record["text"].upper(), "lang": "de"}

    changed, errors, reasons = run(work)
    assert changed.text.to_pylist() == ["ONE", "two", "three", "FOUR"]
    assert changed.rows.column("lang").to_pylist() == ["de", "en", None, "de"]
    assert errors == [None] * 4
    assert reasons == [None, "none", "odd", None]


def test_record_sees_every_field():
    """The dict has all columns but the content hash; time has a zone and meta is parsed."""
    seen = []
    run(lambda record: seen.append(record))
    assert list(seen[1]) == FIELDS == [name for name in RECORD_SCHEMA.names if name != "content_hash"]
    assert seen[1]["time"].utcoffset() == timedelta(0)
    assert seen[1]["meta"] == {"n": 1, "big": 123456789012345678901234567890}
    assert seen[0]["meta"] is None


def test_untouched_records_are_the_same_batch():
    """A function that changes nothing leaves every byte, that of meta too."""
    batch = batch_of(TEXTS)
    changed, reasons = Custom(call=lambda record: record).open(None).run(batch)
    assert changed is batch
    assert reasons.null_count == len(batch)


def test_changed_in_place():
    """A dict changed in place counts as well as a new one; meta is written as JSON."""

    def work(record):
        record["meta"] = {"é": [record["ord"], None]}
        record["time"] = datetime(2024, 5, 6, tzinfo=timezone(timedelta(hours=2)))
        record["lang_score"] = 1
        record["url"] = None
        return record

    changed, errors, _ = run(work)
    assert errors == [None] * 4
    assert changed.rows.column("meta")[1].as_py() == '{"é":[1,null]}'
    assert changed.rows.column("time")[0].as_py().isoformat() == "2024-05-05T22:00:00+00:00"
    assert changed.rows.column("lang_score").to_pylist() == [1.0] * 4
    assert changed.rows.column("url").null_count == 4
    assert changed.rows.schema.equals(RECORD_SCHEMA)


def test_record_that_raises():
    """Only that record fails; the word holds the type of the error and never its message."""

    def work(record):
        if record["text"] == "two":
            raise KeyError("two")
        return {**record, "text": record["text"] + "!"}

    changed, errors, reasons = run(work)
    assert errors == [None, "step.error KeyError", None, None]
    assert changed.text.to_pylist() == ["one!", "two", "three!", "four!"]
    assert reasons == [None] * 4


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("text", None, "step.output text is NoneType"),
        ("text", 7, "step.output text is int"),
        ("text", "\ud800", "step.output text is no Unicode"),
        ("text", b"bytes", "step.output text is bytes"),
        ("url", 7, "step.output url is int"),
        ("url", "\udfff", "step.output url is no Unicode"),
        ("time", "2024-01-01", "step.output time is str"),
        ("time", datetime(2024, 1, 1), "step.output time has no zone"),  # noqa: DTZ001
        ("lang_score", "1", "step.output lang_score is str"),
        ("lang_score", True, "step.output lang_score is bool"),
        ("lang_score", 10**400, "step.output lang_score is int"),
        ("meta", {"a": object()}, "step.output meta is no JSON"),
        ("meta", {"a": float("nan")}, "step.output meta is no JSON"),
        ("meta", {"a": "\ud800"}, "step.output meta is no JSON"),
        ("new_field", 1, "step.output more than the record's keys"),
        ("id", "other", "step.changed_id"),
        ("ord", 99, "step.changed_id"),
        ("source", None, "step.changed_id"),
        ("origin", "x", "step.changed_id"),
    ],
)
def test_bad_values(name, value, word):
    """A value that no column can hold, or another identity, quarantines that record alone and keeps it as it was."""
    batch = batch_of(TEXTS)
    changed, errors, _ = run(lambda record: {**record, name: value} if record["ord"] == 2 else record)
    assert errors == [None, None, word, None]
    assert changed.rows.equals(batch.rows)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (7, "int"),
        ("text", "str"),
        ([], "list"),
        (("a", "b"), "tuple"),
        ({name: 1 for name in FIELDS if name not in {"url", "meta"}}, "lacks url meta"),
    ],
)
def test_answers_that_are_no_record(answer, found):
    """Anything but a whole record, None or Drop is an error of the record."""
    assert run(lambda record: answer)[1] == [f"step.output {found}"] * 4


@pytest.mark.parametrize("reason", ["", "with space", "x" * 65, None, "äh", "a\n"])
def test_reason_is_a_word(reason):
    """A reason that is no short word is the function's error, so that no text gets into the counts."""
    assert run(lambda record: Drop(reason))[1] == ["step.error ValueError"] * 4


def test_list_mode():
    """A list of answers has the same meaning as one by one."""

    def work(records):
        return [
            None if r["text"] == "one" else Drop("x") if r["text"] == "two" else {**r, "text": "n"} for r in records
        ]

    changed, errors, reasons = run(work, mode="list")
    assert changed.text.to_pylist() == ["one", "two", "n", "n"]
    assert reasons == ["none", "x", None, None]
    assert errors == [None] * 4


@pytest.mark.parametrize("answer", [lambda r: r[:-1], lambda r: r[0], lambda r: None, lambda r: iter(r)])
def test_list_of_another_length(answer):
    """A list of another length is a broken contract: the message says what was found and what is wanted."""
    with pytest.raises(StepError, match=r"\(mode list\) gave .*; it must give a list of 4"):
        run(answer, mode="list")


@pytest.mark.parametrize("mode", ["list", "batch"])
def test_errors_of_batches_come_out(mode):
    """What the function raises on a batch is the engine's to handle."""

    def work(_records):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(work, mode=mode)


def test_batch_mode():
    """A record batch goes in and comes out."""

    def work(rows):
        at = rows.schema.get_field_index("text")
        return rows.set_column(at, rows.schema.field(at), pc.utf8_upper(rows.column("text")))

    changed, errors, reasons = run(work, mode="batch")
    assert changed.text.to_pylist() == ["ONE", "TWO", "THREE", "FOUR"]
    assert errors == reasons == [None] * 4


def replaced(rows, name, values):
    at = rows.schema.get_field_index(name)
    return rows.set_column(at, rows.schema.field(at), pa.array(values, rows.schema.field(at).type))


@pytest.mark.parametrize(
    ("work", "found"),
    [
        (lambda rows: None, "gave NoneType; it must give a pyarrow.RecordBatch"),
        (lambda rows: rows.slice(1), "gave 3 rows; it must give 4"),
        (lambda rows: rows.drop_columns(["url"]), "another schema"),
        (lambda rows: rows.take([3, 2, 1, 0]), "other values in 'id'"),
        (lambda rows: replaced(rows, "ord", [9, 9, 9, 9]), "other values in 'ord'"),
        (lambda rows: replaced(rows, "text", ["a", None, "c", "d"]), "a null text"),
        (lambda rows: replaced(rows, "text", pa.array([b"\xff"] * 4).view(pa.string())), "invalid data"),
    ],
)
def test_batch_contract(work, found):
    """Other rows, another schema or invalid data stop the run with what was found and what to give instead."""
    with pytest.raises(StepError, match=found):
        run(work, mode="batch")


SOURCE = """
import dataclasses

@dataclasses.dataclass
class Helper:
    word: str = "!"

def shout(record):
    return {**record, "text": record["text"] + Helper().word}

NOT_CALLABLE = 3
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path


def test_function_in_a_file(mine):
    """A path is relative to the config's folder; the module is loaded once and `sys.path` stays as it is."""
    paths = list(sys.path)
    step = Custom(call="./mine.py:shout")
    assert step.check(mine) == []
    first, second = step.open(mine), step.open(mine)
    assert first.function is second.function
    assert first.run(batch_of(TEXTS))[0].text.to_pylist() == ["one!", "two!", "three!", "four!"]
    assert sys.path == paths
    assert "mine" not in sys.modules


def test_changed_file_is_loaded_anew(mine, monkeypatch):
    """A function is known by its file's content, in the fingerprint and in the process, whatever Python keeps of what it compiled."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    step = Custom(call="./mine.py:shout")
    before = step.code_hash(mine)
    assert before == hashlib.sha256(SOURCE.encode()).hexdigest()
    old = step.open(mine).function
    (mine / "mine.py").write_text(SOURCE.replace('"!"', '"?"'))
    assert step.code_hash(mine) != before
    assert step.open(mine).function is not old
    assert step.open(mine).run(batch_of(["a"]))[0].text.to_pylist() == ["a?"]
    assert [path.name for path in mine.iterdir() if path.name == "__pycache__"] == []


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("./mine.py:shuot", r"mine.py has no function 'shuot'; did you mean 'shout'\?"),
        ("./mine.py:zzz", "has no function 'zzz'; it has: dataclasses, Helper, shout, NOT_CALLABLE"),
        ("./mime.py:shout", r"there is no file .*mime.py; did you mean 'mine.py'\?"),
        ("./far/away.py:shout", "there is no file .*away.py$"),
        ("no_such_package.mod:f", "there is no module 'no_such_package.mod' to import"),
        ("json.no_such:f", "there is no module 'json.no_such' to import"),
        ("json.decoder:JSONDecoderr", "did you mean 'JSONDecoder'"),
        ("inline:<lambda>", "lives in another process"),
    ],
)
def test_check_finds_problems(mine, call, problem):
    """A function that is not there is found before anything runs, with the near miss; opening it says the same."""
    found = Custom(call=call).check(mine)
    assert len(found) == 1
    assert re.search(problem, found[0])
    with pytest.raises(ConfigError, match=problem):
        Custom(call=call).open(mine)


def test_check_reads_and_does_not_run(tmp_path):
    """Checking a file has no side effect, and a syntax error is a sentence with its line."""
    (tmp_path / "loud.py").write_text("raise SystemExit('ran')\ndef f(r): return r\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "null.py").write_bytes(b"\0")
    assert Custom(call="./loud.py:f").check(tmp_path) == []
    assert "broken.py:1: SyntaxError: correct the file" in Custom(call="./broken.py:f").check(tmp_path)[0]
    assert "null.py:1: " in Custom(call="./null.py:f").check(tmp_path)[0]


def test_file_that_cannot_be_imported(tmp_path):
    """A file that raises when loaded is a config error, and leaves nothing behind."""
    (tmp_path / "bad.py").write_text("import no_such_thing\ndef f(r): return r\nx = 3\n")
    before = set(sys.modules)  # other tests have loaded a bad.py of theirs
    with pytest.raises(
        ConfigError, match=r"importing './bad.py' raised ModuleNotFoundError: No module named 'no_such_thing'"
    ):
        Custom(call="./bad.py:f").open(tmp_path)
    assert not [name for name in set(sys.modules) - before if name.startswith("_gristmill_own_bad")]
    (tmp_path / "value.py").write_text("f = 3\n")
    with pytest.raises(ConfigError, match=r"'f' in './value.py' is no function"):
        Custom(call="./value.py:f").open(tmp_path)


def test_function_in_a_module(tmp_path, monkeypatch):
    """A dotted name is imported as usual, found without importing, and hashed by its file."""
    (tmp_path / "gm_pkg").mkdir()
    (tmp_path / "gm_pkg" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "gm_pkg" / "mod.py").write_text("def f(record): return None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    step = Custom(call="gm_pkg.mod:f")
    assert step.check(tmp_path) == []
    assert step.code_hash(tmp_path) == hashlib.sha256(b"def f(record): return None\n").hexdigest()
    (tmp_path / "gm_pkg" / "__init__.py").write_text("")
    assert step.open(tmp_path).run(batch_of(["a"]))[1].to_pylist() == ["none"]
    del sys.modules["gm_pkg.mod"], sys.modules["gm_pkg"]


def module_function(record):
    """Stand in a module that another process can import."""
    return record


def test_function_as_parameter():
    """A function from Python goes by its name, so parameters stay plain values and can cross processes."""
    step = Custom(call=module_function)
    assert step.call == f"{__name__}:module_function"
    assert msgspec.to_builtins(step) == {"call": step.call, "mode": "record"}
    assert pickle.loads(pickle.dumps(step)).call == step.call
    assert Custom(call=lambda r: r).call.startswith("inline:test_function_as_parameter.<locals>.<lambda>")
    bound = BoundStep(name="custom", part="custom", step=step)
    assert bound.fingerprint(None)["code"] == step.code_hash(None) != ""


def test_code_of_inline_functions():
    """Functions of different code have different hashes; the hash is the same in every process."""
    one, two = Custom(call=lambda r: r), Custom(call=lambda r: None)
    assert one.code_hash(None) != two.code_hash(None)
    code = (
        "from gristmill.steps.custom import Custom\n"
        "space = {}; exec('def f(r):\\n  return [(lambda x: x + 1)(y) for y in r]', space)\n"
        "print(Custom(call=space['f']).code_hash(None))"
    )
    hashes = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    assert len(hashes) == 1


@pytest.mark.parametrize("call", ["", "no_colon", ":f", "file.py:", None, 7])
def test_call_must_name_a_function(call):
    """What names no function is refused when the step is made."""
    with pytest.raises(ValueError, match=r'expected "./file.py:function" or "package.module:function", found'):
        Custom(call=call)


def test_unknown_mode():
    """A mode that there is not is refused."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"call": "a:b", "mode": "records"}, Custom)


def test_fields_that_may_change():
    """What may change is part of the record."""
    assert set(CHANGEABLE) < set(FIELDS)

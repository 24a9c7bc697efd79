"""Every step found in the folder keeps the contract of its kind; a new file is tested without a line here.

A step that cannot be made without parameters needs an entry in `PARAMETERS`.
"""

from itertools import chain
from pathlib import Path

import pyarrow as pa
import pytest
from tests.steps.batches import TEXTS, batch_of

from gristmill.core import find
from gristmill.core.batch import RECORD_SCHEMA, Batch
from gristmill.core.step import Filter, GlobalStep, Step, Transform

NAMES = [part.name for part in find.parts() if part.kind == "steps"]
FOLDER = Path(__file__).parent
STEPS = Path(find.__file__).parents[1] / "steps"


def by_words(record):
    """Drop long texts, change the others."""
    return {**record, "text": record["text"].upper()} if len(record["text"]) < 40 else None


PARAMETERS = {
    "custom": {"call": by_words},
    "filter.length": {"min_chars": 5, "max_words": 8},
    "require": {"min_chars": 11, "not_null": ["url"]},
}


def make(name):
    return find.find("steps", name, FOLDER)(**PARAMETERS.get(name, {}))


def result(name, batch):
    """Give what a step makes of a batch, as plain lists: rows, error words, reasons."""
    step = make(name).open(FOLDER)
    if isinstance(step, GlobalStep):
        return step.observe(batch, 1).to_pylist(), None, None
    if isinstance(step, Filter):
        return batch.rows.to_pylist(), None, step.judge(batch).to_pylist()
    changed, reasons = (step.apply(batch), None) if isinstance(step, Transform) else step.run(batch)
    words = changed.errors.to_pylist() if changed.errors is not None else [None] * len(batch)
    return changed.rows.to_pylist(), words, reasons.to_pylist() if reasons is not None else None


def joined(results):
    columns = zip(*results, strict=True)
    return tuple(list(chain(*lists)) if lists[0] is not None else None for lists in columns)


def test_all_steps_are_found():
    """No file of the folder is overlooked: each is a part, a package's docstring or `signals`."""
    files = {".".join(p.relative_to(STEPS).with_suffix("").parts) for p in STEPS.rglob("*.py") if p.stem != "__init__"}
    parts = {name for name in files if not name.split(".")[-1].startswith("_")} - {"signals"}
    assert set(NAMES) <= parts
    for name in NAMES:
        assert issubclass(find.find("steps", name, FOLDER), Step)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [1, 3, 5])
def test_batch_borders_do_not_matter(name, rows):
    """A batch cut into pieces, which are slices of its buffers, gives the same as the whole."""
    batch = batch_of(TEXTS * 2)
    pieces = [batch.slice(at, min(rows, len(batch) - at)) for at in range(0, len(batch), rows)]
    assert joined([result(name, piece) for piece in pieces]) == result(name, batch)


@pytest.mark.parametrize("name", NAMES)
def test_neighbours_do_not_matter(name):
    """Rows in the opposite order give the same answers in the opposite order."""
    batch = batch_of(TEXTS)
    turned = Batch(batch.rows.take(list(range(len(batch)))[::-1]))
    assert tuple(part and part[::-1] for part in result(name, turned)) == result(name, batch)


@pytest.mark.parametrize("name", NAMES)
def test_same_result_twice(name):
    """The same batch gives the same result, and is itself left as it was."""
    batch = batch_of(TEXTS)
    before = batch.rows.to_pylist()
    assert result(name, batch) == result(name, batch)
    assert batch.rows.to_pylist() == before
    assert batch.errors is None


@pytest.mark.parametrize("name", NAMES)
def test_shape_of_the_answer(name):
    """Rows, schema, order and identity stay; reasons are one dictionary-encoded string a row."""
    for batch in (batch_of(TEXTS), batch_of([]), batch_of([""])):
        step = make(name).open(FOLDER)
        if isinstance(step, GlobalStep):
            assert step.observe(batch, 1).column("ord").to_pylist() == batch.ords.tolist()
            continue
        reasons, changed = None, batch
        if isinstance(step, Filter):
            reasons = step.judge(batch)
        elif isinstance(step, Transform):
            changed = step.apply(batch)
        else:
            changed, reasons = step.run(batch)
        assert changed.rows.schema.equals(RECORD_SCHEMA)
        changed.rows.validate(full=True)
        assert changed.text.null_count == 0
        for column in ("id", "source", "origin", "content_hash", "ord"):
            assert changed.rows.column(column).equals(batch.rows.column(column))
        if reasons is not None:
            assert pa.types.is_dictionary(reasons.type)
            assert reasons.type.value_type == pa.string()
            assert len(reasons) == len(batch)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_block(name):
    """The module says what the step reads, changes, drops and costs, and where its rules come from."""
    text = (STEPS / f"{name.replace('.', '/')}.py").read_text("utf-8")
    changes = [] if issubclass(find.find("steps", name, FOLDER), GlobalStep) else ["Changes:"]  # verdicts alone
    for label in ("Reads:", *changes, "Drops:", "Cost:", "Source:"):
        assert f"\n{label} " in text, label


@pytest.mark.parametrize("name", NAMES)
def test_rules_name_parameters(name):
    """Each rule of a filter points at a parameter that there is."""
    cls = find.find("steps", name, FOLDER)
    if issubclass(cls, Filter):
        assert {parameter for _, parameter in cls.RULES.values()} <= set(cls.__struct_fields__)

"""dedup.exact: the first owner of a key wins, in this run or any before; scopes never meet."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.properties.lab import folder

from gristmill.core.batch import RECORD_SCHEMA, Batch
from gristmill.steps.dedup.exact import KEYS, Exact
from gristmill.store import index
from gristmill.store.index import Bucket, Tombstones
from gristmill.store.layout import Layout

TIMES = [None, 0, 1_000_000]


def batch_of(rows, first=0):
    """Make a batch; each row gives some columns, the others get what a record must have."""
    columns = {name: [row.get(name) for row in rows] for name in RECORD_SCHEMA.names}
    columns |= {"id": [f"s/{i}" for i in range(len(rows))], "content_hash": [b"0" * 16] * len(rows)}
    columns["source"] = [row.get("source", "s") for row in rows]
    columns["text"] = [row.get("text", "") for row in rows]
    columns["ord"] = list(range(first, first + len(rows)))
    return Batch(pa.RecordBatch.from_pydict(columns, schema=RECORD_SCHEMA))


def merged(step, rows, prior, first=0, seq=1):
    """Let a step observe and decide; give ord -> ord of the record it repeats, and the new index rows."""
    observed = pa.Table.from_batches([step.observe(batch_of(rows, first), seq)])
    verdicts, deltas = {}, []
    for bucket in sorted(set(observed["bucket"].to_pylist())):
        mine = observed.filter(pa.array(observed["bucket"].to_numpy() == bucket)).select(KEYS.names)
        done = step.merge(mine.take(pa.array(np.random.default_rng(0).permutation(len(mine)))), prior(bucket))
        verdicts |= dict(zip(done.verdicts["ord"].to_pylist(), done.verdicts["dup_of"].to_pylist(), strict=True))
        deltas.append((bucket, done.delta))
    return verdicts, deltas


class Nothing:
    """An index that knows no key."""

    def owners(self, keys):
        return np.full(len(keys), -1, np.int64)


TEXTS = st.sampled_from(["", "a", "b", "ab", "ба", "x" * 70])
LANGS = st.sampled_from([None, "", "b", "de"])
ROW = st.fixed_dictionaries({"text": TEXTS, "lang": LANGS, "source": st.sampled_from(["s", "t"])})
SCOPES = {
    "dataset": lambda r: 0,
    "source": lambda r: r["source"],
    "language": lambda r: (r["lang"],),
    "lang": lambda r: (r["lang"],),
}


@settings(derandomize=True, deadline=None, max_examples=examples(60))
@given(
    st.lists(st.tuples(st.lists(ROW, max_size=8), st.sets(st.integers(0, 30))), min_size=1, max_size=5),
    st.sampled_from(sorted(SCOPES)),
    st.sampled_from(["text", "lang"]),
)
def test_owners_over_many_runs_are_those_of_a_dict(runs, scope, key):
    step = Exact(scope=scope, key=key)
    owners, dead, first = {}, set(), 0
    with folder() as place:
        layout, written = Layout(place), {}
        for seq, (rows, withdrawn) in enumerate(runs, start=1):
            dead |= {ord_ for ord_ in withdrawn if ord_ < first}
            tombs = Tombstones(np.array(sorted(dead), np.int64))
            expected = {}
            for ord_, row in enumerate(rows, start=first):
                if row[key] is None:
                    continue
                held = owners.setdefault((row[key], SCOPES[scope](row)), [])
                living = [owner for owner in held if owner not in dead]
                if living:
                    expected[ord_] = min(living)
                else:
                    held.append(ord_)
            got, deltas = merged(step, rows, lambda b, t=tombs: Bucket(layout, written.get(b, []), t), first, seq)
            assert got == expected
            for bucket, delta in deltas:
                written[bucket] = index.write_run(layout, "x", bucket, seq, delta, written.get(bucket, []))
            first += len(rows)


@pytest.mark.parametrize("scope", ["source", "language", "url", "license", "time", "lang_score"])
def test_scopes_never_meet(scope):
    column = {"source": "source", "language": "lang"}.get(scope, scope)
    values = {"time": TIMES, "lang_score": [None, 0.0, 0.5], "source": ["", "a", "b"]}.get(column, [None, "", "a", "b"])
    rows = [{"text": text, column: value} for value in values for text in ("", "a", "ab", "b")]
    assert merged(Exact(scope=scope), rows, lambda _: Nothing())[0] == {}
    twice, _ = merged(Exact(scope=scope), rows + rows, lambda _: Nothing())
    assert twice == {i + len(rows): i for i in range(len(rows))}


def test_key_and_scope_do_not_run_into_each_other():
    rows = [{"text": "ab", "lang": "c"}, {"text": "a", "lang": "bc"}, {"text": "abc", "lang": ""}, {"text": "abc"}]
    assert merged(Exact(scope="language"), rows, lambda _: Nothing())[0] == {}


def test_scope_of_a_snapshot_forgets_the_runs_before():
    step = Exact(scope="snapshot")
    one, two = (step.observe(batch_of([{"text": "a"}]), seq).select(["k0", "k1"]) for seq in (1, 2))
    assert not one.equals(two)


@pytest.mark.parametrize("key", [name for name in RECORD_SCHEMA.names if name != "ord"])
def test_any_column_can_be_the_key_and_a_null_is_no_duplicate(key):
    values = {"time": 5, "fetched_at": 5, "lang_score": 0.25, "content_hash": b"h" * 16}
    rows = batch_of([{key: values.get(key, "v")}, {key: values.get(key, "v")}]).rows
    nullable = RECORD_SCHEMA.field(key).nullable
    if nullable:
        rows = pa.concat_batches([rows, batch_of([{}, {}]).rows])
    if key == "id":
        rows = rows.set_column(0, RECORD_SCHEMA.field("id"), pa.array(["s/1"] * rows.num_rows))
    rows = rows.set_column(
        rows.schema.get_field_index("ord"), RECORD_SCHEMA.field("ord"), pa.array(range(rows.num_rows), pa.int64())
    )
    step = Exact(key=key)
    observed = step.observe(Batch(rows), 1)
    assert observed["ord"].to_pylist() == [0, 1]
    table = pa.Table.from_batches([observed]).select(KEYS.names)
    assert step.merge(table, Nothing()).verdicts.to_pylist() == [{"ord": 1, "dup_of": 0}]


@pytest.mark.parametrize(("wrong", "word"), [({"key": "txt"}, "txt"), ({"scope": "galaxy"}, "galaxy")])
def test_a_column_that_is_not_there_is_refused_by_name(wrong, word):
    with pytest.raises(ValueError, match=word):
        Exact(**wrong)


def test_nothing_observed_gives_nothing():
    none = pa.table({name: pa.array([], field.type) for name, field in zip(KEYS.names, KEYS, strict=True)})
    done = Exact().merge(none, Nothing())
    assert (len(done.verdicts), len(done.delta)) == (0, 0)


def test_an_owner_later_than_an_unknown_record_is_still_the_owner():
    class Later:
        def owners(self, keys):
            return np.full(len(keys), 99, np.int64)

    assert merged(Exact(), [{"text": "a"}], lambda _: Later(), first=100)[0] == {100: 99}

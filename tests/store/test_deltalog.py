"""The Delta log as it is added to on a disk: entries and checkpoints, and what is in the way."""

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction

from gristmill.core.errors import StaleError
from gristmill.store import deltalog

SCHEMA = pa.schema([("x", pa.int64())])


def commit(tmp_path, number):
    with deltalog.added_to(tmp_path / "table", tmp_path / "staging") as copy:
        if number == 0:
            DeltaTable.create(str(copy), schema=SCHEMA, configuration={"delta.checkpointInterval": "2"})
            return []
        names = sorted(path.name for path in (copy / "_delta_log").iterdir())
        table, properties = DeltaTable(str(copy)), CommitProperties(app_transactions=[Transaction("test", number)])
        table.create_write_transaction([], "append", table.schema(), commit_properties=properties)
    return names


def test_checkpoints_come_along_and_what_lies_before_the_newest_is_left_where_it_is(tmp_path):
    given = [commit(tmp_path, number) for number in range(6)]
    table = DeltaTable(tmp_path / "table")
    assert (table.version(), table.transaction_version("test")) == (5, 5)
    log = {path.name for path in (tmp_path / "table" / "_delta_log").iterdir()}
    assert {f"{number:020}.json" for number in range(6)} < log
    assert {f"{3:020}.checkpoint.parquet", f"{5:020}.checkpoint.parquet", "_last_checkpoint"} < log
    assert given[5] == [f"{3:020}.checkpoint.parquet", f"{3:020}.json", f"{4:020}.json", "_last_checkpoint"]
    assert not (tmp_path / "staging").exists()


def test_an_entry_whose_number_was_taken_meanwhile_is_refused(tmp_path):
    for number in range(2):
        commit(tmp_path, number)
    entry = tmp_path / "table" / "_delta_log" / f"{2:020}.json"

    def late():
        with deltalog.added_to(tmp_path / "table", tmp_path / "staging") as copy:
            DeltaTable(str(copy)).create_write_transaction([], "append", SCHEMA)
            entry.write_bytes(b"another's")

    with pytest.raises(StaleError, match=f"{entry.name} was committed since"):
        late()
    assert entry.read_bytes() == b"another's"
    assert not (tmp_path / "staging").exists()

"""The Delta log as it is added to on a disk: entries and checkpoints, and what is in the way."""

import shutil

import msgspec
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction

from gristmill.core.errors import StaleError, StoreError
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
    newest = msgspec.json.decode((tmp_path / "table" / "_delta_log" / "_last_checkpoint").read_bytes())
    assert newest["version"] == 5
    assert given[5] == [f"{3:020}.checkpoint.parquet", f"{3:020}.json", f"{4:020}.json", "_last_checkpoint"]
    assert not (tmp_path / "staging").exists()


def test_an_entry_whose_number_was_taken_meanwhile_is_refused_and_leaves_no_checkpoint(tmp_path):
    for number in range(3):
        commit(tmp_path, number)
    entry = tmp_path / "table" / "_delta_log" / f"{3:020}.json"

    def late():
        with deltalog.added_to(tmp_path / "table", tmp_path / "staging") as copy:
            DeltaTable(str(copy)).create_write_transaction([], "append", SCHEMA)
            assert (copy / "_delta_log" / f"{3:020}.checkpoint.parquet").exists()
            entry.write_bytes(b"another's")

    with pytest.raises(StaleError, match=f"{entry.name} was committed since"):
        late()
    assert entry.read_bytes() == b"another's"
    assert not [*entry.parent.glob(f"{3:020}.checkpoint*")]
    assert msgspec.json.decode((entry.parent / "_last_checkpoint").read_bytes())["version"] == 1
    assert not (tmp_path / "staging").exists()


@pytest.mark.parametrize("entry", [b'{"add": {"path": "the secret line"', b"\0" * 40])
def test_a_damaged_log_is_told_with_its_place_and_what_to_do_and_without_its_lines(tmp_path, entry):
    commit(tmp_path, 0)
    log = tmp_path / "table" / "_delta_log"
    (log / f"{1:020}.json").write_bytes(entry)

    def build_on_it():
        with deltalog.added_to(tmp_path / "table", tmp_path / "staging") as copy:
            DeltaTable(str(copy)).create_write_transaction([], "append", SCHEMA)

    with pytest.raises(
        StoreError, match=rf"the Delta log {log} cannot be read \(\w+\); run again; if it stays"
    ) as told:
        build_on_it()
    assert "secret" not in str(told.value)
    assert not (tmp_path / "staging").exists()
    assert sorted(path.name for path in log.iterdir()) == [f"{number:020}.json" for number in range(2)]


def test_folders_and_hidden_files_of_a_log_do_not_come_along(tmp_path):
    commit(tmp_path, 0)
    log = tmp_path / "table" / "_delta_log"
    (log / ".leftover.json").write_bytes(b"half")
    (log / "folder").mkdir()
    assert commit(tmp_path, 1) == [f"{0:020}.json"]
    assert DeltaTable(tmp_path / "table").version() == 1


def test_what_went_wrong_is_told_also_when_the_staging_folder_has_gone(tmp_path):
    def fail():
        with deltalog.added_to(tmp_path / "table", tmp_path / "staging") as copy:
            shutil.rmtree(copy)
            raise KeyError("the first")

    with pytest.raises(KeyError, match="the first"):
        fail()

"""The ledger of an export against a naive one that remembers every record, names that never lie, and the manifest."""

import json
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core.errors import ConfigError, StoreError
from gristmill.core.export import (
    Chunk,
    FileExport,
    Ledger,
    Written,
    deal,
    extend,
    manifest_bytes,
    read_manifest,
    restore,
)
from gristmill.core.shards import Cutter

NONE = np.zeros(0, np.int64)


class Plain(FileExport, frozen=True, kw_only=True):
    """An export of no format: only its names and limits matter here."""

    FORMAT = "plain"
    level: int = 1

    @property
    def codec(self) -> str:
        return "none"

    @property
    def suffix(self) -> str:
        return ".txt"


def ints(values) -> np.ndarray:
    return np.array(sorted(values), np.int64)


def batched(ords: list[int], step: int = 3) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give rows in batches; the size of a row is a function of its ord."""
    for at in range(0, len(ords), step):
        part = ints(ords[at : at + step])
        yield part, part * 7 % 11


def groups(ords: list[int], max_docs: int | None, max_bytes: int | None) -> list[list[int]]:
    """The definition of the cut: one row at a time."""
    found: list[list[int]] = []
    size = 0
    for ord_ in ords:
        full = found and (len(found[-1]) == max_docs or (max_bytes is not None and size + ord_ * 7 % 11 > max_bytes))
        if not found or full:
            found.append([])
            size = 0
        found[-1].append(ord_)
        size += ord_ * 7 % 11
    return found


LIMITS = st.fixed_dictionaries(
    {"docs_per_chunk": st.none() | st.integers(1, 6), "bytes_per_chunk": st.none() | st.integers(1, 30)}
)


@st.composite
def histories(draw) -> list[tuple[list[int], list[int]]]:
    """Draw snapshots: what each adds and what each removes of what was live."""
    live: set[int] = set()
    end = 0
    found = []
    for _ in range(draw(st.integers(1, 6))):
        removed = draw(st.sets(st.sampled_from(sorted(live)))) if live else set()
        gaps = draw(st.lists(st.integers(1, 5), max_size=25))
        added = (end + np.cumsum(gaps, dtype=np.int64)).tolist()
        end = added[-1] if added else end
        found.append((added, sorted(removed)))
        live = (live - removed) | set(added)
    return found


def make(
    export: Plain, before: Ledger, change: tuple[list[int], list[int]], live: list[int], seq: int, step: int
) -> Ledger:
    added, removed = change
    if export.mode == "append":
        return extend(export, before, batched(added, step), ints(removed), seq)
    return deal(export, before, batched(live, step), ints(removed), seq)


@pytest.mark.parametrize("mode", ["append", "full"])
@given(histories(), LIMITS, st.integers(1, 9))
@settings(max_examples=examples(80), deadline=None)
def test_every_live_record_lies_in_one_chunk_and_no_name_is_used_for_two_contents(mode, history, limits, step):
    export = Plain(path="out", mode=mode, **limits)
    ledger = Ledger()
    live: list[int] = []
    published: dict[str, list[int]] = {}
    for seq, change in enumerate(history, start=1):
        live = sorted((set(live) - set(change[1])) | set(change[0]))
        before, ledger = ledger, make(export, ledger, change, live, seq, step)
        assert make(export, before, change, live, seq, 1000) == ledger  # however batched, and made again after a crash
        contents = {chunk.name: [o for o in live if chunk.first_ord <= o <= chunk.last_ord] for chunk in ledger.chunks}
        assert sorted(o for ords in contents.values() for o in ords) == live
        assert [chunk.docs for chunk in ledger.chunks] == [len(ords) for ords in contents.values()]
        assert all(contents.values())
        for name, ords in contents.items():
            assert published.setdefault(name, ords) == ords
        for old in before.chunks:
            new = next((chunk for chunk in ledger.chunks if chunk.index == old.index), None)
            same = new is not None and contents[new.name] == published[old.name]
            assert same == (new is not None and new.name == old.name)
        if mode == "full":
            assert list(contents.values()) == groups(live, export.max_docs, export.bytes_per_chunk)


@given(histories(), LIMITS)
@settings(max_examples=examples(60), deadline=None)
def test_appending_leaves_whole_chunks_alone_and_cuts_what_is_new(history, limits):
    export = Plain(path="out", **limits)
    ledger = Ledger()
    oracle: dict[str, set[int]] = {}
    for seq, (added, removed) in enumerate(history, start=1):
        fresh = groups(added, export.max_docs, export.bytes_per_chunk)
        first = ledger.next_index
        ledger = extend(export, ledger, batched(added), ints(removed), seq)
        if export.max_docs is None and export.bytes_per_chunk is None:
            ords = set().union(set(), *oracle.values()) - set(removed) | set(added)
            same = not added and not removed
            name = (
                next(iter(oracle))
                if same and oracle
                else "chunk_00000.txt"
                if first == 0
                else f"chunk_00000.r{seq}.txt"
            )
            oracle = {name: ords} if ords else {}
        else:
            for name, ords in list(oracle.items()):
                if ords & set(removed):
                    oracle[f"{name[:11]}.r{seq}.txt"] = oracle.pop(name) - set(removed)
            oracle |= {f"chunk_{first + i:05}.txt": set(group) for i, group in enumerate(fresh)}
        assert {chunk.name: chunk.docs for chunk in ledger.chunks} == {name: len(o) for name, o in oracle.items() if o}
        oracle = {name: ords for name, ords in oracle.items() if ords}


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 8)), max_size=12),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 40),
)
@settings(max_examples=examples(80), deadline=None)
def test_rows_are_cut_where_one_at_a_time_would_cut(batches, max_rows, max_bytes):
    sizes = [value for count, factor in batches for value in (np.arange(count) * factor % 13).tolist()]
    expected, rows, size = [], 0, 0
    for at, row in enumerate(sizes):
        if rows and (rows == max_rows or (max_bytes is not None and size + row > max_bytes)):
            expected.append(at)
            rows = size = 0
        rows, size = rows + 1, size + row
    cutter = Cutter(max_rows, max_bytes)
    found, at = [], 0
    for count, _ in batches:
        found += [at + cut for cut in cutter.cuts(count, np.array(sizes[at : at + count], np.int64))]
        at += count
    assert found == expected


def test_a_limit_in_bytes_needs_sizes():
    with pytest.raises(ValueError, match="size of each row"):
        Cutter(None, 10).cuts(3, None)


def test_a_limit_in_docs_needs_none():
    ledger = extend(Plain(path="out", docs_per_chunk=2), Ledger(), [(ints([4, 5, 9]), None)], NONE, 1)
    assert ledger.chunks == [Chunk(0, "chunk_00000.txt", 2, 4, 5), Chunk(1, "chunk_00001.txt", 1, 9, 9)]


def test_an_empty_snapshot_has_no_chunks():
    for export in (Plain(path="out"), Plain(path="out", docs_per_chunk=None)):
        assert extend(export, Ledger(), [(NONE, NONE)], NONE, 1) == deal(export, Ledger(), [], NONE, 1) == Ledger()


def test_a_file_that_was_emptied_does_not_come_back_under_its_old_name():
    export = Plain(path="out", docs_per_chunk=None)
    one = extend(export, Ledger(), batched([1, 2]), NONE, 1)
    none = extend(export, one, [], ints([1, 2]), 2)
    assert none == Ledger([], 1)
    assert [chunk.name for chunk in extend(export, none, batched([8]), NONE, 3).chunks] == ["chunk_00000.r3.txt"]
    assert [chunk.name for chunk in deal(export, none, batched([8]), NONE, 3).chunks] == ["chunk_00000.r3.txt"]


def test_a_rollback_frees_no_number():
    export = Plain(path="out", docs_per_chunk=1)
    old = extend(export, Ledger(), batched([1]), NONE, 1)
    new = extend(export, old, batched([2, 3]), NONE, 2)
    back = restore(new, old)
    assert back.chunks == old.chunks
    assert extend(export, back, batched([9]), NONE, 4).chunks[-1].name == "chunk_00003.txt"


def test_many_chunks_become_one_file_when_the_limits_go():
    ledger = extend(Plain(path="out", docs_per_chunk=1), Ledger(), batched([1, 2, 5]), NONE, 1)
    whole = extend(Plain(path="out", docs_per_chunk=None), ledger, [], ints([2]), 2)
    assert whole.chunks == [Chunk(0, "chunk_00000.r2.txt", 2, 1, 5)]


@pytest.mark.parametrize("removed", [[3], [0], [1, 2, 3]])
def test_removing_what_no_chunk_holds_is_refused(removed):
    export = Plain(path="out")
    ledger = extend(export, Ledger(), batched([1, 2, 4]), NONE, 1)
    small = Ledger([msgspec.structs.replace(ledger.chunks[0], docs=2)], 1) if len(removed) == 3 else ledger
    with pytest.raises(StoreError, match="gristmill verify"):
        extend(export, small if removed != [3] else Ledger(), [], ints(removed), 2)


def test_adding_what_is_not_new_is_refused():
    export = Plain(path="out")
    ledger = extend(export, Ledger(), batched([1, 2, 4]), NONE, 1)
    for rows in ([(ints([4]), None)], [(np.array([9, 8]), None)], [(ints([9]), None), (ints([9]), None)]):
        with pytest.raises(StoreError, match="do not ascend"):
            extend(export, ledger, rows, NONE, 2)


def test_unsorted_removals_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="sorted"):
        extend(Plain(path="out"), Ledger(), [], np.array([2, 1]), 2)


def test_a_number_too_great_for_the_digits_is_refused():
    export = Plain(path="out", docs_per_chunk=1, digits=1)
    ledger = extend(export, Ledger(), batched(list(range(10))), NONE, 1)
    with pytest.raises(ConfigError, match="digits: 2"):
        extend(export, ledger, batched([10]), NONE, 2)


@pytest.mark.parametrize(
    ("given_", "limits"),
    [
        ({}, (10_000, None)),
        ({"docs_per_chunk": 5}, (5, None)),
        ({"bytes_per_chunk": 99}, (None, 99)),
        ({"bytes_per_chunk": 99, "docs_per_chunk": 5}, (5, 99)),
        ({"docs_per_chunk": None}, (None, None)),
    ],
)
def test_the_default_number_of_docs_gives_way_to_bytes(given_, limits):
    export = msgspec.convert({"path": "out", **given_}, Plain)
    assert (export.max_docs, export.bytes_per_chunk) == limits
    assert msgspec.to_builtins(export).keys() >= given_.keys()


@pytest.mark.parametrize("prefix", ["a/b", "../a", ".hidden", "a\\b", "a\0", "a\n"])
def test_a_prefix_that_is_no_file_name_is_refused(prefix):
    with pytest.raises(msgspec.ValidationError, match="prefix"):
        msgspec.convert({"path": "out", "prefix": prefix}, Plain)


def test_an_export_owns_its_own_names_only():
    export = Plain(path="out", prefix="a.", digits=2)
    assert export.owns(export.name(3))
    assert export.owns(export.name(3, 17))
    for other in (
        "a.3.txt",
        "a.003.txt",
        "ab03.txt",
        "a.03.r.txt",
        "a.03.txt.gz",
        "notes.txt",
        "a.03.txt\n",
        "manifest.json",
    ):
        assert not export.owns(other)


def test_an_empty_prefix_is_fine_and_an_empty_path_is_not():
    assert Plain(path="out", prefix="", digits=3).name(7, 12) == "007.r12.txt"
    with pytest.raises(msgspec.ValidationError, match="path"):
        msgspec.convert({"path": ""}, Plain)


def test_the_fingerprint_holds_what_decides_a_chunks_bytes_and_name_only():
    same = Plain(path="elsewhere", docs_per_chunk=3, mode="full").fingerprint()
    assert Plain(path="out").fingerprint() == same
    assert Plain(path="out", level=2).fingerprint() != same
    assert Plain(path="out", digits=6).fingerprint() != same


def test_the_manifest_tells_what_is_there_and_is_read_back(tmp_path):
    export = Plain(path="out", docs_per_chunk=2)
    ledger = extend(export, Ledger(), batched([1, 2, 4]), NONE, 7)
    files = {chunk.name: Written(10, 30, "ab" * 32) for chunk in ledger.chunks}
    data = manifest_bytes(export, "chunks", 7, ledger, files)
    entry = {
        "bytes": 10,
        "docs": 2,
        "first_ord": 1,
        "last_ord": 2,
        "name": "chunk_00000.txt",
        "raw_bytes": 30,
        "sha256": "ab" * 32,
    }
    other = {**entry, "docs": 1, "first_ord": 4, "last_ord": 4, "name": "chunk_00001.txt"}
    assert json.loads(data) == {
        "version": 1,
        "export": "chunks",
        "config": export.digest(),
        "snapshot": 7,
        "format": "plain",
        "compression": "none",
        "docs": 3,
        "chunks": [entry, other],
    }
    assert data == json.dumps(json.loads(data), sort_keys=True, indent=1).encode() + b"\n"
    path = tmp_path / "manifest.json"
    assert read_manifest(path) is None
    path.write_bytes(data)
    manifest = read_manifest(path)
    assert manifest is not None
    assert [chunk.name for chunk in manifest.chunks] == list(files)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version": 2}'])
def test_a_manifest_that_cannot_be_read_is_damage(tmp_path, data):
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(StoreError, match="manifest of version 1"):
        read_manifest(tmp_path / "manifest.json")

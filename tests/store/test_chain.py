"""What came before a snapshot is told by the first lines of its manifest, what it was given by the last ones, and both are what all of it tells."""

import json
from pathlib import Path

import msgspec
import pytest

from gristmill.core.counts import Counts
from gristmill.core.errors import FormatError, StoreError
from gristmill.store import chain, snapshot
from gristmill.store.layout import FORMAT, Layout
from gristmill.store.snapshot import EMPTY, Shard

LINEAGE = {
    "nothing": [],
    "a rollback": [{"rolled_back_to": 3, "why": 'a "parent": 7,\n of another'}],
    "what looks like the key": [{"parent": 99, "deeper": [{"parent": 98}]}],
}


@pytest.fixture(name="layout")
def _layout(tmp_path):
    return Layout(tmp_path / "set")


def write(layout, seq, parent, lineage=(), shards=0):
    made = [Shard(f"table/{i:08}-{seq:08x}.parquet", 1, 1, "0" * 64, i, i, 1) for i in range(shards)]
    manifest = msgspec.structs.replace(EMPTY, seq=seq, parent=parent, lineage=list(lineage), shards=made)
    layout.run(seq).mkdir(parents=True)
    snapshot.write_manifest(layout, layout.manifest(seq), manifest)
    return layout.manifest(seq)


@pytest.mark.parametrize("lineage", LINEAGE.values(), ids=LINEAGE)
@pytest.mark.parametrize("rewrite", [None, lambda told: json.dumps(told), lambda told: json.dumps(told, indent=1)])
def test_it_is_what_the_whole_manifest_tells_however_that_was_written(layout, lineage, rewrite):
    path = write(layout, 5, 4, lineage)
    if rewrite:
        path.write_text(rewrite(json.loads(path.read_text("utf-8"))), "utf-8")
    whole = snapshot.read_manifest(path)
    assert chain.link(layout, 5) == chain.Link(5, whole.parent, whole.lineage)


GIVEN = {
    "none": {},
    "two": {"a": Counts(read=3, published=2, dropped={"length:too_short": 1}), "states": Counts(read=1, unchanged=1)},
}


@pytest.mark.parametrize("sources", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("shards", [0, 2000])
@pytest.mark.parametrize("rewrite", [None, lambda told: json.dumps(told), lambda told: json.dumps(told, indent=1)])
def test_what_a_run_was_given_is_what_the_whole_manifest_tells_however_that_was_written(
    layout, sources, shards, rewrite
):
    path = write(layout, 5, 4, shards=shards)
    summary = {"sources": {"x": 1}, "report": {"errors": [{"sources": {}, "states": ',\n "states": '}] * shards}}
    told = msgspec.structs.replace(snapshot.read_manifest(path), sources=sources, summary=summary)
    snapshot.write_manifest(layout, path, told)
    if rewrite:
        path.write_text(rewrite(json.loads(path.read_text("utf-8"))), "utf-8")
    assert chain.given(layout, 5) == sources


def test_what_a_run_was_given_by_a_manifest_that_is_gone_or_damaged_is_refused(layout):
    path = write(layout, 5, 4)
    path.write_bytes(path.read_bytes().partition(b'"sources"')[0])
    with pytest.raises(StoreError, match="is damaged"):
        chain.given(layout, 5)
    path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        chain.given(layout, 5)


def test_all_snapshots_are_told_those_that_were_rolled_back_too_and_which_of_them_stand(layout):
    for seq, parent, lineage in [(1, 0, []), (2, 1, []), (4, 2, [{"rolled_back_to": 1}]), (5, 4, [])]:
        write(layout, seq, parent, lineage)
    assert [link.seq for link in chain.links(layout, 5)] == [5, 4, 2, 1]
    assert list(chain.links(layout, 0)) == []
    assert chain.standing(layout, snapshot.read_manifest(layout.manifest(5))) == {5, 4, 1}


def test_a_thousand_shards_in_each_of_a_hundred_manifests_are_not_read(layout):
    """Each verb that asked which snapshots there are read all of them whole: half a terabyte after some years of days."""
    size = sum(write(layout, seq, seq - 1, shards=1000).stat().st_size for seq in range(1, 101))
    before = read_bytes()
    assert len([chain.given(layout, link.seq) for link in chain.links(layout, 100)]) == 100
    assert read_bytes() - before < size / 2


def read_bytes():
    told = Path("/proc/self/io")
    if not told.exists():
        pytest.skip("this system does not tell how much a process has read")
    return int(told.read_text("utf-8").split("rchar: ")[1].split()[0])


BAD = {
    "gone": (None, "is missing"),
    "empty": (b"", "is damaged"),
    "no object": (b"[]", "is damaged"),
    "cut before the key": (b'{\n "code": "",\n', "is damaged"),
    "no number": (b'{\n "format": 1,\n "lineage": [],\n "parent": "4",\n "seq": 5\n}', "is damaged"),
    "itself": (msgspec.json.encode(msgspec.structs.replace(EMPTY, seq=5, parent=5)), "is damaged"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_a_manifest_that_cannot_tell_it_is_named(layout, content, words):
    path = write(layout, 5, 4)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=words) as raised:
        chain.link(layout, 5)
    assert str(path) in str(raised.value)


def test_a_newer_format_is_refused(layout):
    path = write(layout, 5, 4)
    path.write_bytes(path.read_bytes().replace(b'"format": %d' % FORMAT, b'"format": %d' % (FORMAT + 1)))
    with pytest.raises(FormatError, match="upgrade gristmill"):
        chain.link(layout, 5)

"""Sources of files on stores: read as on this machine, pinned to what was planned; a real SeaweedFS, a real SFTP server."""

import gzip
import json
import time
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from tests.net.sftp import PASSWORD, USER, sftp
from tests.net.stores import KEY_ID, SECRET, seaweed
from tests.sources.warcs import PACKED, wet

from gristmill.core.errors import ConfigError, SourceError, Transient, UnitFailed
from gristmill.core.source import PlanContext, ReadContext, UnitRead
from gristmill.sources.files import Files
from gristmill.sources.warc import Warc
from gristmill.testing.conformance import LAWS, applies, check, name_of
from gristmill.testing.worlds import FilesWorld


@pytest.fixture(scope="module", name="store")
def _store(tmp_path_factory):
    with seaweed(tmp_path_factory.mktemp("weed")) as running:
        yield running


class Corner(NamedTuple):
    """A part of the one bucket that a test has for itself (a bucket costs SeaweedFS seven volumes)."""

    client: Any
    storage: dict[str, Any]
    name: str

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="bucket", Key=f"{self.name}/{key}", Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket="bucket", Key=f"{self.name}/{key}")

    def url(self, glob: str) -> str:
        return f"s3://bucket/{self.name}/{glob}"


def corner(store):
    return Corner(store.client, store.storage, f"c{time.monotonic_ns()}")


@pytest.fixture(name="bucket")
def _bucket(store):
    return corner(store)


def lines(*texts):
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


def read(source, folder, state=None):
    """Give unit -> texts, and what failed."""
    plan = source.plan(state, PlanContext(folder))
    texts, failed, ends = {}, {}, {}
    for split in plan.splits:
        while True:
            got = {}
            try:
                for page in source.read(split, ReadContext(folder=folder, skip=frozenset(failed), batch_bytes=100_000)):
                    got.setdefault(page.unit, []).extend(page.rows["text"].to_pylist())
            except UnitFailed as error:
                failed[error.unit] = error.code
                continue
            for unit, some in got.items():
                texts.setdefault(unit, []).extend(some)
                ends[unit] = UnitRead(unit, 0, 1)
            break
    return texts, failed, source.fold(state, plan, list(ends.values()), 1), plan


def test_every_format_is_read_off_a_store_in_ranges(bucket, tmp_path):
    texts = [f"row {i} " + "and on " * 20 for i in range(20_000)]
    table = pa.table({"text": texts})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2_000, compression="none", use_dictionary=False)
    files = {
        "in/a.parquet": (tmp_path / "a.parquet").read_bytes(),
        "in/b.jsonl": lines(*texts),
        "in/c.jsonl.gz": gzip.compress(lines(*texts), 1),
        "in/d.jsonl.zst": zstd.compress(lines(*texts)),
        "in/e/f.txt": b"a text",
    }
    for key, data in files.items():
        bucket.put(key, data)
    source = Files(path=bucket.url("in/**/*"), storage=bucket.storage, split_bytes=1_000_000)
    assert source.check(tmp_path) == []
    found, failed, _, plan = read(source, tmp_path)
    assert failed == {}
    assert found.pop("e/f.txt") == ["a text"]
    assert {unit: rows == texts for unit, rows in found.items()} == dict.fromkeys(
        ["a.parquet", "b.jsonl", "c.jsonl.gz", "d.jsonl.zst"], True
    )
    assert len(plan.splits) > 6
    written = json.dumps([msgspec.to_builtins(split) for split in plan.splits]) + str(plan.listing.to_pylist())
    assert SECRET not in written
    assert KEY_ID not in written


def test_only_objects_that_changed_are_read_again(bucket, tmp_path):
    for name in ("same", "edited", "gone"):
        bucket.put(f"{name}.jsonl", lines(name))
    source = Files(path=bucket.url("*.jsonl"), storage=bucket.storage)
    found, _, state, plan = read(source, tmp_path)
    assert found == {"edited.jsonl": ["edited"], "gone.jsonl": ["gone"], "same.jsonl": ["same"]}
    assert all(plan.listing["etag"].to_pylist())
    time.sleep(1.1)
    bucket.put("same.jsonl", lines("same"))  # written again, with the same content
    bucket.put("edited.jsonl", lines("EDITED"))  # of the same size
    bucket.delete("gone.jsonl")
    bucket.put("new.jsonl", lines("new"))
    found, _, state, plan = read(source, tmp_path, state)
    assert found == {"edited.jsonl": ["EDITED"], "new.jsonl": ["new"]}
    assert (plan.replaced, plan.gone) == (["edited.jsonl"], ["gone.jsonl"])
    assert read(source, tmp_path, state)[3].splits == []
    for key in ("same", "edited", "new"):
        bucket.delete(f"{key}.jsonl")
    with pytest.raises(SourceError, match="all 3 files of the last snapshot are gone"):
        source.plan(state, PlanContext(tmp_path))


def test_an_object_that_is_replaced_while_it_is_read_is_not_taken(bucket, tmp_path):
    old, new = lines(*["old " * 40] * 40_000), lines(*["new " * 40] * 40_000)
    bucket.put("a.jsonl", old)
    bucket.put("b.jsonl", lines("b"))
    source = Files(path=bucket.url("*"), storage=bucket.storage)
    [split] = source.plan(None, PlanContext(tmp_path)).splits
    pages = source.read(split, ReadContext(folder=tmp_path, batch_bytes=10_000))
    assert set(next(pages).rows["text"].to_pylist()) == {"old " * 40}
    bucket.put("a.jsonl", new)
    with pytest.raises(UnitFailed) as caught:
        list(pages)
    assert (caught.value.code, caught.value.advance) == ("file.changed", False)
    again = source.read(split, ReadContext(folder=tmp_path, skip=frozenset({"a.jsonl"})))
    assert [text for page in again for text in page.rows["text"].to_pylist()] == ["b"]
    assert set(read(source, tmp_path)[0]["a.jsonl"]) == {"new " * 40}


@pytest.mark.parametrize("name", ["members.warc.gz", "whole.warc.gz", "plain.warc", "frames.warc.zst"])
def test_web_archives_are_read_off_a_store(bucket, tmp_path, name):
    data = PACKED[name]([wet(i, f"text {i} {'x' * 5000}") for i in range(400)])
    bucket.put(f"crawl/{name}", data)
    bucket.put(f"crawl/cut-{name}", data[:-100])
    source = Warc(path=bucket.url("crawl/*"), storage=bucket.storage)
    found, failed, _, _ = read(source, tmp_path)
    assert [text.split()[1] for text in found[name]] == [str(i) for i in range(400)]
    assert failed == {f"cut-{name}": "file.truncated"}


def test_a_bucket_that_is_not_there_or_not_ours_stops_the_source(store, tmp_path):
    [problem] = Files(path="s3://no-such-bucket/*", storage=store.storage).check(tmp_path)
    assert "cannot be listed" in problem
    wrong = store.storage | {"secret_access_key": "canary-of-another-kind"}
    with pytest.raises(SourceError, match="403") as caught:
        Files(path=f"s3://{store.bucket}/*", storage=wrong).plan(None, PlanContext(tmp_path))
    assert "canary" not in str(caught.value)
    assert not isinstance(caught.value, Transient)


class BucketWorld(FilesWorld):
    """The world of files, in a bucket."""

    secret = SECRET
    store = None

    def start(self, folder):
        super().start(folder)
        self.corner = corner(self.store)

    def config(self):
        return {"files": {"path": self.corner.url("*.jsonl"), "id": "id", "storage": self.store.storage}}

    def wipe(self):
        for at in range(len(self.files)):
            self.corner.delete(self._path(at).name)

    def _write(self, at):
        super()._write(at)
        self.corner.put(self._path(at).name, self._path(at).read_bytes())


@pytest.mark.parametrize("law", [law for law in LAWS if applies(law, FilesWorld.can)], ids=name_of)
def test_files_on_a_store_keep_the_laws_of_sources(store, tmp_path, law):
    world = BucketWorld()
    world.store = store
    check(law, world, tmp_path)


# --- by fsspec ---------------------------------------------------------------------------------------------------


@pytest.fixture(name="server")
def _server(tmp_path):
    root = tmp_path / "root"
    (root / "data" / "sub").mkdir(parents=True)
    with sftp(root, tmp_path) as served:
        yield served, root


def over_sftp(served, glob="data/**/*.jsonl", **options):
    storage = {
        "password": PASSWORD,
        "known_hosts": str(served.known_hosts),
        "allow_agent": False,
        "look_for_keys": False,
    }
    return Files(path=f"sftp://{USER}@127.0.0.1:{served.port}/{glob}", storage=storage | options)


def test_files_are_read_by_sftp(server, tmp_path):
    served, root = server
    (root / "data" / "a.jsonl").write_bytes(lines(*["text"] * 30_000))
    (root / "data" / "sub" / "b.jsonl").write_bytes(lines("b"))
    (root / "data" / "sub" / ".c.jsonl").write_bytes(lines("hidden"))
    source = over_sftp(served)
    found, failed, state, plan = read(source, tmp_path)
    assert failed == {}
    assert {unit: len(texts) for unit, texts in found.items()} == {"a.jsonl": 30_000, "sub/b.jsonl": 1}
    assert PASSWORD not in str(plan.listing.to_pylist()) + str(plan.splits)
    assert read(source, tmp_path, state)[3].splits == []
    (root / "data" / "sub" / "b.jsonl").write_bytes(lines("B"))
    (root / "data" / "a.jsonl").unlink()
    _, _, _, plan = read(source, tmp_path, state)
    assert (plan.replaced, plan.gone) == (["sub/b.jsonl"], ["a.jsonl"])


def test_a_file_that_changes_under_sftp_is_not_taken(server, tmp_path):
    served, root = server
    (root / "data" / "a.jsonl").write_bytes(lines(*["old"] * 30_000))
    source = over_sftp(served)
    [split] = source.plan(None, PlanContext(tmp_path)).splits
    pages = source.read(split, ReadContext(folder=tmp_path, batch_bytes=1000))
    next(pages)
    (root / "data" / "a.jsonl").write_bytes(lines(*["new"] * 29_000))
    with pytest.raises(UnitFailed, match=r"file\.changed"):
        list(pages)


def test_a_folder_that_cannot_be_listed_stops_the_source(server, tmp_path):
    served, root = server
    (root / "data" / "forbidden").mkdir()
    (root / "data" / "a.jsonl").write_bytes(lines("a"))
    with pytest.raises(SourceError, match=r"cannot be listed.*nobody can say which of its files are gone"):
        over_sftp(served).plan(None, PlanContext(tmp_path))


def test_links_to_files_are_read_and_links_to_folders_are_named(server, tmp_path):
    served, root = server
    (root / "data" / "a.jsonl").write_bytes(lines("a"))
    (root / "data" / "b.jsonl").symlink_to("a.jsonl")
    (root / "data" / "c.jsonl").symlink_to("sub")
    found, _, _, _ = read(over_sftp(served), tmp_path)
    assert found == {"a.jsonl": ["a"], "b.jsonl": ["a"]}
    assert over_sftp(served).check(tmp_path)[0].startswith('"c.jsonl": file.unreadable: a link to a folder')


def test_a_host_whose_key_is_not_known_is_not_talked_to(server, tmp_path):
    served, _ = server
    (tmp_path / "empty").write_text("")
    for options in (
        {"known_hosts": str(tmp_path / "empty")},
        {"known_hosts": "nowhere", "host_key_policy": "auto_add"},
    ):
        with pytest.raises(SourceError, match=r"shows a key .* that is not in"):
            over_sftp(served, **options).plan(None, PlanContext(tmp_path))


def test_a_wrong_password_stops_and_a_closed_port_may_pass(server, tmp_path):
    served, _ = server
    with pytest.raises(SourceError, match="AuthenticationException") as caught:
        over_sftp(served, password="canary-wrong").plan(None, PlanContext(tmp_path))
    assert "canary" not in str(caught.value)
    gone = msgspec.structs.replace(over_sftp(served), path=f"sftp://{USER}@127.0.0.1:1/x/*")
    with pytest.raises(Transient):
        gone.plan(None, PlanContext(tmp_path))


def test_other_file_systems_of_fsspec_are_read(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/box/a b%.jsonl": lines("a"), "/box/in/c.jsonl": lines("c"), "/box/d.txt": b"d"})
    try:
        source = Files(path=["memory://box/**/*.jsonl", "memory://box/d.txt"])
        found, failed, _, _ = read(source, tmp_path)
        assert (found, failed) == ({"a b%.jsonl": ["a"], "in/c.jsonl": ["c"], "d.txt": ["d"]}, {})
    finally:
        memory.rm("/box", recursive=True)


def test_hugging_face_addresses_are_understood(tmp_path, monkeypatch):
    # The hub cannot be reached from the tests: the listing fails, and says so.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = Files(path="hf://datasets/org/name/**/*.parquet", storage={"token": "hf_canary"})
    with pytest.raises((SourceError, ConfigError)) as caught:
        source.plan(None, PlanContext(tmp_path))
    assert "hf://datasets/org/name/" in str(caught.value)
    assert "canary" not in str(caught.value)

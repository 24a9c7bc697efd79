"""The working folder of a dataset on an object store: its copies are of the very objects that are there, and what is another's work is not written over."""

import stat

import pytest

from gristmill.core.errors import StaleError, StoreError, Transient
from gristmill.store.disk import sha256_of
from gristmill.store.mirror import FIRST_ENTRY, OF, SETTLED, Mirror
from gristmill.store.remote import Remote

pytestmark = pytest.mark.slice
NAMES = iter(range(1000))


@pytest.fixture(name="remote")
def _remote(bucket):
    return Remote(f"s3://{bucket.bucket}/mirror-{next(NAMES)}", bucket.storage, 2.0)


def mirror(tmp_path, name, remote):
    (tmp_path / name).mkdir(exist_ok=True)
    return Mirror(tmp_path / name, remote)


def keys(remote):
    return sorted(seen.key for seen in remote.listing("", deep=True))


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_what_is_written_is_in_the_store_and_here_and_is_not_fetched_again(remote, tmp_path, monkeypatch):
    ours = mirror(tmp_path, "a", remote)
    ours.write_file(ours.root / "runs/1/plan.json", b"one")
    ours.write_file(ours.root / "runs/1/plan.json", b"two")
    assert ours.create_file(ours.root / "runs/1/claim.json", b"claim")
    assert not ours.create_file(ours.root / "runs/1/claim.json", b"another")
    assert [remote.get(f"runs/1/{name}.json")[0] for name in ("plan", "claim")] == [b"two", b"claim"]
    assert files(ours.root) == ["runs/1/claim.json", "runs/1/plan.json"]
    monkeypatch.setattr(Remote, "fetch", lambda *_: pytest.fail("it is here"))
    assert ours.fetch(ours.root / "runs/1/plan.json").read_bytes() == b"two"


def test_a_file_that_is_fetched_is_for_its_owner_alone_but_shards(remote, tmp_path):
    for key in ("table/a.parquet", "runs/1/plan.json"):
        remote.put(key, b"x")
    ours = mirror(tmp_path, "a", remote)
    modes = [
        stat.S_IMODE(ours.fetch(ours.root / key).stat().st_mode) for key in ("table/a.parquet", "runs/1/plan.json")
    ]
    assert modes == [0o640, 0o600]


def test_what_is_gone_from_the_store_is_gone_here(remote, tmp_path):
    ours, other = mirror(tmp_path, "a", remote), mirror(tmp_path, "b", remote)
    path = ours.root / "runs/1/plan.json"
    ours.write_file(path, b"one")
    other.remove(other.root / "runs/1/plan.json")
    assert not ours.fetch(path).exists()
    ours.write_file(path, b"two")
    ours.remove(path)
    assert not path.exists()
    assert keys(remote) == []


def test_what_goes_while_it_is_fetched_leaves_no_half_of_it(remote, tmp_path, monkeypatch):
    ours = mirror(tmp_path, "a", remote)
    remote.put("runs/1/plan.json", b"one")
    head = Remote.head

    def then_gone(self, key):
        seen = head(self, key)
        self.delete([key])
        return seen

    monkeypatch.setattr(Remote, "head", then_gone)
    assert not ours.fetch(ours.root / "runs/1/plan.json").exists()
    assert files(ours.root) == []


def test_who_is_always_overtaken_while_he_writes_gives_up(remote, tmp_path, monkeypatch):
    ours, head, others = mirror(tmp_path, "a", remote), Remote.head, iter(range(100))

    def then_another(self, key):
        seen = head(self, key)
        self.put(key, b"of another %d" % next(others))
        return seen

    monkeypatch.setattr(Remote, "head", then_another)
    with pytest.raises(StaleError, match=f"{remote.url}/x is written by another run at the same time; run again"):
        ours.write_file(ours.root / "x", b"ours")
    monkeypatch.undo()
    assert remote.get("x")[0] == b"of another 4"
    assert files(ours.root) == []


def test_a_folder_is_removed_with_all_below_it_and_nothing_beside_it(remote, tmp_path):
    ours = mirror(tmp_path, "a", remote)
    for name in ("runs/1/plan.json", "runs/1/tasks/a.json", "runs/10/plan.json"):
        ours.write_file(ours.root / name, b"x")
    ours.remove_folder(ours.root / "runs/1")
    assert keys(remote) == files(ours.root) == ["runs/10/plan.json"]


def test_what_only_tells_is_shared_where_it_can_be(remote, tmp_path, monkeypatch):
    ours = mirror(tmp_path, "a", remote)
    ours.share(ours.root / "estimate.json")
    (ours.root / "estimate.json").write_bytes(b"1")
    ours.share(ours.root / "estimate.json")
    assert remote.get("estimate.json")[0] == b"1"
    for error in (Transient("slow"), StoreError("refused")):

        def refuse(*_, error=error):
            raise error

        monkeypatch.setattr(Remote, "put", refuse)
        ours.share(ours.root / "estimate.json")


def test_runs_that_are_not_in_the_store_are_gone_after_a_refresh_and_heads_are_those_of_the_store(remote, tmp_path):
    ours, other = mirror(tmp_path, "a", remote), mirror(tmp_path, "b", remote)
    for seq in (1, 2, 3):
        for name in ("claim.json", "plan.json", "report.json"):
            other.write_file(other.root / f"runs/{seq}/{name}", b"%d" % seq)
    (ours.root / "runs/9").mkdir(parents=True)
    (ours.root / "runs/9/plan.json").write_bytes(b"of a run that never was")
    (ours.root / "runs/3").mkdir()
    (ours.root / "runs/3/judged.json").write_bytes(b"of an earlier attempt")
    ours.refresh()
    settled = [seq for seq in (1, 2, 3) if (ours.root / f"runs/{seq}" / SETTLED).exists()]
    assert settled == [1], "the newest report is amended, and the one before it until then"
    there = [name for name in files(ours.root) if not name.endswith(SETTLED)]
    assert there == keys(remote)
    other.write_file(other.root / "runs/1/collected.json", b"{}")
    ours.refresh()
    assert (ours.root / "runs/1/collected.json").exists()


def test_a_working_folder_of_a_dataset_that_lay_there_before_is_emptied(remote, tmp_path):
    ours = mirror(tmp_path, "a", remote)
    remote.put(FIRST_ENTRY, b"the first dataset's")
    ours.write_file(ours.root / "runs/1/claim.json", b"old")
    ours.refresh()
    was = (ours.root / OF).read_text()
    ours.refresh()
    assert (ours.root / OF).read_text() == was
    assert (ours.root / "runs/1/claim.json").exists()
    remote.delete(keys(remote))
    remote.put(FIRST_ENTRY, b"another dataset's")
    (ours.root / "lock").touch()
    ours.refresh()
    assert files(ours.root) == ["lock", OF]
    assert (ours.root / OF).read_text() != was


def test_what_a_run_names_goes_up_again_where_another_attempt_has_replaced_it(remote, tmp_path):
    ours = mirror(tmp_path, "a", remote)
    path = ours.root / "index/1/keys.parquet"
    ours.write_file(path, b"ours")
    digest = sha256_of(path)
    ours.assure(1, {"index/1/keys.parquet": digest})
    remote.put("index/1/keys.parquet", b"of another attempt")
    ours.assure(1, {"index/1/keys.parquet": digest})
    assert remote.get("index/1/keys.parquet")[0] == b"ours"
    remote.delete(["index/1/keys.parquet"])
    ours.assure(1, {"index/1/keys.parquet": digest})
    assert remote.get("index/1/keys.parquet")[0] == b"ours"
    assert ours.fetch(path).read_bytes() == b"ours"


def test_what_a_run_names_and_is_not_what_lies_here_is_done_again(remote, tmp_path):
    ours = mirror(tmp_path, "a", remote)
    (ours.root / "runs/1/tasks").mkdir(parents=True)
    ours.write_file(ours.root / "state/a", b"of another")
    with pytest.raises(StaleError, match="state/a was written by another run at the same time; run again"):
        ours.assure(1, {"state/a": "another digest"})
    assert not (ours.root / "runs/1/tasks").exists()
    (ours.root / "state/a").unlink()
    ours.assure(1, {"state/a": "another digest"})  # a worker's with a folder of its own
    remote.delete(["state/a"])
    with pytest.raises(StoreError, match="state/a is not in the store any more, although this run wrote it; run again"):
        ours.assure(1, {"state/a": "another digest"})

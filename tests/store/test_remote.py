"""Datasets and exports on an object store: equal to those on a disk, held by one run at a time, whatever the store answers."""

import json
import os
import random
import re
import time

import obstore
import pytest
from tests.examples import some
from tests.faults.server import FaultServer, Reply
from tests.net.stores import SECRET
from tests.store.proxy import StoreProxy
from tests.store.remotes import Bucket, Trials, place

from gristmill import Dataset, Pipeline, cli
from gristmill.config.settings import BoundExport
from gristmill.console import session
from gristmill.core import buckets
from gristmill.core.errors import ConfigError, LockedError, StaleError, StoreError, Transient
from gristmill.engine.exports import of_another
from gristmill.exports.jsonl import Jsonl
from gristmill.store import lease, snapshot
from gristmill.store.layout import Layout, locate
from gristmill.store.mirror import Mirror
from gristmill.store.outlet import Outlet
from gristmill.store.remote import ABSENT, Remote, _is_under_way

pytestmark = pytest.mark.slice  # on SeaweedFS; the soak tries all on moto, too
NAMES = iter(range(1000))


def case(store):
    return Remote(f"s3://{store.bucket}/case-{next(NAMES)}", store.storage, 2.0)


@pytest.fixture(name="remote")
def _remote(bucket):
    return case(bucket)


@pytest.fixture(scope="module")
def trials(bucket, local, server, tmp_path_factory):
    """Give the two days on a store, which went as on a disk."""
    done = Trials(Bucket(bucket), local, server, tmp_path_factory.mktemp("trials"), "trials")
    assert done.problems == []
    return done


def through(proxy, remote, **more):
    return Remote(remote.url, {**remote.options, "endpoint": proxy.url, **more}, remote.term_s)


# --- the requests ------------------------------------------------------------------------------------------------


def test_a_write_holds_to_its_condition(remote):
    first = remote.put("a", b"1", ABSENT)
    assert remote.put("a", b"2", ABSENT) is None
    second = remote.put("a", b"2", first)
    assert remote.put("a", b"3", first) is None
    assert remote.put("b", b"3", first) is None
    assert remote.get("a") == (b"2", remote.head("a"))
    assert remote.head("a").etag == second.etag
    assert remote.get("b") is None


def test_what_was_written_and_whose_answer_was_lost_is_found_to_be_ours(remote):
    with StoreProxy(int(remote.options["endpoint"].rpartition(":")[2]), lost=0.3, seed=3) as proxy:
        shaky = through(proxy, remote)
        seen = ABSENT
        for i in range(5):
            seen = shaky.put("a", b"%d" % i, seen)
            assert seen is not None
        assert proxy.hits["lost"] >= 2
    assert remote.get("a")[0] == b"4"


def test_a_store_that_stays_slow_is_a_passing_failure_and_tells_no_secret(remote):
    with StoreProxy(1, slow=1.0) as proxy, pytest.raises(Transient, match="503 SlowDown") as caught:
        through(proxy, remote, retries=0).put("a", b"1")
    assert SECRET not in str(caught.value) + repr(remote)


@pytest.mark.parametrize(("status", "kind"), [(403, StoreError), (500, Transient)])
def test_what_delta_rs_says_of_a_store_that_refuses_is_told_apart_from_what_may_pass(
    status, kind, tmp_path, monkeypatch
):
    monkeypatch.setattr("gristmill.store.remote.PAUSES_S", (0.0,))
    answer = b"<Error><Code>Odd</Code><Message>your key is canary-secret-of-the-store</Message></Error>"
    with FaultServer(lambda request: Reply(answer, status, {"Content-Type": "application/xml"})) as store:
        options = {"endpoint": store.url, "region": "us-east-1", "access_key_id": "a", "secret_access_key": SECRET}
        remote = Remote("s3://bucket/case", options | {"max_retries": "0"}, 2.0)
        with pytest.raises(kind, match=rf"s3://bucket/case/table: .*\({status} Odd\)") as caught:
            snapshot.open_table(Layout(tmp_path, remote))
    assert SECRET not in str(caught.value)


def test_a_store_that_heeds_no_conditions_is_refused(moto):
    remote = case(moto)
    with StoreProxy(int(remote.options["endpoint"].rpartition(":")[2]), blind=True) as proxy:
        (told,) = through(proxy, remote).problems()
    assert "does not heed the conditions of a write" in told
    assert list(remote.problems()) == []
    assert remote.listing("") == []


def test_a_name_that_is_taken_is_no_write_under_way():
    taken = "status code: 409 Conflict: <Error><Code>BlobAlreadyExists</Code>"  # Azure's answer to If-None-Match
    assert not _is_under_way(ValueError(taken))
    assert _is_under_way(ValueError("status code: 409 Conflict: <Error><Code>ConditionalRequestConflict</Code>"))


# --- the lease ---------------------------------------------------------------------------------------------------


def test_a_lease_that_is_renewed_is_respected_and_one_that_is_given_up_is_free(remote, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    held = lease.take(tmp_path / "a", remote, "boot", 0)
    with pytest.raises(LockedError, match="is held by another run"):
        lease.take(tmp_path / "b", remote, "boot", 0)
    held.release()
    second = lease.take(tmp_path / "b", remote, "boot", 0)
    assert lease.read(remote)[0].attempt == 2
    assert not second.foreign
    second.release()


@pytest.mark.parametrize("when", ["asking", "answering"])
def test_a_lease_that_is_renewed_is_respected_however_long_its_watcher_was_away(remote, tmp_path, monkeypatch, when):
    """Stopped, or waiting for a slow store: what he saw before that is no sign of a death."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    held, get, asked = lease.take(tmp_path / "a", remote, "boot", 0), Remote.get, []

    def slowly(self, key):
        asked.append(key)
        if when == "asking":
            time.sleep(1.5 * self.term_s)
        found = get(self, key)
        if when == "answering":
            time.sleep(1.5 * self.term_s)
        return found

    monkeypatch.setattr(Remote, "get", slowly)
    with pytest.raises(LockedError, match="is held by another run"):
        lease.take(tmp_path / "b", remote, "boot", 0)
    monkeypatch.undo()
    assert asked == [lease.LOCK] * 2
    assert lease.read(remote)[0].attempt == 1
    held.release()


def test_a_lease_without_a_sign_of_life_is_taken_over_by_the_watchers_own_clock_and_its_holder_writes_nothing_more(
    remote, tmp_path, monkeypatch
):
    monkeypatch.setattr(lease.Lease, "_renew", lambda self: None)  # as of a process that is stopped
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    lost = lease.take(tmp_path / "a", remote, "boot", 0)
    first = Mirror(tmp_path / "a", remote)
    for path in ("x", "d/x"):
        first.write_file(tmp_path / "a" / path, b"1")
    began = time.monotonic()
    held = lease.take(tmp_path / "b", remote, "boot", 0)
    assert time.monotonic() - began >= remote.term_s
    assert held.foreign
    for write in (first.write_file, first.create_file):
        with pytest.raises(StaleError, match="taken over by another run"):
            write(tmp_path / "a" / "x", b"2")
    for remove in (lambda: first.remove_files(["x"]), lambda: first.remove_folder(tmp_path / "a" / "d")):
        with pytest.raises(StaleError, match="taken over by another run"):
            remove()
    lost.release()
    with pytest.raises(StaleError):
        first.write_file(tmp_path / "a" / "x", b"2")
    assert remote.get("x")[0] == remote.get("d/x")[0] == b"1"
    assert lease.read(remote)[0].held
    held.release()


def test_who_holds_a_folder_takes_the_lease_of_the_dead_at_once(remote, tmp_path, monkeypatch):
    monkeypatch.setattr(lease.Lease, "_renew", lambda self: None)
    lease.take(tmp_path, remote, "boot", 0)
    began = time.monotonic()
    held = lease.take(tmp_path, remote, "boot", 0)
    assert time.monotonic() - began < remote.term_s / 2
    assert not held.foreign
    held.release()


def test_a_write_that_was_under_way_at_a_takeover_does_not_land(remote, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    mirror = Mirror(tmp_path / "a", remote)
    mirror.write_file(tmp_path / "a" / "x", b"old")
    checks = iter([lambda: remote.put("x", b"of the successor"), lambda: lease.check(tmp_path / "a", remote)])
    (tmp_path / "a" / lease.HELD).write_text('{"token": "of the zombie"}')
    monkeypatch.setattr(Mirror, "check_held", lambda self: next(checks)())  # the first one was in time
    with pytest.raises(StaleError):
        mirror._replace("x", b"of the zombie")
    assert remote.get("x")[0] == b"of the successor"


def test_the_place_of_an_export_is_one_datasets(remote, tmp_path):
    outlet = Outlet(tmp_path, remote)
    bound = BoundExport(name="x", part="jsonl", export=Jsonl(path=remote.url))
    assert of_another(bound, outlet, Layout(tmp_path / "set")) is None
    remote.put("chunk_00000.jsonl.zst", b"precious")
    assert "that no manifest lists" in of_another(bound, outlet, Layout(tmp_path / "set"))
    assert [outlet.claim(dataset) for dataset in ("one", "other", "one")] == [True, False, True]
    assert "its id is one" in of_another(bound, outlet, Layout(tmp_path / "set"))


def test_a_damaged_manifest_of_an_export_is_told_by_the_name_of_the_object(remote, tmp_path):
    outlet = Outlet(tmp_path, remote)
    remote.put("manifest.json", b"{")
    with pytest.raises(StoreError, match=re.escape(f"{remote.url}/manifest.json: not an export manifest")):
        outlet.manifest()


def test_a_store_that_takes_objects_and_removes_none_is_told_as_that(remote):
    denied = b"<Error><Code>AccessDenied</Code></Error>"

    class Keeping(StoreProxy):
        def _passed(self, request):
            if request.method == "DELETE" or "delete" in request.target:
                return Reply(denied, 403, {"Content-Type": "application/xml"})
            return super()._passed(request)

    with Keeping(int(remote.options["endpoint"].rpartition(":")[2])) as proxy:
        (told,) = through(proxy, remote).problems()
    assert "objects may be put here and not removed" in told
    assert "give the right to delete" in told


def test_a_redirect_that_leads_nowhere_is_another_region_and_does_not_pass():
    error = type("GenericError", (Exception,), {})("Error performing GET: Received redirect without LOCATION, this ...")
    assert buckets.why(error) == (
        "the bucket is in another region, or at another endpoint (301); name it in storage",
        False,
    )


@pytest.mark.parametrize("inside", ["/x", "a//x", "a/../x", "./x", "..", "x//"])
def test_a_folder_of_a_store_has_one_name(inside, tmp_path):
    with pytest.raises(ConfigError, match="with an empty folder"):
        locate(f"s3://bucket/{inside}", {"region": "us-east-1"}, tmp_path)


@pytest.mark.parametrize(
    ("dataset", "phrase"),
    [
        ("ftp://host/corpus", "ftp:// is no store a dataset can lie on; use s3://"),
        ("s3://bucket", "write s3://BUCKET/FOLDER"),
        ("s3:///corpus", "write s3://BUCKET/FOLDER"),
        ("s3://key:word@bucket/corpus", "without credentials"),
        ("gs://key@bucket/corpus", "without credentials"),
    ],
)
def test_a_url_that_is_no_place_for_a_dataset_is_told_with_what_to_write(dataset, phrase, tmp_path):
    with pytest.raises(ConfigError) as caught:
        locate(dataset, {}, tmp_path)
    assert phrase in str(caught.value)
    assert "word" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_told_as_such_by_whatever_writes_to_it(moto, tmp_path):
    remote = case(moto)
    gone = Remote("s3://no-such-bucket/set", remote.options)
    told = r"^s3://no-such-bucket/set/[^ ]+: the store refuses \(.*404 NoSuchBucket\); check the bucket's name"
    (tmp_path / "x").write_bytes(b"1")
    for condition in (None, ABSENT):
        with pytest.raises(StoreError, match=told):
            gone.put("x", b"1", condition)
    with pytest.raises(StoreError, match=told):
        gone.put_file("x", tmp_path / "x")
    (problem,) = gone.problems()
    assert re.match(told, problem)
    assert re.match(told, gone.refusal())
    assert remote.refusal() is None
    assert remote.listing("") == []


def test_check_tells_which_export_a_store_does_not_take(moto, tmp_path, monkeypatch):
    remote = case(moto)
    (tmp_path / "a.jsonl").write_text('{"text": "ground"}\n')
    monkeypatch.setenv("KEY_OF_THE_STORE", remote.options["secret_access_key"])
    storage = {**remote.options, "secret_access_key": "${env:KEY_OF_THE_STORE}"}
    exports = [
        {"name": name, "jsonl": {"path": f"s3://{bucket}/out", "storage": storage}}
        for name, bucket in (("here", "bucket"), ("there", "no-such-bucket"))
    ]
    config = {"version": 1, "dataset": "./set", "sources": [{"name": "a", "files": {"path": "*.jsonl"}}]}
    (tmp_path / "gristmill.yml").write_text(json.dumps(config | {"exports": exports}))
    (problem,) = Pipeline.from_file(tmp_path / "gristmill.yml").problems()
    assert "export there: s3://no-such-bucket/out/" in problem


# --- the working folder ------------------------------------------------------------------------------------------


def test_a_copy_of_another_object_than_is_there_is_fetched_anew_and_one_that_is_gone_is_gone(remote, tmp_path):
    ours, others = Mirror(tmp_path / "a", remote), Mirror(tmp_path / "b", remote)
    path = tmp_path / "a" / "index" / "x"
    ours.write_file(path, b"12")
    assert ours.fetch(path).read_bytes() == b"12"
    others.write_file(tmp_path / "b" / "index" / "x", b"34")
    assert ours.fetch(path).read_bytes() == b"34"
    path.write_bytes(b"56")  # by a stranger
    assert ours.fetch(path).read_bytes() == b"34"
    others.remove(tmp_path / "b" / "index" / "x")
    assert not ours.fetch(path).exists()


# --- runs --------------------------------------------------------------------------------------------------------


def test_two_days_on_a_store_are_those_on_a_disk_byte_for_byte(trials):
    assert trials.problems == []


def test_every_reading_verb_reads_a_dataset_on_a_store(trials, bucket, tmp_path, monkeypatch):
    for name, value in (trials.first.env() | {"XDG_CACHE_HOME": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(name, value)
    pipeline = Pipeline.from_file(trials.folder / "peace" / "gristmill.yml")
    dataset = Dataset(pipeline.config.dataset, storage=bucket.storage)
    assert dataset.seqs() == [1, 2]
    assert dataset.verify(config=pipeline.config) == []
    assert dataset.read().num_rows == dataset.manifest().rows
    assert [line["status"] for line in dataset.log()] == ["published", "published"]
    row = dataset.inspect("kept", n=1)[0]
    assert dataset.explain(row["id"])["published"]
    assert dataset.drift(pipeline.config.gate)["run"] == 2
    draft, _ = pipeline.plan()
    assert draft.empty
    with pytest.raises(ConfigError, match="there is no dataset"):
        Dataset(f"{pipeline.config.dataset}-none", storage=bucket.storage)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("verb", some(["run", "status", "plan"], 1))
def test_damage_on_a_store_is_told_with_the_object_and_its_copy_here(verb, trials, tmp_path, monkeypatch, capsys):
    """Either may be what is damaged."""
    where = place(trials.bucket, tmp_path / "hurt", trials.local[1].start, f"{trials.prefix}/hurt-{verb}")
    trials.bucket.copy(f"{trials.prefix}/peace/", f"{where.prefix}/")
    for name, value in where.env().items():
        monkeypatch.setenv(name, value)
    obstore.put(trials.bucket.client, f"{where.prefix}/corpus/runs/2/manifest.json", b"{")
    vars(session.ASKED).update(vars(session.Asked()))
    assert cli.perform([verb, "-c", str(where.tree / "gristmill.yml")]) == 1
    url = f"s3://{trials.bucket.name}/{where.prefix}/corpus/runs/2/manifest.json"
    assert re.search(rf"error: {url} \(copy: {tmp_path}/\S+/runs/2/manifest.json\) is damaged", capsys.readouterr().err)


def test_gc_removes_from_a_store_what_it_removes_from_a_disk_and_every_machine_is_told(
    trials, bucket, tmp_path, monkeypatch
):
    where = place(trials.bucket, tmp_path / "gc", trials.local[1].start, f"{trials.prefix}/gc")
    trials.bucket.copy(f"{trials.prefix}/peace/", f"{where.prefix}/")
    for key in where.env():
        monkeypatch.setenv(key, where.env()[key])
    url = f"s3://{trials.bucket.name}/{where.prefix}/corpus"

    def lies(folder):
        trials.bucket.bring(where.prefix, folder)
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    lies(tmp_path / "disk")
    here = Dataset(url, storage=bucket.storage)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    there = Dataset(url, storage=bucket.storage)
    assert there.read(seq=1).num_rows == there.manifest(1).rows
    before = lies(tmp_path / "before")
    told = here.gc(keep_last=1, dry_run=True)
    assert lies(tmp_path / "before") == before, "a dry run changes nothing"
    assert here.gc(keep_last=1) == told | {"dry_run": False}
    disk = Dataset(tmp_path / "disk" / "corpus").gc(keep_last=1)
    assert disk == told | {"dry_run": False}
    assert (disk["collected"], disk["kept"]) == ([1], [2])
    assert disk["total_bytes"] > 0
    assert lies(tmp_path / "after") - {"corpus/lock"} == {
        str(path.relative_to(tmp_path / "disk")) for path in (tmp_path / "disk").rglob("*") if path.is_file()
    } - {"corpus/lock"}
    assert here.verify() == []
    assert here.gc(keep_last=1)["total_bytes"] == 0
    for dataset in (here, there, Dataset(url, storage=bucket.storage)):
        with pytest.raises(ConfigError, match="snapshot 1 was collected by gc"):
            dataset.read(seq=1)
        assert dataset.read().num_rows == dataset.manifest(2).rows


def test_a_run_that_is_killed_is_gone_on_with(trials):  # many: python -m tests.store.kills
    told, codes, problems = trials.trial(1, random.Random(1))
    assert problems == [], (told, codes)


def test_a_run_that_wakes_after_it_was_taken_over_is_refused(
    trials,
):  # at each failpoint: python -m tests.store.zombies
    codes, problems = trials.zombie("commit.before_delta")
    assert problems == []
    assert codes == [0, 1]


def test_a_store_that_loses_answers_says_slow_down_and_cuts_changes_no_byte(bucket, local, server, tmp_path):
    with StoreProxy(bucket.port, seed=5, slow=0.02, lost=0.03, cut=0.02) as proxy:
        done = Trials(Bucket(bucket, via=proxy.port), local, server, tmp_path, "shaky", days=1)
        assert done.problems == []
        assert min(proxy.hits[kind] for kind in ("slow", "lost", "cut")) >= 1


def test_what_lies_here_of_a_dataset_on_a_store_is_for_its_owner_alone_whatever_the_umask(trials, bucket, tmp_path):
    where = place(trials.bucket, tmp_path / "modes", trials.local[1].start, f"{trials.prefix}/modes")
    trials.bucket.copy(f"{trials.prefix}/peace/", f"{where.prefix}/")
    layout = locate(f"s3://{trials.bucket.name}/{where.prefix}/corpus", bucket.storage, tmp_path / "work")
    before = os.umask(0)
    try:
        layout.files.refresh()
    finally:
        os.umask(before)
    assert (layout.root / "of").exists()
    open_to_others = [path for path in layout.root.rglob("*") if path.stat().st_mode & 0o007]
    assert open_to_others == []


def test_a_store_that_heeds_no_conditions_stops_a_run_before_it_begins(moto, local, server, tmp_path):
    with StoreProxy(moto.port, blind=True) as proxy:
        where = place(Bucket(moto, via=proxy.port), tmp_path / "blind", local[0].start, "blind")
        assert server.run([str(where.tree), "1", "0"], where.env()) == 2


def test_an_option_that_is_none_is_told_of_by_its_name(remote):
    (told,) = Remote(remote.url, {**remote.options, "regoin": "x"}).problems()
    assert "storage: regoin: no such option for s3" in told

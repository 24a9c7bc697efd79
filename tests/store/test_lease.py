"""The lease of a dataset on an object store: who holds it, how it is renewed, taken over, lost and given up."""

import json
import re
import stat
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from gristmill.core.errors import LockedError, StaleError, StoreError, Transient
from gristmill.store import lease
from gristmill.store.lease import COPY, HELD, LOCK
from gristmill.store.remote import Remote

pytestmark = pytest.mark.slice
NAMES = iter(range(1000))
TERM_S = 1.0  # where nobody renews; a holder who does may get no turn for a second on a busy machine


@pytest.fixture(name="remote")
def _remote(bucket, request):
    term_s = TERM_S if "still" in request.fixturenames else 4 * TERM_S
    return Remote(f"s3://{bucket.bucket}/lease-{next(NAMES)}", bucket.storage, term_s)


@pytest.fixture(name="still")
def _still(monkeypatch):
    """Let no lease be renewed, as of a process that is stopped."""
    monkeypatch.setattr(lease.Lease, "_renew", lambda self: None)


def folder(tmp_path, name):
    (tmp_path / name).mkdir(exist_ok=True)
    return tmp_path / name


def take(tmp_path, name, remote, *, boot="boot", wait_s=0.0):
    return lease.take(folder(tmp_path, name), remote, boot, wait_s)


def renewed(remote):
    """Put what a beat has written whose answer was lost."""
    holder = lease.read(remote)[0]
    return remote.put(LOCK, msgspec.json.encode(msgspec.structs.replace(holder, beat=holder.beat + 1)))


def test_a_lease_tells_its_holder_and_lies_in_the_folder_for_its_owner_alone(remote, tmp_path):
    held = take(tmp_path, "a", remote)
    holder, _ = lease.read(remote)
    assert (holder.attempt, holder.held, holder.boot) == (1, True, "boot")
    assert re.fullmatch(r"pid \d+ on .+ since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(holder))
    assert msgspec.json.decode((tmp_path / "a" / HELD).read_bytes()) == {"token": holder.token}
    assert len(holder.token) == 32
    assert len(holder.copy) == 32
    assert holder.copy == (tmp_path / "a" / COPY).read_text()
    for name in (HELD, COPY):
        assert stat.S_IMODE((tmp_path / "a" / name).stat().st_mode) == 0o600
    held.release()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [COPY]
    assert not lease.read(remote)[0].held


def test_the_attempt_grows_and_the_token_is_another_with_every_holder_and_the_folder_keeps_its_name(remote, tmp_path):
    seen = []
    for _ in range(3):
        held = take(tmp_path, "a", remote)
        assert not held.foreign
        seen.append(lease.read(remote)[0])
        held.release()
    assert [holder.attempt for holder in seen] == [1, 2, 3]
    assert len({holder.token for holder in seen}) == 3
    assert len({holder.copy for holder in seen}) == 1


def test_a_lease_is_renewed_several_times_in_a_term_until_it_is_given_up(remote, tmp_path):
    held = take(tmp_path, "a", remote)
    deadline = time.monotonic() + 30
    while lease.read(remote)[0].beat < 2:
        assert time.monotonic() < deadline, "no beat"
        time.sleep(0.05)
    lease.check(tmp_path / "a", remote)
    held.release()
    assert not [thread for thread in threading.enumerate() if thread.name == "gristmill-lease"]


def test_a_beat_that_the_store_does_not_answer_is_made_up_for_by_the_next(remote, tmp_path, monkeypatch):
    put, failed = Remote.put, []

    def shaky(self, key, content, seen=None):
        if threading.current_thread().name == "gristmill-lease" and len(failed) < 2:
            failed.append(Transient("slow") if not failed else StoreError("odd"))
            raise failed[-1]
        return put(self, key, content, seen)

    monkeypatch.setattr(Remote, "put", shaky)
    held = take(tmp_path, "a", remote)
    deadline = time.monotonic() + 30
    while not lease.read(remote)[0].beat:
        assert time.monotonic() < deadline, "no beat"
        time.sleep(0.05)
    assert len(failed) == 2
    held.release()
    assert not (tmp_path / "a" / HELD).exists()


@pytest.mark.usefixtures("still")
def test_a_beat_of_ones_own_whose_answer_was_lost_is_no_takeover(remote, tmp_path):
    held = take(tmp_path, "a", remote)
    renewed(remote)
    held.release()
    assert not lease.read(remote)[0].held
    assert not (tmp_path / "a" / HELD).exists()


@pytest.mark.usefixtures("still")
def test_who_finds_the_lease_anothers_has_lost_it_for_good_and_keeps_his_token(remote, tmp_path):
    held = take(tmp_path, "a", remote)
    before = (tmp_path / "a" / HELD).read_bytes()
    other = msgspec.structs.replace(lease.read(remote)[0], token="another's")
    remote.put(LOCK, msgspec.json.encode(other))
    held.release()
    assert lease.read(remote)[0] == other
    assert (tmp_path / "a" / HELD).read_bytes() == before
    with pytest.raises(StaleError, match=rf"{remote.url} was taken over by another run \(pid \d+ on .*Run again"):
        lease.check(tmp_path / "a", remote)


@pytest.mark.usefixtures("still")
def test_a_check_fails_where_the_lease_was_given_up_or_is_gone_and_passes_where_nothing_is_held(remote, tmp_path):
    lease.check(folder(tmp_path, "b"), remote)
    held = take(tmp_path, "a", remote)
    lease.check(tmp_path / "a", remote)
    given_up = msgspec.structs.replace(lease.read(remote)[0], held=False)
    remote.put(LOCK, msgspec.json.encode(given_up))
    with pytest.raises(StaleError, match="was taken over"):
        lease.check(tmp_path / "a", remote)
    remote.delete([LOCK])
    with pytest.raises(StaleError, match=r"was taken over by another run \(unknown\)"):
        lease.check(tmp_path / "a", remote)
    held.release()


def test_what_is_no_lease_is_told_by_its_name(remote, tmp_path):
    remote.put(LOCK, b"{")
    with pytest.raises(StoreError, match=f"{remote.url}/{LOCK} is no lease; .*remove it"):
        take(tmp_path, "a", remote)


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("boot", ["boot", "another"])
def test_only_a_holder_of_this_folder_and_this_boot_is_known_to_be_dead(remote, tmp_path, boot):
    take(tmp_path, "a", remote)
    began = time.monotonic()
    held = take(tmp_path, "a", remote, boot=boot)
    assert held.foreign == (boot == "another")
    assert (time.monotonic() - began > TERM_S) == (boot == "another")
    assert lease.read(remote)[0].attempt == 2
    held.release()


def test_who_may_wait_is_refused_after_that_and_gets_what_is_given_up_meanwhile(remote, tmp_path):
    held = take(tmp_path, "a", remote)
    began = time.monotonic()
    with pytest.raises(LockedError, match=rf"{remote.url} is held by another run \(pid \d+ on .*or use --wait"):
        take(tmp_path, "b", remote, wait_s=1.0)
    assert time.monotonic() - began >= 1.0
    end = threading.Timer(0.5, held.release)
    end.start()
    after = take(tmp_path, "b", remote, wait_s=60)
    end.join()
    assert not after.foreign
    after.release()


@pytest.mark.usefixtures("still")
def test_who_comes_second_with_his_write_looks_again_from_the_beginning(remote, tmp_path, monkeypatch):
    take(tmp_path, "a", remote)
    put, written = Remote.put, []

    def late(self, key, content, seen=None):
        if not written:
            written.append(time.monotonic())
            monkeypatch.setattr(Remote, "put", put)
            renewed(self)
        return put(self, key, content, seen)

    monkeypatch.setattr(Remote, "put", late)
    held = take(tmp_path, "b", remote)
    assert time.monotonic() - written[0] > TERM_S
    assert (held.foreign, lease.read(remote)[0].attempt) == (True, 2)
    held.release()


@pytest.mark.usefixtures("still")
def test_a_lease_is_given_up_with_one_write_though_its_token_here_is_gone(remote, tmp_path, monkeypatch):
    held, put, written = take(tmp_path, "a", remote), Remote.put, []

    def counted(self, key, content, condition=None):
        written.append(key)
        return put(self, key, content, condition)

    monkeypatch.setattr(Remote, "put", counted)
    (tmp_path / "a" / HELD).unlink()
    held.release()
    assert written == [LOCK]
    assert not lease.read(remote)[0].held


def test_a_lease_is_given_up_behind_the_beat_that_is_under_way(remote, tmp_path, monkeypatch):
    put, under_way, written = Remote.put, threading.Event(), []

    def slow(self, key, content, condition=None):
        if threading.current_thread().name == "gristmill-lease":
            under_way.set()
            time.sleep(0.5)
        found = put(self, key, content, condition)
        written.append(msgspec.json.decode(content)["held"])
        return found

    held = take(tmp_path, "a", remote)
    monkeypatch.setattr(Remote, "put", slow)
    assert under_way.wait(30)
    held.release()
    assert not [thread for thread in threading.enumerate() if thread.name == "gristmill-lease"]
    assert written[-2:] == [True, False]
    assert not lease.read(remote)[0].held


def test_who_may_wait_waits_that_long(remote, tmp_path):
    held = take(tmp_path, "a", remote)
    began = time.monotonic()
    with pytest.raises(LockedError):
        take(tmp_path, "b", remote)
    at_once = time.monotonic() - began
    with pytest.raises(LockedError):
        take(tmp_path, "b", remote, wait_s=at_once + 2)
    assert time.monotonic() - began >= 2 * at_once + 2
    held.release()


ENDS = """
import json, sys
from pathlib import Path
from gristmill.store import lease
from gristmill.store.remote import Remote
url, storage, folder = json.loads(sys.argv[1])
lease.take(Path(folder), Remote(url, storage, 60.0), "boot", 0)
"""


def test_a_process_that_forgets_its_lease_ends_all_the_same_and_the_lease_stays_as_it_was(remote, tmp_path):
    words = json.dumps([remote.url, dict(remote.options), str(folder(tmp_path, "a"))])
    done = subprocess.run([sys.executable, "-c", ENDS, words], timeout=60, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    holder, _ = lease.read(remote)
    assert (holder.attempt, holder.held, holder.beat) == (1, True, 0)

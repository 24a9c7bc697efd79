"""The lease: who may change a dataset on an object store, and the attempt number that fences off whoever may not any more.

The object `lock` names the holder, his attempt and a token; a thread renews it while he works. Nobody's clock is compared with another's: a
lease is over when it was seen unchanged for longer than its term by the watcher's own monotonic clock, or when its holder is known to be
dead: it was taken from this very working folder, since this machine started, and that folder's flock is ours now.
Not here: one machine's processes (`claim.DatasetLock` holds the flock first). Invariants: an attempt number is never given out twice; the
token that is held lies in the working folder, so that every process of a run can ask if it still is the store's (`check`); a lease that was
lost stays lost, also when its holder ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gristmill.core import access
from gristmill.core.errors import LockedError, StaleError, StoreError, Transient
from gristmill.store.remote import ABSENT, Remote, Seen

LOCK = "lock"
HELD = "lease.json"  # in the working folder: the token of the lease its processes work under
COPY = "copy"  # in the working folder: what tells it from every other
BEATS = 4  # renewals in a term


class Holder(msgspec.Struct, frozen=True):
    """The object `lock`. beat: how often it was renewed. copy: of the working folder; boot: of the machine. since: for people."""

    attempt: int
    token: str
    held: bool
    beat: int
    host: str
    pid: int
    boot: str
    copy: str
    since: str

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host} since {self.since}"


class Lease:
    """A lease that was taken, renewed until `release`. foreign: it was taken from a holder of whom nobody knows if he is dead."""

    def __init__(self, root: Path, remote: Remote, holder: Holder, seen: Seen, *, foreign: bool) -> None:
        self.root, self.remote, self.foreign = root, remote, foreign
        self._holder, self._seen = holder, seen
        self._over = threading.Event()
        self._lost = False
        with access.create(root / f".{HELD}.new", access.PRIVATE) as file:
            file.write(msgspec.json.encode({"token": holder.token}))
        (root / f".{HELD}.new").replace(root / HELD)
        self._thread = threading.Thread(target=self._renew, name="gristmill-lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._over.wait(self.remote.term_s / BEATS) and not self._lost:
            with contextlib.suppress(
                Transient, StoreError
            ):  # the next beat tries again; writers ask the store themselves
                self._write(msgspec.structs.replace(self._holder, beat=self._holder.beat + 1))

    def _write(self, holder: Holder) -> None:
        seen = self.remote.put(LOCK, msgspec.json.encode(holder), self._seen)
        if seen is not None:
            self._holder, self._seen = holder, seen
            return
        found = read(self.remote)  # of an answer that was lost, an earlier beat may be there
        if found is not None and found[0].token == holder.token:
            self._seen = found[1]
        else:
            self._lost = True

    def release(self) -> None:
        """Give the lease up. One that was lost leaves its token where it is: what is left of the run may write nothing."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(Transient, StoreError):
            for _ in range(3):
                if not self._lost:
                    self._write(msgspec.structs.replace(self._holder, held=False))
                if self._lost or not self._holder.held:
                    break
        if not self._lost:
            (self.root / HELD).unlink(missing_ok=True)


def take(root: Path, remote: Remote, boot: str, wait_s: float) -> Lease:
    """Take the lease of a dataset; the working folder `root` is locked by this process. Looks for a term at a lease that nobody may hold any more.

    Raises:
        LockedError: somebody holds it, and renewed it while it was looked at.
    """
    copy = _copy(root)
    deadline = time.monotonic() + wait_s
    watched: tuple[Seen, float] | None = None  # what was seen first, and when
    while True:
        asked = time.monotonic()  # the answer is from then on: a store that is slow to answer makes no lease older
        found = read(remote)
        before = found[0] if found is not None else None
        dead = before is not None and before.held and (before.copy, before.boot) == (copy, boot)
        same = watched is not None and found is not None and watched[0].etag == found[1].etag
        if before is None or not before.held or dead or (watched and same and asked - watched[1] > remote.term_s):
            holder = _holder(before.attempt + 1 if before is not None else 1, boot, copy)
            seen = remote.put(LOCK, msgspec.json.encode(holder), found[1] if found is not None else ABSENT)
            if seen is not None:
                return Lease(root, remote, holder, seen, foreign=before is not None and before.held and not dead)
            watched = None
            continue
        assert found is not None
        if not same:
            if watched is not None and asked >= deadline:
                raise LockedError(f"{remote.url} is held by another run ({before}); wait for it to end, or use --wait")
            watched = (found[1], time.monotonic())
        time.sleep(min(1.0, remote.term_s / BEATS / 2))


def read(remote: Remote) -> tuple[Holder, Seen] | None:
    """Give who holds or held a dataset, as the store has it.

    Raises:
        StoreError: it cannot be read.
    """
    found = remote.get(LOCK)
    if found is None:
        return None
    try:
        return msgspec.json.decode(found[0], type=Holder), found[1]
    except msgspec.DecodeError:
        raise StoreError(f"{remote.url}/{LOCK} is no lease; if nothing runs on this dataset, remove it") from None


def check(root: Path, remote: Remote) -> None:
    """See that the lease this working folder's processes work under, if any, still is the store's.

    Raises:
        StaleError: another run has taken the dataset over.
    """
    try:
        token = msgspec.json.decode((root / HELD).read_bytes())["token"]
    except FileNotFoundError:
        return  # nothing is held here: a verb that takes no lock
    found = read(remote)
    if found is None or found[0].token != token or not found[0].held:
        raise StaleError(
            f"{remote.url} was taken over by another run ({found[0] if found else 'unknown'}), as this one gave no sign of life; "
            "nothing more is written. Run again"
        )


def _holder(attempt: int, boot: str, copy: str) -> Holder:
    since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Holder(attempt, secrets.token_hex(16), True, 0, socket.gethostname(), os.getpid(), boot, copy, since)


def _copy(root: Path) -> str:
    """Give the name of a working folder, made once."""
    path = root / COPY
    if not path.exists():
        with access.create(root / f".{COPY}.new", access.PRIVATE) as file:
            file.write(secrets.token_hex(16).encode())
        (root / f".{COPY}.new").replace(path)
    return path.read_text()

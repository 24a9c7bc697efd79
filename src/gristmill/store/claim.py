"""Who may run: the dataset's lock, and the number (`seq`) a run takes.

Not here: what a run does. Invariants: one live run at a time holds the flock (the kernel frees it when the process
dies, however it dies), and of a dataset on an object store the lease too (`lease.py`); a seq is given out once, by create-if-absent; a run that died without a report is taken over
with its seq and its frozen plan, one that failed, was refused or has another config leaves a gap.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from gristmill.core.errors import LockedError, StoreError, naming
from gristmill.store import disk, formats, lease, snapshot
from gristmill.store.layout import FORMAT, Layout
from gristmill.store.remote import Remote

SEQ_BITS = 18


class Claim(msgspec.Struct, frozen=True):
    """The content of `claim.json`. `parent` is 0 when there was no snapshot; `config` is the config's fingerprint."""

    format: int
    seq: int
    parent: int
    config: str
    boot: str
    pid: int
    host: str
    time: str


class DatasetLock:
    """The exclusive right to change a dataset, for as long as the `with` block lasts."""

    def __init__(self, layout: Layout, wait_s: float = 0.0) -> None:
        self.layout = layout
        self.wait_s = wait_s
        self._file: BufferedRandom | None = None
        self._lease: lease.Lease | None = None

    def __enter__(self) -> Self:
        disk.make_folder(self.layout.root)
        self.layout.must_be_own()
        path = self.layout.lock
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise StoreError(
                f"{path} is a symbolic link, which gristmill never makes; look at who did, and remove it"
            ) from None
        file = os.fdopen(handle, "r+b")
        deadline = time.monotonic() + self.wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    holder = file.read(200).decode(errors="replace").strip()
                    file.close()
                    raise LockedError(
                        f"{self.layout.name} is held by another run ({holder or 'unknown'}); wait for it to end, or use --wait"
                    ) from None
                time.sleep(0.2)
        self._file = file
        with naming(path):
            file.truncate(0)
            file.write(f"pid {os.getpid()} on {socket.gethostname()} since {now()}\n".encode())
            file.flush()
        if self.layout.remote is not None:
            self._hold(self.layout.remote, deadline)
        return self

    def _hold(self, remote: Remote, deadline: float) -> None:
        """Take the lease of a dataset on an object store too, and see what others did while this machine looked away."""
        try:
            self._lease = lease.take(self.layout.root, remote, boot_id(), max(0.0, deadline - time.monotonic()))
            self.layout.files.refresh()
            if self._lease.foreign:
                snapshot.fence(self.layout)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lease is not None:
            self._lease.release()
        if self._file is not None:
            self._file.close()


def now() -> str:
    """Give the time as ISO 8601 UTC, for labels only."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def boot_id() -> str:
    """Give what changes when the machine restarts: unsynced staging files of another boot are not trusted."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"


def claimed(layout: Layout) -> list[int]:
    """Give the seqs of all claims, ascending."""
    if not layout.runs.is_dir():
        return []
    return sorted(int(p.name) for p in layout.runs.iterdir() if p.name.isdigit() and (p / "claim.json").exists())


def read_claim(layout: Layout, seq: int) -> Claim:
    """Read a claim.

    Raises:
        StoreError: it is damaged, or of a format this version does not know.
    """
    try:
        with naming(layout.claim(seq)):
            claim = msgspec.json.decode(layout.claim(seq).read_bytes(), type=Claim)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(
            f"{layout.claim(seq)} is damaged ({type(error).__name__}); if no snapshot {seq} is listed by `gristmill log`, "
            f"remove {layout.run(seq)} and run again"
        ) from None
    formats.check(layout.claim(seq), claim.format, oldest=1)
    return claim


def unfinished(layout: Layout, head: int, config: str) -> Claim | None:
    """Give the claim of the newest run above `head` that died and can be gone on with under `config`, if any."""
    seqs = [seq for seq in claimed(layout) if seq > head]
    if not seqs or layout.report(seqs[-1]).exists():
        return None
    claim = read_claim(layout, seqs[-1])
    return claim if claim.config == config and claim.parent == head and layout.plan(seqs[-1]).exists() else None


def take_seq(layout: Layout, head: int, config: str) -> Claim:
    """Take the next number, create-if-absent; or that of a run which died before it had a plan, and so did nothing.

    Raises:
        StoreError: all numbers of the format are used up.
    """
    newest = max([head, *claimed(layout)])
    if newest > head and not layout.plan(newest).exists() and not layout.report(newest).exists():
        claim = _claim(newest, head, config)
        layout.files.write_file(layout.claim(newest), disk.to_json(claim))
        return claim
    seq = newest + 1
    while True:
        if seq >= 1 << SEQ_BITS:
            raise StoreError(f"{layout.name}: run number {seq} does not fit into {SEQ_BITS} bits; start a new dataset")
        claim = _claim(seq, head, config)
        if layout.files.create_file(layout.claim(seq), disk.to_json(claim)):
            return claim
        seq += 1


def _claim(seq: int, head: int, config: str) -> Claim:
    return Claim(FORMAT, seq, head, config, boot_id(), os.getpid(), socket.gethostname(), now())

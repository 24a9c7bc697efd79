"""Where everything of a dataset lies: the only file that knows path names.

Not here: what is written there. Invariant: the names in DESIGN section 5 are relied on from outside and never change
within a format version.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import msgspec

from gristmill.core.buckets import KINDS
from gristmill.core.errors import ConfigError, StoreError
from gristmill.core.places import Options
from gristmill.store.files import Files, LocalFiles
from gristmill.store.mirror import Mirror
from gristmill.store.remote import Remote

FORMAT = 1
_FOLDERS = ("table", "runs", "index", "state", "landing", "staging", "monitoring")


class Layout(msgspec.Struct, frozen=True):
    """The paths of one dataset. All paths given are absolute when `root` is.

    remote: where it lies, if that is an object store; `root` is the working folder then.
    """

    root: Path
    remote: Remote | None = None

    @property
    def name(self) -> str:
        """Where the dataset lies, for people."""
        return self.remote.url if self.remote is not None else str(self.root)

    def told(self, text: str) -> str:
        """Give a message in which each path of this machine's copies of a store is named by what it is a copy of; one about a disk as it is."""
        if self.remote is None:
            return text
        here = re.escape(str(self.root)) + r"(/[^\s'\":;,()]+)"
        return re.sub(here, lambda found: f"{self.name}{found[1]} (copy: {found[0]})", text)

    @property
    def files(self) -> Files:
        """What its lasting files are written and found with."""
        return Mirror(self.root, self.remote) if self.remote is not None else LocalFiles(self.root)

    @property
    def table(self) -> Path:
        """The Delta table."""
        return self.root / "table"

    def must_be_own(self) -> None:
        """See that no folder a run writes to is a link, through which it would write elsewhere (the dataset's own folder may be one).

        Raises:
            StoreError: one is.
        """
        places = [self.root / name for name in _FOLDERS]
        runs = _inside(self.runs)
        newest = max((run for run in runs if run.name.isdecimal()), key=lambda run: int(run.name), default=None)
        places += [*runs, *(_inside(newest) if newest is not None else []), *_inside(self.root / "state")]
        for place in [*places, self.table / "_delta_log"]:
            if place.is_symlink():
                raise StoreError(
                    f"{place} is a symbolic link, which gristmill never makes; put what it stands for there, or link the "
                    "whole dataset"
                )

    @property
    def lock(self) -> Path:
        """The file whose flock a live run holds."""
        return self.root / "lock"

    @property
    def last_failure(self) -> Path:
        """Where in the code the last verb failed that no run has a log of."""
        return self.root / "last-failure.log"

    @property
    def runs(self) -> Path:
        """One folder a run."""
        return self.root / "runs"

    def run(self, seq: int) -> Path:
        """The folder of run `seq`."""
        return self.runs / str(seq)

    def claim(self, seq: int) -> Path:
        """Who took `seq`."""
        return self.run(seq) / "claim.json"

    def plan(self, seq: int) -> Path:
        """The frozen plan of run `seq`."""
        return self.run(seq) / "plan.json"

    def listing(self, seq: int, source: str) -> Path:
        """What `source` listed when run `seq` was planned."""
        return self.run(seq) / "listing" / f"{source}.parquet"

    def redecided(self, seq: int) -> Path:
        """Which records run `seq` decides about again, where it is not all."""
        return self.run(seq) / "redecided.parquet"

    def task(self, seq: int, task: str) -> Path:
        """The result of a finished task: first writer wins."""
        return self.run(seq) / "tasks" / f"{task}.json"

    def side(self, seq: int, kind: str, task: str) -> Path:
        """A side file (`verdicts`, `signals`, `quarantine`) of a task."""
        return self.run(seq) / kind / f"{task}.parquet"

    def manifest(self, seq: int) -> Path:
        """The complete head of snapshot `seq`."""
        return self.run(seq) / "manifest.json"

    def candidate(self, seq: int) -> Path:
        """The manifest of a candidate that the gate refused, or let pass and keeps for `stage commit`."""
        return self.run(seq) / "candidate.json"

    def judged(self, seq: int) -> Path:
        """The report of a kept candidate as the gate made it: the gate let it pass."""
        return self.run(seq) / "judged.json"

    def report(self, seq: int) -> Path:
        """The report of run `seq`."""
        return self.run(seq) / "report.json"

    def collected(self, seq: int) -> Path:
        """What `gc` removed of run `seq`; not there while all of it is."""
        return self.run(seq) / "collected.json"

    @property
    def pins(self) -> Path:
        """The snapshots that `gc` must keep, by name."""
        return self.root / "pins.json"

    def page(self, seq: int) -> Path:
        """The report of run `seq` as a page for people."""
        return self.run(seq) / "report.html"

    def distributions(self, seq: int) -> Path:
        """The distributions of what run `seq` read and published, by source."""
        return self.run(seq) / "distributions.json"

    def log(self, seq: int) -> Path:
        """The log of run `seq`, with tracebacks."""
        return self.run(seq) / "log.jsonl"

    def heartbeat(self, seq: int) -> Path:
        """The sign of life of run `seq`, while it lives."""
        return self.run(seq) / "heartbeat.json"

    @property
    def estimate(self) -> Path:
        """What the last estimate said."""
        return self.root / "estimate.json"

    @property
    def last_call(self) -> Path:
        """How a call ended that did not end well and left no report; of a later one, that it did better."""
        return self.root / "last-call.json"

    @property
    def watching(self) -> Path:
        """What watching remembers from run to run."""
        return self.root / "monitoring" / "state.json"

    def index(self, fingerprint: str, bucket: int, seq: int) -> Path:
        """The sorted run that snapshot `seq` added to a bucket of an index."""
        return self.root / "index" / fingerprint / f"{bucket:04x}" / f"{seq}.parquet"

    def tombstones(self, seq: int) -> Path:
        """The ords that snapshot `seq` withdrew."""
        return self.root / "index" / "tombstones" / f"{seq}.parquet"

    def state(self, source: str, seq: int) -> Path:
        """The unit table of `source` as of snapshot `seq`."""
        return self.root / "state" / source / f"{seq}.parquet"

    @staticmethod
    def run_of_state(path: str) -> int:
        """Give the run that wrote the state at a path: the last that asked its source."""
        return int(Path(path).stem)

    def landing(self, source: str) -> Path:
        """The raw pages of a source that cannot be read again, one folder a run."""
        return self.root / "landing" / source

    def staging(self, seq: int) -> Path:
        """Scratch of run `seq`, removed after its commit."""
        return self.root / "staging" / str(seq)

    def relative(self, path: Path) -> str:
        """Give `path` as manifests write it: relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def absolute(self, relative: str) -> Path:
        """Give the path that a manifest names; what lies there is here to be read, if it is there at all."""
        return self.files.fetch(self.root / relative)


def locate(dataset: str, storage: Options, work_dir: Path | None = None, term_s: float = 60.0) -> Layout:
    """Give the layout of a dataset by its folder or URL.

    Args:
        dataset: an absolute folder, or a URL such as s3://bucket/corpus.
        storage: how to reach the store of a URL.
        work_dir: the working folder for a URL; by default one of its own below the user's cache.
        term_s: how long a lease that is not renewed lasts.

    Raises:
        ConfigError: it is a URL of no store that is known, or not a whole one.
    """
    if "://" not in dataset:
        return Layout(Path(dataset))
    scheme, _, rest = dataset.partition("://")
    if scheme.lower() not in KINDS:
        raise ConfigError(
            f"dataset: {scheme}:// is no store a dataset can lie on; use s3://, gs:// or az://, or a folder"
        )
    bucket, _, inside = rest.removesuffix("/").partition("/")
    if inside and not {"", ".", ".."}.isdisjoint(inside.split("/")):  # one store takes them for names, another does not
        raise ConfigError(
            f'dataset: {scheme}://BUCKET/FOLDER with an empty folder, "." or ".." in it; write it without'
        )
    if not bucket or not inside or ("@" in bucket and not scheme.startswith("abfs")):
        raise ConfigError(
            f'dataset: write {scheme}://BUCKET/FOLDER, without credentials; those go to storage: {{…: "${{env:…}}"}}'
        )
    url = f"{scheme}://{rest.strip('/')}"
    if work_dir is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        where = hashlib.sha256(f"{url} {storage.get('endpoint', '')}".encode()).hexdigest()[:16]
        work_dir = cache / "gristmill" / "datasets" / f"{re.sub('[^A-Za-z0-9.-]', '-', inside)[-40:]}-{where}"
    return Layout(work_dir.absolute(), Remote(url, storage, term_s))


def _inside(folder: Path) -> list[Path]:
    """Give what stands in a folder; of one that is not there, nothing."""
    return [*folder.iterdir()] if folder.is_dir() else []

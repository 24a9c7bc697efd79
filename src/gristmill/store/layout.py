"""Where everything of a dataset lies: the only file that knows path names.

Not here: what is written there. Invariant: the names in DESIGN section 5 are relied on from outside and never change
within a format version.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

FORMAT = 1


class Layout(msgspec.Struct, frozen=True):
    """The paths of one dataset. All paths given are absolute when `root` is."""

    root: Path

    @property
    def table(self) -> Path:
        """The Delta table."""
        return self.root / "table"

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
        """Give the path that a manifest names."""
        return self.root / relative

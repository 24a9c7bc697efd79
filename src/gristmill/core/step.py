"""Steps: the three kinds, one verb each, and the envelope a pipeline puts around one.

Not here: the steps themselves (`steps/`), when they run (`engine.task`). Invariants: a step is its parameters (a
frozen struct, its fields are the YAML keys); it sees a batch and nothing else; what it answers depends on the record,
the parameters and earlier records in the total order alone, never on batch borders, worker count or clocks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec
import pyarrow as pa

from gristmill.core.batch import Batch, Int64s, UInt64s


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all steps. `VERSION` is raised when the same parameters give other results: it is in the fingerprint."""

    VERSION: ClassVar[int] = 1

    def open(self, folder: Path) -> Step:
        """Give the step ready to work in this process; called once a task. `folder` is where the config lies."""
        return self

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on before anything runs; no side effect."""
        return []

    def code_hash(self, folder: Path) -> str:
        """Give a digest of user code that the fingerprint must hold; empty for built-in steps."""
        return ""


class Transform(Step, frozen=True, kw_only=True):
    """One row in, one row out, order kept."""

    def apply(self, batch: Batch) -> Batch:
        """Give the changed batch: same rows, same order. A row that fails gets a word in `errors`."""
        raise NotImplementedError


class Filter(Step, frozen=True, kw_only=True):
    """Keeps or drops rows; never edits text.

    `RULES` names, for each reason word, the signal that was looked at and the parameter that was the limit.
    """

    RULES: ClassVar[dict[str, tuple[str, str]]] = {}

    def judge(self, batch: Batch) -> pa.Array:
        """Give one dictionary-encoded string a row: null keeps it, a word drops it and is the reason."""
        raise NotImplementedError


class Prior(Protocol):
    """What a GlobalStep may ask of the index of earlier snapshots (one bucket of it)."""

    def owners(self, keys: UInt64s) -> Int64s:
        """Give the `ord` of the live owner of each key, -1 where there is none. keys: uint64 (n, 2), sorted."""
        ...


class Merged(msgspec.Struct, frozen=True):
    """What merging one bucket gave.

    verdicts: table (ord int64, dup_of int64) of the rows to drop. delta: table (k0 uint64, k1 uint64, ord int64), sorted,
    the new owners, which becomes this snapshot's run of the index.
    """

    verdicts: pa.Table
    delta: pa.Table


class GlobalStep(Step, frozen=True, kw_only=True):
    """Decides with all records in view: rows are observed, merged bucket by bucket, then the verdicts are applied."""

    # Buckets are the top bits of the key: fixed, in the fingerprint, never a matter of memory or workers.
    BUCKET_BITS: ClassVar[int] = 4

    def observe(self, batch: Batch, seq: int) -> pa.RecordBatch:
        """Give (bucket uint16, k0 uint64, k1 uint64, ord int64), one row a record. `seq` is the run's number."""
        raise NotImplementedError

    def merge(self, observed: pa.Table, prior: Prior) -> Merged:
        """Decide one bucket. `observed`: (k0, k1, ord), live records only, any order."""
        raise NotImplementedError


class BoundStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step in its place in a pipeline: its unique name, its part name, and who answers for it."""

    name: str
    part: str
    step: Step
    description: str = ""
    owner: str = ""
    license: str = ""

    def fingerprint(self, folder: Path) -> dict[str, Any]:
        """Give what decides this step's results: part, version, parameters, user code."""
        return {
            "name": self.name,
            "part": self.part,
            "version": self.step.VERSION,
            "params": msgspec.to_builtins(self.step),
            "code": self.step.code_hash(folder),
        }

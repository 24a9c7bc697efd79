"""The report of a run: `report.json`, schema 1, relied on from outside.

Not here: what is counted (`engine.flow`), how a terminal shows it (`cli`). Invariants: the keys are those of DESIGN
section 9 and never change within version 1; no document text or secret in it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gristmill.core.counts import Counts, StepCounts
from gristmill.core.errors import StoreError
from gristmill.store.layout import Layout

VERSION = 1
Status = Literal["published", "nothing_new", "refused", "failed", "partial", "published_export_failed"]


class Report(msgspec.Struct, kw_only=True):
    """What one run did.

    run: its number (None when nothing was new). snapshot: the newest published one after the run (None: none yet).
    bytes_read: input after decompression. bytes_published: the shards added, as stored. compression_ratio: text bytes
    in those shards over their stored bytes. cpu_seconds: of all processes; cores: tasks that could be done at a time. cost: `{"total",
    "currency", "parts"}` by the prices of the config. estimate: what `plan --estimate` had said of this very run, beside what was
    measured. success_rate: records not quarantined over records read. drift: how far each
    distribution of each source is from earlier ones; drift_not_judged: which could not be compared, and why.
    """

    version: int = VERSION
    run: int | None = None
    snapshot: int | None = None
    parent: int | None = None
    status: Status
    dataset: str
    counts: Counts = msgspec.field(default_factory=Counts)
    balanced: bool = True
    quality: dict[str, Any] = {}
    dataset_rows: int = 0
    dataset_quality_score: float | None = None
    success_rate: float = 1.0
    records_failed: int = 0
    errors: list[dict[str, Any]] = []
    sources: dict[str, Any] = {}
    steps: list[StepCounts] = []
    warnings: dict[str, int] = {}
    bytes_read: int = 0
    bytes_published: int = 0
    compression_ratio: float = 0.0
    started: str = ""
    seconds: float = 0.0
    mb_per_s: float = 0.0
    peak_rss_mb: float = 0.0
    cpu_seconds: float = 0.0
    cores: int = 1
    cost: dict[str, Any] | None = None
    estimate: dict[str, Any] | None = None
    retries: int = 0
    resumed: bool = False
    gate: list[dict[str, Any]] = []
    drift: list[dict[str, Any]] = []
    drift_not_judged: list[dict[str, Any]] = []
    exports: dict[str, Any] = {}
    lineage: list[dict[str, Any]] = []

    def to_json(self) -> dict[str, Any]:
        """Give the report as plain JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def _repr_html_(self) -> str:
        from gristmill.report import notebook  # templates load where somebody looks

        return notebook.report(self.to_json())


def read_report(layout: Layout, seq: int) -> dict[str, Any]:
    """Give the report of run `seq` as plain JSON values.

    Raises:
        StoreError: it is missing or damaged.
    """
    path = layout.report(seq)
    try:
        content = path.read_bytes()
        plain: dict[str, Any] = msgspec.json.decode(content)
        msgspec.convert(plain, Report)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; restore it from a copy") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        found = f"it is no whole report: {type(error).__name__}" if content else "it is empty"
        raise StoreError(
            f"{path} is damaged ({found}); restore it from a copy; that of the newest snapshot the next `gristmill run` writes again"
        ) from None
    return plain


def whole_report(layout: Layout, seq: int) -> dict[str, Any] | None:
    """Give the same; None where there is none, or one that is damaged: for what can do without."""
    try:
        return read_report(layout, seq)
    except StoreError:
        return None


def error_entry(
    stage: str, source: str | None, code: str, message: str, time: str, context: dict[str, Any]
) -> dict[str, Any]:
    """Give one entry of `errors`."""
    return {"stage": stage, "source": source, "code": code, "message": message, "time": time, "context": context}

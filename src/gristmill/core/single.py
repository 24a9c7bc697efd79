"""One record through one step, and what the step did to it: for people who try steps out, and for tests of a config.

Not here: runs over many records, with retries and verdicts (`engine.flow`). Invariant: what a step does to a record here is what
it does in a run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gristmill.core import own
from gristmill.core.batch import Batch
from gristmill.core.errors import GristmillError
from gristmill.core.step import BoundStep, Filter, Transform

SHOWN = ("url", "time", "lang", "script", "license", "meta")  # columns a step may change beside the text


class Seen(NamedTuple):
    """What one step did to one record. outcome: kept, changed, dropped, quarantined or skipped. word: reason or code alone."""

    step: str
    outcome: str
    reason: str = ""
    before: str = ""
    after: str = ""
    columns: tuple[str, ...] = ()
    word: str = ""


def one(bound: BoundStep, step: Any, batch: Batch) -> tuple[Batch, Seen]:
    """Run one step, opened, on one record; give what is left of it, and what was seen."""
    reason: str | None = None
    try:
        if isinstance(step, Transform):
            after = step.apply(batch)
        elif isinstance(step, Filter):
            after, reason = batch, step.judge(batch)[0].as_py()
        else:
            after, reasons = step.run(batch)
            reason = reasons[0].as_py()
    except GristmillError:
        raise
    except BaseException as error:
        if not own.is_raised(error):
            raise
        return batch, Seen(bound.name, "quarantined", f"step.error {type(error).__name__}", word="step.error")
    word = after.errors[0].as_py() if after.errors is not None else None
    if word is not None:
        return batch, Seen(bound.name, "quarantined", word, word=word.partition(" ")[0])
    if reason is not None:
        return batch, Seen(bound.name, "dropped", reason + _grounds(bound, batch, reason), word=reason)
    changed = tuple(name for name in SHOWN if batch.rows.column(name) != after.rows.column(name))
    texts = batch.text[0].as_py(), after.text[0].as_py()
    if texts[0] == texts[1]:
        return Batch(after.rows), Seen(bound.name, "changed" if changed else "kept", columns=changed)
    return Batch(after.rows), Seen(bound.name, "changed", "", texts[0], texts[1], changed)


def _grounds(bound: BoundStep, batch: Batch, reason: str) -> str:
    """Give the measured value and the limit behind a drop, where the filter names them."""
    signal, parameter = bound.step.RULES.get(reason, ("", "")) if isinstance(bound.step, Filter) else ("", "")
    if signal not in batch.signals:
        return ""
    return f" ({signal} {float(batch.signals[signal][0]):g}, {parameter} {getattr(bound.step, parameter):g})"

"""The gate: do the counts balance, and do the rules hold. Judges the candidate; publishes nothing itself.

Not here: counting (`engine.flow`), the report's shape (`engine.report`). Invariants: a run that does not balance is
never published, whatever is accepted; a rule is judged on this run's records.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gristmill.config.settings import Gate
from gristmill.core.batch import UInt64s
from gristmill.core.counts import Counts
from gristmill.core.errors import UnbalancedError, naming
from gristmill.core.source import UNMAPPED
from gristmill.store.index import contains

# A source that gave so many records or more, and all of them bad, is refused: its mapping is wrong, and its cursor would pass them by.
ALL_BAD_FROM = 10
COUNTED_AT_ONCE = 1 << 20


class Quality(msgspec.Struct, frozen=True):
    """total: records that reached `require`. valid: passed, and no exact duplicate of another of them."""

    total: int
    valid: int
    invalid: int
    duplicates: int

    @property
    def quality_score(self) -> float:
        """Valid / total; 1.0 where nothing was judged."""
        return self.valid / self.total if self.total else 1.0


class Verdict(msgspec.Struct, frozen=True):
    """One rule, judged. accepted: the run was told to go on although it does not hold. told: of what the value is."""

    rule: str
    value: float
    limit: float
    ok: bool
    accepted: bool = False
    told: str = ""


def count_equal(paths: list[Path]) -> int:
    """Count the rows beyond the first of each hash in staged files of hashes (`as_hashes`).

    Memory holds `COUNTED_AT_ONCE` first halves of 8 bytes, and both halves of those that are equal; each file is read once.
    """
    arrays = []
    for path in paths:
        with naming(path):
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
    total = sum(array.shape[1] for array in arrays)
    parts = 1
    while total / parts > COUNTED_AT_ONCE:
        parts *= 2
    inner = np.array([part * ((1 << 64) // parts) for part in range(1, parts)], np.uint64)
    cuts = [[0, *np.searchsorted(array[0], inner).tolist(), array.shape[1]] for array in arrays]
    return sum(
        _equal([array[:, cut[part] : cut[part + 1]] for array, cut in zip(arrays, cuts, strict=True)])
        for part in range(parts)
    )


def as_hashes(hashes: list[UInt64s]) -> UInt64s:
    """Bring the hashes of a task's texts, uint64 (n, 2) each, into the form of a staged file: uint64 (2, n), sorted by the first."""
    held = np.concatenate([np.zeros((0, 2), np.uint64), *hashes])
    return np.ascontiguousarray(held[np.argsort(held[:, 0])].T)


def _equal(held: list[UInt64s]) -> int:
    """Count the columns beyond the first of each; by the first halves alone where no two of them are equal."""
    firsts = np.concatenate([np.zeros(0, np.uint64), *(array[0] for array in held)])
    firsts.sort()
    twice = np.unique(firsts[1:][firsts[1:] == firsts[:-1]])
    if not len(twice):
        return 0
    both = np.concatenate([array[:, contains(twice, array[0])] for array in held], axis=1)
    both = both[:, np.lexsort((both[1], both[0]))]
    return int((both[:, 1:] == both[:, :-1]).all(axis=0).sum())


def check_balance(counts: Counts, sources: dict[str, Counts], rows_before: int, rows_after: int) -> None:
    """Hold both laws.

    Raises:
        UnbalancedError: a record is unaccounted for.
    """
    for name, part in [("run", counts), *sources.items()]:
        if not part.balanced:
            raise UnbalancedError(
                f"{name}: {part.read} records read, {part.accounted} accounted for: {part.read - part.accounted} are missing; "
                "nothing is published. This is a fault of gristmill: keep the run folder and report it"
            )
    if rows_after != rows_before + counts.published - counts.withdrawn:
        raise UnbalancedError(
            f"the snapshot would hold {rows_after} rows, not {rows_before} + {counts.published} - {counts.withdrawn}; "
            "nothing is published. This is a fault of gristmill: keep the run folder and report it"
        )


def judge(
    gate: Gate,
    counts: Counts,
    sources: dict[str, Counts],
    quality: Quality,
    accepted: frozenset[str],
    gone_ratio: float = 0.0,
    known: Collection[str] = (),
) -> list[Verdict]:
    """Judge every rule of the gate; a rule named in `accepted` holds whatever its value.

    gone_ratio: rows withdrawn as gone over the rows before. known: sources that the parent has something of.
    """
    verdicts: list[Verdict] = []

    def rule(name: str, value: float, limit: float | None, *, at_most: bool = False, told: str = "") -> None:
        if limit is not None:
            holds = value <= limit if at_most else value >= limit
            verdicts.append(
                Verdict(name, value, limit, holds or name in accepted, not holds and name in accepted, told)
            )

    if counts.read or counts.published:
        rule("min_quality_score", quality.quality_score, gate.min_quality_score)
        rule("min_kept_ratio", kept_ratio(counts), gate.min_kept_ratio)
        rule("max_quarantined_ratio", quarantined_ratio(counts), gate.max_quarantined_ratio, at_most=True)
        rule("min_docs", counts.published, gate.min_docs if arrived(counts) else None)
    if counts.withdrawn:
        rule("max_gone_ratio", gone_ratio, gate.max_gone_ratio, at_most=True)
    for name, part in sources.items():
        asked = name in gate.sources and gate.sources[name].max_quarantined_ratio is not None
        asked = asked or gate.max_quarantined_ratio == 1  # all of them may be bad, so all of one may
        unmapped = [code for code in UNMAPPED if code in part.quarantined]
        enough = part.read >= ALL_BAD_FROM or (unmapped and name not in known)
        if enough and quarantined_ratio(part) == 1 and not asked:
            why = f"{', '.join(unmapped)}: look at the fields that the source names" if unmapped else ""
            rule(f"{name}.max_quarantined_ratio", 1.0, 1 - 1 / part.read, at_most=True, told=why)
    for name, rules in gate.sources.items():
        part = sources.get(name, Counts())
        if part.read:
            rule(f"{name}.min_kept_ratio", kept_ratio(part), rules.min_kept_ratio)
            rule(f"{name}.max_quarantined_ratio", quarantined_ratio(part), rules.max_quarantined_ratio, at_most=True)
            rule(f"{name}.min_docs", part.published, rules.min_docs if arrived(part) else None)
    return verdicts


def arrived(counts: Counts) -> int:
    """The records that are not what was known already: a file that was only touched brings none."""
    return counts.read - counts.unchanged


def kept_ratio(counts: Counts) -> float:
    """Published over what was read and not unchanged; 1.0 where there was none."""
    return counts.published / arrived(counts) if arrived(counts) else 1.0


def quarantined_ratio(counts: Counts) -> float:
    """Quarantined over read; 0.0 where nothing was read."""
    return sum(counts.quarantined.values()) / counts.read if counts.read else 0.0


def refusal(verdicts: list[Verdict], *, is_plain: bool = True) -> str:
    """Say which rules do not hold, and what to do. is_plain: any `gristmill run` makes the same candidate again."""
    broken = [
        f"{v.rule} is {v.value:.6g}, limit {v.limit:.6g}{f' ({v.told})' if v.told else ''}"
        for v in verdicts
        if not v.ok
    ]
    names = " ".join(f"--accept-gate {v.rule}" for v in verdicts if not v.ok) + " --why TEXT"
    publish = f"`gristmill run {names}`" if is_plain else f"the same command again and `{names}` behind it"
    return (
        f"the gate refused: {'; '.join(broken)}. Nothing is published, the candidate is kept; look with "
        f"`gristmill inspect --dropped` (or --quarantined), or publish it with {publish}"
    )


def as_json(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Give the verdicts as the report shows them."""
    return [{name: getattr(v, name) for name in ("rule", "value", "limit", "ok", "accepted")} for v in verdicts]

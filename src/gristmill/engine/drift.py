r"""Drift: how far what a source brought is from what it brought before; PSI and KS over histograms with fixed bins.

For one distribution, with e the n records before, a the m records now, both by bin:

    pooled   neighbouring bins are joined from below until they hold POOL of both sides' mean share, so at most 1 / POOL groups;
             a word stands alone from WORD_POOL on, the others are one group
    PSI      sum over groups of (A - E) * ln(A / E), with A = (a + 1/2) / (m + groups / 2), E = (e + 1/2) / (n + groups / 2)
    KS       greatest distance of the two cumulative shares, over all bins as they are; of numbers only
    noise    what two samples of one thing exceed about once in a million times, by n and m alone: a value is over a limit
             only if it is over its noise too

PSI is read by convention: below 0.1 nothing, 0.1 to 0.25 a little, above 0.25 a lot (Siddiqi, Credit Risk Scorecards, 2006); the half
record a group (Jeffreys) keeps an empty one finite. KS is an effect size here: a p-value would call every difference significant at
the numbers of records there are. Noise of PSI: (1/n + 1/m) times chi-squared with groups - 1 degrees of freedom (Yurdakul, Statistical
properties of PSI, 2018), its quantile by Wilson and Hilferty (1931); of KS: 2 exp(-2 d^2 n m / (n + m)) solved for d (Smirnov).

What was read is compared whatever the steps; what the steps made of it only with snapshots in which the same steps made it.

Not here: counting (`engine.distributions`), refusing (`engine.gate`). Invariant: a verdict is a function of the distributions of
published snapshots and of this run, and of the limits; what cannot be compared is told, and never fails a run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from gristmill.config.settings import Drift, Gate, PipelineConfig
from gristmill.core import find
from gristmill.core.errors import ConfigError
from gristmill.core.histogram import Histogram
from gristmill.engine import distributions
from gristmill.engine.distributions import Side, Sources
from gristmill.engine.gate import Verdict
from gristmill.engine.report import error_entry
from gristmill.store import claim, snapshot
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Manifest

SOURCE_DRIFT = "source.drift"
KEPT = 30  # newest snapshots of each source whose distributions a manifest names: the longest window
POOL = 0.1
WORD_POOL = 0.05
RARE, RARE_Z = 1e-6, 4.753424  # how often chance alone may look like drift, and where the normal distribution has it
WHATEVER_THE_STEPS = frozenset({"read.chars", "read.non_ascii", "read.spaces", "read.lang"})

Json = dict[str, Any]


class Judged(msgspec.Struct, frozen=True):
    """entries: one a source, distribution and measure. not_judged: what could not be compared, and why."""

    entries: list[Json]
    not_judged: list[Json]

    def over(self, source: str) -> list[Json]:
        """Give the entries of a source that are over a limit, the worst first."""
        return [entry for entry in self.ranked() if entry["level"] != "ok" and entry["source"] == source]

    def ranked(self) -> list[Json]:
        """Give all entries, the worst first."""
        return sorted(self.entries, key=_rank)


def _rank(entry: Json) -> tuple[int, float]:
    limit = entry["warn"] if entry["warn"] is not None else entry["block"]
    return ["block", "warn", "ok"].index(entry["level"]), -entry["value"] / max(limit or 0.0, entry["noise"])


# --- the measures ------------------------------------------------------------------------------------------------


def psi(before: Histogram, now: Histogram) -> tuple[float, float]:
    """Give the population stability index of two histograms of one distribution, none of them empty; and its noise."""
    pairs = _pooled_words(before, now) if before.values or now.values else _pooled(before, now)
    b, n = (sum(pair[i] for pair in pairs) + len(pairs) / 2 for i in (0, 1))
    shares = [((x + 0.5) / b, (y + 0.5) / n) for x, y in pairs]
    value = math.fsum((actual - expected) * math.log(actual / expected) for expected, actual in shares)
    free = max(len(pairs) - 1, 1)
    chi_squared = free * (1 - 2 / (9 * free) + RARE_Z * math.sqrt(2 / (9 * free))) ** 3
    return value, (1 / before.total + 1 / now.total) * chi_squared


def ks(before: Histogram, now: Histogram) -> tuple[float, float]:
    """Give the greatest distance of the cumulative shares of two histograms of numbers, none of them empty; and its noise."""
    b, n = before.total, now.total
    below_b = below_n = furthest = 0
    for x, y in zip(before.counts, now.counts, strict=True):
        below_b, below_n = below_b + x, below_n + y
        furthest = max(furthest, abs(below_b * n - below_n * b))
    return furthest / (b * n), math.sqrt(math.log(2 / RARE) / 2 * (1 / b + 1 / n))


def _pooled(before: Histogram, now: Histogram) -> list[tuple[int, int]]:
    b, n = before.total, now.total
    groups: list[tuple[int, int]] = []
    x = y = 0
    for more_x, more_y in zip(before.counts, now.counts, strict=True):
        x, y = x + more_x, y + more_y
        if x / b + y / n >= 2 * POOL:
            groups.append((x, y))
            x = y = 0
    last = groups.pop()  # there is one: all together have a share of 1 on both sides
    return [*groups, (last[0] + x, last[1] + y)]


def _pooled_words(before: Histogram, now: Histogram) -> list[tuple[int, int]]:
    b, n = before.total, now.total
    pairs = [(before.values.get(word, 0), now.values.get(word, 0)) for word in sorted({**before.values, **now.values})]
    alone = [(x, y) for x, y in pairs if x / b + y / n >= 2 * WORD_POOL]
    return [*alone, (b - sum(x for x, _ in alone), n - sum(y for _, y in alone))]


# --- what is compared with what ----------------------------------------------------------------------------------


def history(config: PipelineConfig, layout: Layout, head: Manifest, own: Json) -> list[Json]:
    """Give the distributions a manifest names: its own, then those that a later run may compare with, newest first.

    That is the newest `KEPT` of each source, and the pinned ones: what a manifest names is no garbage.
    """
    kept, seen = [own], dict.fromkeys(own["sources"], 1)
    pinned = {drift.baseline for drift in _settings(config.gate) if drift.baseline is not None}
    for entry in head.summary.get("distributions", []):
        fresh = [name for name in entry["sources"] if seen.get(name, 0) < KEPT]
        seen |= {name: seen.get(name, 0) + 1 for name in fresh}
        if fresh or entry["seq"] in pinned:
            kept.append(entry)
    found = [entry for seq in sorted(pinned - {e["seq"] for e in kept}) for entry in _of_snapshot(layout, head, seq)]
    return sorted([*kept, *found], key=lambda entry: -entry["seq"])


def own_entry(layout: Layout, seq: int, digest: str, sources: Sources, pipeline: Json) -> Json:
    """Give what a manifest says of its own distributions: where they are, and which steps made them, by source."""
    steps = {
        source["name"]: _digest([source["steps"], pipeline["steps"], pipeline["require"]])
        for source in pipeline["sources"]
        if source["name"] in sources
    }
    return {"seq": seq, "path": layout.relative(layout.distributions(seq)), "sha256": digest, "sources": steps}


def _digest(described: Any) -> str:
    return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=6).hexdigest()


def _settings(gate: Gate) -> list[Drift]:
    given = [gate.drift, *(rules.drift for rules in gate.sources.values())]
    return [each for each in given if each is not None]


def _of_snapshot(layout: Layout, head: Manifest, seq: int) -> list[Json]:
    """Give what snapshot `seq` says of its own distributions; nothing if it says nothing or is none that `head` builds on."""
    manifest = head
    while manifest.seq > seq:
        manifest = snapshot.read_manifest(layout.manifest(manifest.parent)) if manifest.parent else snapshot.EMPTY
    return [entry for entry in manifest.summary.get("distributions", []) if entry["seq"] == seq == manifest.seq]


def check(config: PipelineConfig, layout: Layout, head: Manifest) -> None:
    """Refuse a baseline that is no snapshot with distributions; one still to come is fine, as in a dataset made anew.

    Raises:
        ConfigError: nothing could ever be compared with it.
    """
    named = {entry["seq"] for entry in head.summary.get("distributions", [])}
    for seq in {drift.baseline for drift in _settings(config.gate)} - {None}:
        if seq is not None and seq <= head.seq and seq not in named and not _of_snapshot(layout, head, seq):
            have = ", ".join(map(str, sorted(named)[-10:])) or "none"
            raise ConfigError(
                f"gate.drift.baseline: {seq} is no snapshot with distributions in {layout.root}; there are: {have}"
            )


def judge(gate: Gate, layout: Layout, manifest: Manifest) -> Judged:
    """Compare the distributions of a run with those its manifest (or its candidate) names of earlier snapshots."""
    named = manifest.summary.get("distributions", [])
    own = next((entry for entry in named if entry["seq"] == manifest.seq), None)
    now = distributions.read(layout, manifest.seq) if own is not None else None
    if own is None or now is None:
        return Judged([], [_untold(None, f"run {manifest.seq} has no distributions")])
    judging = _Judging(layout, [entry for entry in named if entry["seq"] < manifest.seq])
    for source in sorted(now.sources):
        rules = gate.sources.get(source)
        limits = rules.drift if rules is not None and rules.drift is not None else gate.drift
        if limits is not None:
            judging.judge(source, now.sources[source], own["sources"].get(source, ""), limits)
    return Judged(judging.entries, judging.not_judged)


def judge_again(gate: Gate, layout: Layout, seq: int, baseline: int | None) -> Judged:
    """Compare the distributions of a run that is over, published or refused, by the limits of today.

    baseline: a snapshot to compare with, whatever `gate` says.

    Raises:
        ConfigError: there is no such run or baseline.
    """
    path = next((each for each in (layout.manifest(seq), layout.candidate(seq)) if each.exists()), None)
    if path is None:
        raise ConfigError(f"run {seq} was neither published nor refused by the gate, so it has no distributions")
    manifest = snapshot.read_manifest(path)
    if baseline is None:
        return judge(gate, layout, manifest)
    found = _of_snapshot(layout, manifest, baseline)
    if not found or baseline == seq:
        raise ConfigError(f"baseline {baseline} is no snapshot with distributions that run {seq} builds on")
    named = [entry for entry in manifest.summary.get("distributions", []) if entry["seq"] == seq]
    pinned = msgspec.structs.replace(gate.drift or Drift(), baseline=baseline)
    own = {
        name: msgspec.structs.replace(rules, drift=msgspec.structs.replace(rules.drift, baseline=baseline))
        for name, rules in gate.sources.items()
        if rules.drift is not None
    }
    summary = manifest.summary | {"distributions": [*named, *found]}
    pinned_gate = msgspec.structs.replace(gate, drift=pinned, sources=gate.sources | own)
    return judge(pinned_gate, layout, msgspec.structs.replace(manifest, summary=summary))


def strangers(config: PipelineConfig) -> list[str]:
    """Say which distributions the gate names that no source of the config can have."""
    steps = [*config.steps, config.require, *(step for source in config.sources for step in source.steps)]
    told = distributions.names(steps)
    return [
        f"gate.drift.distributions: there is no {name!r}{find.suggestion(name, told) or ';'} there are: {', '.join(told)}"
        for drift in _settings(config.gate)
        for name in drift.distributions or []
        if name not in told
    ]


class _Judging:
    """Compares source by source; every file of distributions is read once."""

    def __init__(self, layout: Layout, earlier: Sequence[Json]) -> None:
        self.layout = layout
        self.earlier = earlier
        self.entries: list[Json] = []
        self.not_judged: list[Json] = []
        self._held: dict[int, Sources] = {}

    def judge(self, source: str, now: dict[str, Side], steps: str, limits: Drift) -> None:
        """Compare what a source brought with what it brought before."""
        entries = [entry for entry in self.earlier if source in entry["sources"] and self._read(entry["seq"])]
        if limits.baseline is not None:
            entries = [entry for entry in entries if entry["seq"] == limits.baseline]
        entries = entries[: limits.window]
        if not entries:
            of = f"baseline {limits.baseline} has" if limits.baseline is not None else "earlier snapshots have"
            self.not_judged.append(_untold(source, f"{of} nothing of it"))
            return
        alike = [entry["seq"] for entry in entries if entry["sources"][source] == steps]
        whys: dict[str, list[str]] = {}
        for side in ("read", "published"):
            for name in sorted(now.get(side, {})):
                called = f"{side}.{name}"
                if limits.distributions is not None and called not in limits.distributions:
                    continue
                seqs = [entry["seq"] for entry in entries] if called in WHATEVER_THE_STEPS else alike
                if why := self._compare(source, called, now[side][name], seqs, limits):
                    whys.setdefault(why, []).append(called)
        self.not_judged += [_untold(source, why, names) for why, names in whys.items()]

    def _compare(self, source: str, called: str, now: Histogram, seqs: list[int], limits: Drift) -> str:
        """Add the entries of one distribution; or say why there are none."""
        side, _, name = called.partition(".")
        found = [(seq, self._read(seq)[source].get(side, {}).get(name)) for seq in seqs]
        kept = [(seq, one) for seq, one in found if one is not None]
        if not seqs:
            return "other steps made it"
        if not kept:
            return "it is new"
        if any(one.edges != now.edges for _, one in kept):
            return "its bins were others"
        before = kept[0][1]
        for _, more in kept[1:]:
            before = before.add(more)
        if min(before.total, now.total) < limits.min_records:
            return f"fewer than {limits.min_records} records, before or now"
        against = _called([seq for seq, _ in kept], limits)
        values = [("psi", *psi(before, now), limits.warn_psi, limits.block_psi)]
        values += [("ks", *ks(before, now), limits.warn_ks, limits.block_ks)] if now.counts else []
        for measure, value, noise, warn, block in values:
            entry = {"source": source, "distribution": called, "measure": measure, "value": round(value, 6)}
            level = "block" if _over(value, block, noise) else "warn" if _over(value, warn, noise) else "ok"
            entry |= {"noise": round(noise, 6), "warn": warn, "block": block, "level": level, "against": against}
            self.entries.append(entry | {"records": now.total, "records_against": before.total})
        return ""

    def _read(self, seq: int) -> Sources:
        if seq not in self._held:
            found = distributions.read(self.layout, seq)
            self._held[seq] = found.sources if found is not None else {}
        return self._held[seq]


def _over(value: float, limit: float | None, noise: float) -> bool:
    return limit is not None and value > max(limit, noise)


def _called(seqs: list[int], limits: Drift) -> str:
    if limits.baseline is not None:
        return f"baseline {limits.baseline}"
    low, high = min(seqs), max(seqs)
    return f"snapshot {high}" if low == high else f"{len(seqs)} snapshots, {low} to {high}"


def _untold(source: str | None, why: str, names: Sequence[str] = ()) -> Json:
    return {"source": source, "distributions": list(names), "why": why}


# --- what comes of it --------------------------------------------------------------------------------------------


def verdicts(judged: Judged, accepted: frozenset[str]) -> list[Verdict]:
    """Give one rule of the gate, `<source>.drift`, for each source with a limit that blocks: its worst distribution.

    Accepting `drift` accepts all of them.
    """
    found = []
    for source in dict.fromkeys(entry["source"] for entry in judged.entries if entry["block"] is not None):
        limited = [e for e in judged.entries if e["source"] == source and e["block"] is not None]
        worst = max(limited, key=lambda e: (e["level"] == "block", e["value"] / max(e["block"], e["noise"])))
        rule, holds = f"{source}.drift", worst["level"] != "block"
        taken = not holds and bool(accepted & {"drift", rule})
        told = f"{worst['measure']} of {worst['distribution']} against {worst['against']}"
        others = sum(e["level"] == "block" for e in limited) - 1
        told += f", and {others} more: `gristmill drift`" if others > 0 else ""
        limit = max(worst["block"], worst["noise"])
        found.append(Verdict(rule, worst["value"], limit, holds or taken, taken, told))
    return found


def warnings(judged: Judged) -> list[Json]:
    """Give an entry of a report's `errors` for each source with something over a limit."""
    told = []
    for source in dict.fromkeys(entry["source"] for entry in judged.entries):
        over = judged.over(source)
        if over:
            few = ", ".join(f"{e['measure']} of {e['distribution']} {e['value']:.3g}" for e in over[:3])
            more = f" and {len(over) - 3} more" if len(over) > 3 else ""
            message = f"drifted from {over[0]['against']}: {few}{more}; look at it with `gristmill drift`"
            context = {"level": over[0]["level"], "over": len(over), "worst": over[0]["distribution"]}
            told.append(error_entry("gate", source, SOURCE_DRIFT, message, claim.now(), context))
    return told

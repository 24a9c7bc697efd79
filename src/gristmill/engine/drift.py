"""Drift: how far what a source brought is from what it brought before, by PSI and KS (`core.divergence`).

What was read is compared whatever the steps. What the steps made of it is compared only with snapshots in which the same steps made
it; and behind a GlobalStep, which decides by all that came before, only while it took out no more than `FEW` of what came: the second
snapshot of a dataset has duplicates of the first, often all of one kind, and that is no change of the source. For the same reason
duplicates are left out of `reasons` here. A value is over a limit only if it is over its noise too.

Not here: counting (`engine.distributions`), refusing (`engine.gate`). Invariant: a verdict is a function of the distributions of
published snapshots and of this run, and of the limits; what cannot be compared is told, and never fails a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from gristmill.config.settings import Drift, Gate, PipelineConfig
from gristmill.core import find
from gristmill.core.divergence import ks, psi
from gristmill.core.errors import ConfigError
from gristmill.core.histogram import Histogram
from gristmill.engine import distributions
from gristmill.engine.distributions import Side, Sources
from gristmill.engine.gate import Verdict
from gristmill.engine.report import error_entry
from gristmill.store import chain, claim, snapshot
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Manifest

SOURCE_DRIFT = "source.drift"
KEPT = 30  # newest snapshots of each source whose distributions a manifest names: the longest window
FEW = 0.05
DUPLICATE = ":duplicate"  # ends the word of `reasons` for what a GlobalStep took out
WHATEVER_THE_STEPS = frozenset(f"read.{name}" for name in (*distributions.PROFILE, "lang"))

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


# --- what is compared with what ----------------------------------------------------------------------------------


def history(config: PipelineConfig, layout: Layout, head: Manifest, own: Json) -> list[Json]:
    """Give the distributions a manifest names: its own, then those that a later run may compare with, newest first.

    That is the newest `KEPT` earlier ones of each source, and the pinned ones: what a manifest names is no garbage.
    """
    kept, seen = [own], dict.fromkeys(own["sources"], 0)
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
    if seq != head.seq:
        if all(link.seq != seq for link in chain.links(layout, head.parent)):
            return []
        manifest = snapshot.read_manifest(layout.manifest(seq))
    return [entry for entry in manifest.summary.get("distributions", []) if entry["seq"] == seq]


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
                f"gate.drift.baseline: {seq} is no snapshot with distributions in {layout.name}; there are: {have}"
            )


def judge(gate: Gate, layout: Layout, manifest: Manifest) -> Judged:
    """Compare the distributions of a run with those its manifest (or its candidate) names of earlier snapshots."""
    named = manifest.summary.get("distributions", [])
    own = next((entry for entry in named if entry["seq"] == manifest.seq), None)
    now = distributions.read(layout, manifest.seq) if own is not None else None
    if own is None or now is None:
        return Judged([], [_untold(None, f"run {manifest.seq} has no distributions")])
    judging = _Judging(layout, [entry for entry in named if entry["seq"] < manifest.seq], manifest.pipeline)
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
        raise ConfigError(
            f"run {seq} was neither published nor refused by the gate, or gc removed what it was refused with: there is nothing to compare"
        )
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
    """Compares source by source; every file of distributions is read once. pipeline: the run's, as manifests have it."""

    def __init__(self, layout: Layout, earlier: Sequence[Json], pipeline: Json) -> None:
        self.layout = layout
        self.earlier = earlier
        self.pipeline = pipeline
        self.entries: list[Json] = []
        self.not_judged: list[Json] = []
        self._held: dict[int, Sources] = {}

    def judge(self, source: str, now: dict[str, Side], steps: str, limits: Drift) -> None:
        """Compare what a source brought with what it brought before."""
        named = [
            entry for entry in self.earlier if limits.baseline in (None, entry["seq"]) and source in entry["sources"]
        ]
        entries = list(islice((entry for entry in named if source in self._read(entry["seq"])), limits.window))
        if not entries:
            of = f"baseline {limits.baseline} has" if limits.baseline is not None else "earlier snapshots have"
            self.not_judged.append(_untold(source, f"{of} nothing of it"))
            return
        every = [entry["seq"] for entry in entries]
        alike = [entry["seq"] for entry in entries if entry["sources"].get(source) == steps]
        behind = self._behind(source, now, alike)
        whys: dict[str, list[str]] = {}
        for side in ("read", "published"):
            for name in sorted(now.get(side, {})):
                called = f"{side}.{name}"
                if limits.distributions is not None and called not in limits.distributions:
                    continue
                if called in WHATEVER_THE_STEPS:
                    why = self._compare(source, called, now[side][name], every, limits)
                elif not alike:
                    why = "other steps made it"
                elif behind and (side == "published" or name.partition(":")[0] in behind):
                    why = f"duplicates took over {FEW:.0%} of it, before or now"
                else:
                    why = self._compare(source, called, now[side][name], alike, limits)
                if why:
                    whys.setdefault(why, []).append(called)
        self.not_judged += [_untold(source, why, names) for why, names in whys.items()]

    def _behind(self, source: str, now: dict[str, Side], seqs: list[int]) -> list[str]:
        """Give the steps behind a GlobalStep if GlobalSteps took out more than a few, before or now; else none."""
        before = self._merged(source, "read", "reasons", seqs)[0]
        reasons = now.get("read", {}).get("reasons")
        if before is None or reasons is None:
            return []
        if all(_without_duplicates(each).total >= (1 - FEW) * each.total for each in (before, reasons)):
            return []
        own: list[Json] = next((each["steps"] for each in self.pipeline["sources"] if each["name"] == source), [])
        order = [each["name"] for each in [*own, *self.pipeline["steps"], self.pipeline["require"]]]
        told = {*before.values, *reasons.values}
        first = min(i for i, name in enumerate([*order, ""]) if not name or f"{name}{DUPLICATE}" in told)
        return order[first:]

    def _merged(self, source: str, side: str, name: str, seqs: list[int]) -> tuple[Histogram | None, list[int]]:
        """Give one distribution of several snapshots together, and those that have it; none if their bins differ."""
        found = [(seq, self._read(seq).get(source, {}).get(side, {}).get(name)) for seq in seqs]
        kept = [(seq, one) for seq, one in found if one is not None]
        if not kept or any(one.edges != kept[0][1].edges for _, one in kept):
            return None, []
        whole = kept[0][1]
        for _, more in kept[1:]:
            whole = whole.add(more)
        return whole, [seq for seq, _ in kept]

    def _compare(self, source: str, called: str, now: Histogram, seqs: list[int], limits: Drift) -> str:
        """Add the entries of one distribution; or say why there are none."""
        side, _, name = called.partition(".")
        before, having = self._merged(source, side, name, seqs)
        if before is None or before.edges != now.edges:
            return "it is new, or its bins were others"
        if name == "reasons":
            before, now = _without_duplicates(before), _without_duplicates(now)
        if min(before.total, now.total) < limits.min_records:
            return f"fewer than {limits.min_records} records, before or now"
        against = _called(having, limits)
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


def _without_duplicates(reasons: Histogram) -> Histogram:
    return Histogram(values={word: n for word, n in reasons.values.items() if not word.endswith(DUPLICATE)})


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

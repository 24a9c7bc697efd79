"""The model: what stands on the page of a run, in its order, as plain values that a template lays out.

Not here: reading files (`stored`), distributions (`shapes`), markup (`templates/`). Invariant: every number comes from `report.json` or a
file of the run; nothing is counted again, and a key that an older report lacks leaves its part out.
"""

from __future__ import annotations

from typing import Any

from gristmill.report import shapes, spent, words
from gristmill.report.bars import Line, bar
from gristmill.report.stored import Stored
from gristmill.report.words import count, percent, plural, size

Json = dict[str, Any]

ROWS = 30  # of a table whose length depends on the data
ERRORS = 25
SOURCES = 50
STATUS = {
    "published": ("good", "Published"),
    "nothing_new": ("good", "Nothing new"),
    "refused": ("bad", "Refused by the gate"),
    "failed": ("bad", "Failed"),
    "partial": ("warn", "Published in part"),
    "published_export_failed": ("warn", "Published, but an export failed"),
}
OUTCOMES = ("published", "unchanged", "superseded", "dropped", "duplicates", "quarantined")


def page(report: Json, stored: Stored) -> Json:
    """Give everything the page of a run shows."""
    counts = report["counts"]
    return {
        "run": report["run"],
        "dataset": words.last_part(report["dataset"]),
        "verdict": verdict(report),
        "gate": [_rule(rule, report.get("lineage", [])) for rule in report["gate"]],
        "changed": _changed(report, stored),
        "cards": cards(report),
        "laws": laws(report),
        "steps": _funnel(report),
        "sources": _sources(report),
        "reasons": _reasons(report, stored.parent),
        "shapes": shapes.shapes(stored.distributions, stored.before),
        "against": report.get("parent"),
        "duplicates": _duplicates(counts, stored),
        "quarantine": _quarantine(counts, stored),
        "times": spent.times(report["steps"]),
        "facts": spent.facts(report),
        "cost": spent.cost(report.get("cost")),
        "estimate": spent.estimate(report.get("estimate") or {}),
        "errors": _errors(report["errors"]),
        "errors_left": max(0, len(report["errors"]) - ERRORS),
        "warnings": _ranked(report.get("warnings") or {}),
        "dropped": [(key, list(map(_example, rows))) for key, rows in stored.dropped.items()],
        "kept": stored.kept,
        "drift": _drift(report),
        "lineage": _lineage(report, stored),
        "whole": stored.whole,
    }


def verdict(report: Json) -> Json:
    """Give how a run ended, in words and as a kind: good, warn or bad."""
    kind, said = STATUS.get(report["status"], ("warn", report["status"]))
    snapshot, rows = report.get("snapshot"), report["dataset_rows"]
    if report["status"] in {"refused", "failed"}:
        told = f"Nothing is published; snapshot {snapshot} stays the newest." if snapshot else "Nothing is published."
    elif report["status"] == "nothing_new":
        told = f"Snapshot {snapshot} is still true: {plural(rows, 'document')}." if snapshot else "No snapshot yet."
    else:
        said = f"{said} as snapshot {snapshot}" if report["status"] == "published" else said
        told = f"Snapshot {snapshot} holds {plural(rows, 'document')}."
    how = f"Started {report['started']}, took {words.seconds(report['seconds'])}" if report.get("started") else ""
    how += ", went on with a run that had died" if report.get("resumed") else ""
    return {"kind": kind, "said": said, "told": told, "how": how}


def _rule(rule: Json, lineage: list[Json]) -> Json:
    sign = "≤" if ".max_" in f".{rule['rule']}" or rule["rule"].endswith(".drift") else "≥"
    state = "accepted" if rule.get("accepted") else "met" if rule["ok"] else "not met"
    why = next((entry.get("why") for entry in lineage if entry.get("accepted") == rule["rule"]), None)
    kind = {"accepted": "warn", "met": "good", "not met": "bad"}[state]
    value, limit = count(float(rule["value"])), f"{sign} {count(float(rule['limit']))}"
    told = why or rule.get("told") or ""
    return {"rule": rule["rule"], "value": value, "limit": limit, "state": state, "kind": kind, "why": told}


def _changed(report: Json, stored: Stored) -> Json:
    """Give what is another than in the run before: the config's own words, and figures side by side."""
    told = [entry["config_changed"] for entry in report.get("lineage", []) if "config_changed" in entry]
    before = stored.parent
    rows: list[tuple[str, str, str]] = []
    if before is not None:
        for name, at in (("documents", _documents), ("records read", _read), ("published of what was new", _kept_share),
                         ("quarantined", _bad_share), ("quality score", _score), ("MB/s", _speed)):  # fmt: skip
            rows.append((name, at(before), at(report)))
    return {"told": told[:ROWS], "rows": rows, "parent": report.get("parent")}


def _documents(report: Json) -> str:
    return count(report["dataset_rows"])


def _read(report: Json) -> str:
    return count(report["counts"]["read"])


def _kept_share(report: Json) -> str:
    counts = report["counts"]
    return percent(counts["published"], counts["read"] - counts["unchanged"])


def _bad_share(report: Json) -> str:
    return percent(sum(report["counts"]["quarantined"].values()), report["counts"]["read"])


def _score(report: Json) -> str:
    return count(report["quality"].get("quality_score"))


def _speed(report: Json) -> str:
    return spent.speed(report["mb_per_s"])


def cards(report: Json) -> list[tuple[str, str, str]]:
    """Give the five figures looked at first: name, figure, what it is of."""
    counts, quality = report["counts"], report["quality"]
    bad = sum(counts["quarantined"].values())
    of = f"{count(quality['valid'])} of {count(quality['total'])} valid" if quality else "nothing was judged"
    return [
        ("Read", count(counts["read"]), f"{size(report['bytes_read'])}, {count(counts['unchanged'])} unchanged"),
        ("Published", count(counts["published"]), f"{_kept_share(report)} of what was new"),
        ("Quarantined", count(bad), f"{percent(bad, counts['read'])} of what was read"),
        ("Quality score", _score(report), of),
        ("MB/s", _speed(report), f"in {words.seconds(report['seconds'])}"),
    ]


def laws(report: Json) -> Json:
    """Give both laws with their numbers. A run that failed counted nothing."""
    counts = report["counts"]
    terms = [(name, total(counts[name])) for name in OUTCOMES]
    rows = report["dataset_rows"]
    before = rows - counts["published"] + counts["withdrawn"]
    return {
        "read": counts["read"],
        "terms": terms,
        "balanced": counts["read"] == sum(n for _, n in terms) and report.get("balanced", True),
        "rows": rows,
        "before": before,
        "published": counts["published"],
        "withdrawn": counts["withdrawn"],
        "candidate": report["status"] == "refused",
        "counted": report["status"] != "failed",
    }


def total(value: Any) -> int:
    """Give a count, or the sum of one by names."""
    return sum(value.values()) if isinstance(value, dict) else int(value)


def _funnel(report: Json) -> list[Line]:
    read, lines = report["counts"]["read"], []
    widest = max([read, *(step["in"] for step in report["steps"])])
    for step in report["steps"]:
        lost = step["in"] - step["out"]
        cells = [count(step["in"]), count(step["out"]), count(lost), percent(step["out"], step["in"])]
        names = {"published": "goes on", "dropped": "lost here"}
        lines.append(Line(step["name"], cells, bar([("published", step["out"]), ("dropped", lost)], widest, names)))
    return lines


def _sources(report: Json) -> Json:
    """Give what became of the records of each source; the biggest are shown."""
    every = sorted(report["sources"].items(), key=lambda item: -item[1]["read"])
    lines, table = [], []
    for name, part in every[:SOURCES]:
        sums = [total(part[outcome]) for outcome in OUTCOMES]
        cells = [count(part["read"]), count(part["published"]), percent(part["published"], part["read"])]
        lines.append(Line(name, cells, bar(zip(OUTCOMES, sums, strict=True), part["read"])))
        table.append([name, *map(count, [part["read"], *sums, part["withdrawn"]])])
    key = [(outcome, outcome) for outcome in OUTCOMES]
    return {"lines": lines, "table": table, "key": key, "left": len(every) - len(lines)}


def _reasons(report: Json, before: Json | None) -> Json:
    """Give why records were dropped, the commonest reason first, beside the run before."""
    counts = report["counts"]["dropped"]
    every = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    most, lines = every[0][1] if every else 0, []
    for key, n in every[:ROWS]:
        parts = {name: part["dropped"].get(key, 0) for name, part in report["sources"].items()}
        first = max(parts, key=lambda name: parts[name]) if parts else ""
        mostly = f"{first} ({percent(parts[first], n)})" if first else "–"
        then = "–"
        if before is not None:
            then = percent(before["counts"]["dropped"].get(key, 0), before["counts"]["read"])
        cells = [count(n), percent(n, report["counts"]["read"]), then, mostly]
        lines.append(Line(key, cells, bar([("dropped", n)], most), key))
    left = every[ROWS:]
    return {"lines": lines, "left": len(left), "left_n": sum(n for _, n in left)}


def _duplicates(counts: Json, stored: Stored) -> Json:
    found = stored.duplicates
    by_step = sorted(counts["duplicates"].items())
    whole = sum(n for _, n in by_step)
    most = max(found.sizes.values(), default=0)
    sizes: dict[str, int] = {}
    for n, groups in found.sizes.items():
        low = 1 << (n.bit_length() - 1)
        name = "2" if n == 2 else "3" if n == 3 else f"{low:,} to {2 * low - 1:,}"
        sizes[name] = sizes.get(name, 0) + groups
        most = max(most, sizes[name])
    top = found.owners[0][1] if found.owners else 0
    return {
        "whole": whole,
        "steps": [Line(name, [count(n), percent(n, counts["read"])], bar([("duplicates", n)], whole)) for name, n in by_step],
        "sizes": [Line(name, [count(n)], bar([("duplicates", n)], most)) for name, n in sizes.items()],
        "owners": [Line(words.cut(who), [count(n)], bar([("duplicates", n)], top)) for who, n in found.owners],
        "seen": found.seen if found.seen < whole else None,
    }  # fmt: skip


def _quarantine(counts: Json, stored: Stored) -> list[Json]:
    every = _ranked(counts["quarantined"])
    most = every[0][1] if every else 0
    return [
        {
            "line": Line(code, [count(n), percent(n, counts["read"])], bar([("quarantined", n)], most), code),
            "places": [
                (words.cut(f"{row['source']}/{row['origin']}"), words.cut(row["detail"] or ""), row["bytes"])
                for row in stored.quarantined.get(code, [])
            ],
        }
        for code, n in every
    ]


def _ranked(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:ROWS]


def _errors(errors: list[Json]) -> list[Json]:
    shown = []
    for entry in errors[:ERRORS]:
        context = entry.get("context") or {}
        place = context.get("origin") or context.get("id") or context.get("path") or ""
        told = {"stage": entry["stage"], "source": entry["source"] or "–", "code": entry["code"]}
        shown.append(told | {"message": words.cut(entry["message"], 400), "place": words.cut(place)})
    return shown


def _example(row: Json) -> Json:
    value, threshold = row["value"], row["threshold"]
    return {
        "id": words.cut(row["id"] or ""),
        "value": count(value) if value is not None else "–",
        "threshold": count(threshold) if threshold is not None else "–",
    }


def _drift(report: Json) -> Json:
    """Give how far distributions lie from those before, the worst first; and what could not be compared."""
    order, kinds = {"block": 0, "warn": 1}, {"block": "bad", "warn": "warn"}
    ranked = sorted(report.get("drift") or [], key=lambda row: (order.get(row["level"], 2), -(row["value"] or 0)))
    rows = [
        {name: row.get(name) for name in ("source", "distribution", "measure", "level", "against")}
        | {"value": count(row["value"]), "noise": count(row.get("noise")), "limits": _limits(row)}
        | {"kind": kinds.get(row["level"], "good")}
        for row in ranked[: 2 * ROWS]
    ]
    untold = [
        (row["source"] or "all", plural(len(row.get("distributions", [])), "distribution"), row["why"])
        for row in (report.get("drift_not_judged") or [])[:ROWS]
    ]
    return {"rows": rows, "left": len(ranked) - len(rows), "not_judged": untold}


def _limits(row: Json) -> str:
    return (
        ", ".join(f"{name}\u00a0{count(row[name])}" for name in ("warn", "block") if row.get(name) is not None) or "–"
    )


def _lineage(report: Json, stored: Stored) -> list[tuple[str, str]]:
    facts = [("run", str(report["run"])), ("built on snapshot", count(report.get("parent")))]
    if stored.manifest is not None:
        facts += [
            ("config", stored.manifest.config[:16]),
            ("code", stored.manifest.code[:16]),
            ("dataset format", str(stored.manifest.format)),
        ]
    for entry in report.get("lineage", []):
        if "rolled_back_to" in entry:
            facts.append((f"rolled back to snapshot {entry['rolled_back_to']}", str(entry.get("why", ""))))
        if "accepted" in entry:
            facts.append((f"accepted: {entry['accepted']}", str(entry.get("why", ""))))
    return [*facts, ("report schema", str(report["version"]))]

"""The terminal: how what the verbs found is laid out as lines of text.

Not here: finding it (`pipeline`, `dataset`), printing it (`cli`), progress (`observe.progress`). Invariants: nothing
from data, a path or a message reaches a terminal with a control, escape or bidi character in it, and none of it is
taken for markup; lines fit the width they are given (none: nothing is cut, for pipes).
"""

from __future__ import annotations

import json
import os
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from gristmill.core.visible import JOINERS, is_unsafe
from gristmill.core.visible import visible as escaped

WIDTH = 80
_TOGETHER = "\xa0"  # in a text to wrap: a space that no line ends at
_SGR = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "strong": "1"}

Json = dict[str, Any]


def visible(value: object) -> str:
    """Give a text on one line with everything that could steer a terminal written as an escape."""
    return escaped(value)


def to_json(value: object, *, ascii_only: bool = False) -> str:
    """Give JSON on one line; what could steer a terminal is escaped in it too."""
    text = json.dumps(value, ensure_ascii=ascii_only, default=str)
    if text.isprintable():
        return text
    return "".join(json.dumps(char)[1:-1] if is_unsafe(char) else char for char in text)


def cells(text: str) -> int:
    """Give the columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if unicodedata.combining(char) or char in JOINERS or unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, room: int | None) -> str:
    """Give a text that takes `room` columns at most; what is left out is marked."""
    if room is None or cells(text) <= room:
        return text
    held = 0
    for at, char in enumerate(text):
        held += _cells(char)
        if held > room - 1:
            return text[:at] + "…"
    return text


def wrap(text: str, begin: str = "", room: int | None = WIDTH) -> list[str]:
    """Give a text as lines behind `begin`; further lines are indented to it."""
    if room is None:
        return [(begin + text).replace(_TOGETHER, " ")]
    options: Any = {"break_long_words": False, "break_on_hyphens": False}
    lines = textwrap.wrap(text, room, initial_indent=begin, subsequent_indent=" " * cells(begin), **options) or [begin]
    return [line.replace(_TOGETHER, " ") for line in lines]


class Ink:
    """Colours, where they are wanted: a terminal, and no NO_COLOR."""

    def __init__(self, stream: TextIO) -> None:
        self.on = is_terminal(stream) and not os.environ.get("NO_COLOR")

    def __call__(self, style: str, text: str) -> str:
        """Give a text in a style: good, bad, warn, dim, strong."""
        return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if self.on else text


def is_terminal(stream: TextIO) -> bool:
    """Tell if a stream is a terminal that understands escapes."""
    return stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown", None}


def count(value: object) -> str:
    """Give a number with thousands separated; other things as they are, null as a dash."""
    if isinstance(value, bool) or value is None:
        return "-" if value is None else str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else visible(value)


def size(n: float) -> str:
    """Give bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def plural(n: int, thing: str) -> str:
    """Give `1 file`, `2 files`."""
    return f"{n:,} {thing}" + ("" if n == 1 else "s")


def table(head: Sequence[str], rows: Iterable[Sequence[object]], room: int | None = None) -> list[str]:
    """Lay out rows under their heads; numbers to the right; the widest columns give way where it does not fit."""
    raw = [list(row) for row in rows]
    body = [[count(value) for value in row] for row in raw]
    widths = [max(cells(line[i]) for line in [list(head), *body]) for i in range(len(head))]
    while room is not None and sum(widths) + 2 * (len(widths) - 1) > room and max(widths) > 8:
        widths[widths.index(max(widths))] -= 1
    right = [all(isinstance(row[i], int | float | None) for row in raw) for i in range(len(head))]
    return [_row(line, widths, right) for line in [list(head), *body]]


def _row(line: list[str], widths: list[int], right: list[bool]) -> str:
    shown = []
    for text, width, to_right in zip(line, widths, right, strict=True):
        fitting = cut(text, width)
        space = " " * (width - cells(fitting))
        shown.append(space + fitting if to_right else fitting + space)
    return "  ".join(shown).rstrip()


# --- the report --------------------------------------------------------------------------------------------------

_VERDICTS = {
    "published": ("good", "published"),
    "nothing_new": ("good", "nothing new"),
    "refused": ("bad", "refused by the gate"),
    "failed": ("bad", "failed"),
    "partial": ("warn", "published in part"),
    "published_export_failed": ("warn", "published, but an export failed"),
}


def verdict(report: Json, ink: Ink) -> str:
    """Give the first line on a run: how it ended, and what the dataset holds now."""
    style, words = _VERDICTS.get(report["status"], ("warn", report["status"]))
    if report["status"] == "partial" and not report.get("run"):
        words = "nothing new, but not all sources could be asked"
    held = f"snapshot {report['snapshot']} holds" if report.get("snapshot") else "no snapshot yet;"
    told = f"{held} {plural(report['dataset_rows'], 'document')}"
    if report["status"] in {"refused", "failed"}:
        told = f"nothing is published; {held.removesuffix(' holds')} stays the newest" if report.get("snapshot") else ""
        told = told or "nothing is published"
    run = f"run {report['run']} " if report.get("run") else ""
    return f"{run}{ink(style, words)}: {told}"


def equation(report: Json, room: int | None = WIDTH) -> list[str]:
    """Give both laws with their numbers, as lines."""
    counts = report["counts"]
    sums = {name: sum(counts[name].values()) for name in ("dropped", "duplicates", "quarantined")}
    parts = [f"{name} {counts[name]:,}" for name in ("published", "unchanged", "superseded")]
    parts += [f"{name} {n:,}" for name, n in sums.items()]
    total = sum(counts[name] for name in ("published", "unchanged", "superseded")) + sum(sums.values())
    sign = "=" if total == counts["read"] else "≠ (!)"
    first = f"read {counts['read']:,} {sign} " + " + ".join(part.replace(" ", _TOGETHER) for part in parts)
    published = report["status"] not in {"refused", "failed"}
    before = report["dataset_rows"] - counts["published"] + counts["withdrawn"]
    second = f"rows {report['dataset_rows']:,} = before {before:,} + published {counts['published']:,} - withdrawn {counts['withdrawn']:,}"
    return [*wrap(first, "  ", room), *(wrap(second, "  ", room) if published else [])]


def _reasons(counts: Json, most: int = 4) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{visible(name)} {n:,}" for name, n in ranked[:most]]
    rest = sum(n for _, n in ranked[most:])
    return ", ".join([*shown, f"{len(ranked) - most} more {rest:,}"] if rest else shown) or "none"


def _command(report: Json) -> str:
    """Give the command a person would want next."""
    counts, run = report["counts"], report.get("run")
    if report["status"] in {"failed", "published_export_failed"}:
        return "gristmill run"
    if report["status"] == "nothing_new" or run is None:
        return "gristmill status"
    kind = "quarantined" if counts["quarantined"] else "dropped" if counts["dropped"] else "kept"
    return f"gristmill inspect --{kind} --run {run}"


def _gate(rule: Json) -> str:
    sign = "<=" if ".max_" in f".{rule['rule']}" or rule["rule"].endswith(".drift") else ">="
    state = "accepted" if rule.get("accepted") else "ok" if rule["ok"] else "NOT MET"
    return f"{visible(rule['rule'])} {rule['value']:.4g} ({sign} {rule['limit']:.4g}) {state}"


def export_line(name: str, made: Json) -> str:
    """Say what `gristmill export` did."""
    if "rows" in made:
        done = made["rows_put"] or made["rows_taken"]
        what = f"{plural(made['rows_put'], 'row')} written, {made['rows_taken']:,} deleted"
    else:
        done, what = made["chunks_written"], f"{plural(made['chunks_written'], 'chunk')} written"
    return f"export {name}: {what if done else 'whole already'}"


def _copied(made: Json) -> str:
    """Say what an export did."""
    if "rows" in made:
        return f"{plural(made['rows'], 'row')}, {made['rows_put']:,} written, {made['rows_taken']:,} deleted"
    return f"{plural(made['chunks'], 'chunk')}, {made['chunks_written']:,} written"


def _facts(report: Json) -> list[tuple[str, str]]:
    counts = report["counts"]
    codes = _reasons(counts["quarantined"])
    if counts["quarantined"]:
        codes += f"  (gristmill inspect --quarantined --run {report.get('run')})"
    speed = f"{size(report['bytes_read'])} in {report['seconds']:.1f} s, {report['mb_per_s']:.1f} MB/s, peak memory {report['peak_rss_mb']:,.0f} MB"
    exports = ", ".join(f"{visible(name)}: {_copied(made)}" for name, made in report["exports"].items())
    return [
        ("dropped", _reasons(counts["dropped"])),
        ("duplicates", _reasons(counts["duplicates"])),
        ("quarantined", codes),
        *([("warnings", _reasons(report["warnings"], 20))] if report["warnings"] else []),
        ("gate", ", ".join(map(_gate, report["gate"])) or "no rule applied"),
        ("speed", speed),
        ("exports", exports or "none"),
    ]


def summary(report: Json, path: str, ink: Ink, room: int | None = WIDTH) -> list[str]:
    """Give what a run did, in about twelve lines. path: of its report."""
    lines = [verdict(report, ink)]
    if report["status"] != "nothing_new" and report.get("run"):
        lines += equation(report, room)
        facts = _facts(report)
        lines += [line for name, value in facts for line in wrap(value, f"  {name:<12}", room)]
        lines.append(f"  {'report':<12}{visible(path)}")
    lines.append(f"  {'next':<12}{_command(report)}")
    return lines


def report_lines(report: Json, ink: Ink, room: int | None = None) -> list[str]:
    """Give a whole report, readable."""
    lines = [verdict(report, ink), *equation(report, room), ""]
    lines += [line for name, value in _facts(report) for line in wrap(value, f"{name:<13}", room)]
    quality = report["quality"]
    if quality:
        told = ", ".join(f"{visible(name)} {count(value)}" for name, value in quality.items())
        lines += wrap(told, f"{'quality':<13}", room)
    lines += wrap(f"{report['started']}, {report['retries']} tasks tried again", f"{'started':<13}", room)
    head = ("step", "in", "out", "invalid", "seconds", "bytes")
    if report["steps"]:
        rows = [
            [s["name"], s["in"], s["out"], s["invalid"], round(s["seconds"], 3), s["bytes"]] for s in report["steps"]
        ]
        lines += ["", *table(head, rows, room)]
    if report["sources"]:
        names = ("read", "published", "unchanged", "superseded", "dropped", "duplicates", "quarantined")
        rows = [[name, *(_sum(part[key]) for key in names)] for name, part in report["sources"].items()]
        lines += ["", *table(("source", *names), rows, room)]
    for error in report["errors"]:
        origin = error["context"].get("origin")
        where = ": ".join(str(each) for each in (error["source"], origin, error["message"]) if each)
        lines += wrap(visible(where), f"{'error':<13}", room)
    return lines


def _sum(value: Any) -> int:
    return sum(value.values()) if isinstance(value, dict) else int(value)


# --- records -----------------------------------------------------------------------------------------------------


def _pairs(facts: Iterable[tuple[str, object]], room: int | None) -> list[str]:
    """Give name and value lines; nulls are left out."""
    return [
        cut(f"  {visible(name):<11}{visible(value)}", room)
        for name, value in facts
        if value is not None and value != ""
    ]


def explained(found: Json, room: int | None) -> list[str]:
    """Give one record's whole path, oldest verdict first."""
    lines = [f"{visible(found['wanted'])}, as of snapshot {found['snapshot']}"]
    for row in found["published"]:
        exports = ", ".join(f"{name}: {chunk or 'not in it'}" for name, chunk in row["exports"].items())
        signals = ", ".join(f"{name} {value:g}" for name, value in row["signals"].items())
        lines += ["published", *_pairs((item for item in row.items() if item[0] not in {"exports", "signals"}), room)]
        lines += _pairs([("signals", signals), ("exports", exports)], room)
    if not found["published"]:
        lines.append("not in the newest snapshot")
    for entry in found["history"]:
        lines += wrap(_told(entry), f"run {entry['run']}: ", room)
    return lines


def _told(entry: Json) -> str:
    """Say one verdict in words."""
    by = f" by {entry['step']}" if entry.get("step") else ""
    why = entry.get("reason") or entry.get("code")
    told = f"{entry['action']}{by}" + (f": {why}" if why else "")
    if entry.get("value") is not None:
        limit = f", limit {entry['threshold']:g}" if entry.get("threshold") is not None else ""
        told += f" (value {entry['value']:g}{limit})"
    told += f", of {entry['dup_of_id']}" if entry.get("dup_of_id") else ""
    newer = entry.get("replaced_by")
    if newer is not None:
        what = {"published": "published", "drop": "dropped"}.get(newer["outcome"], newer["outcome"])
        told += f"; the newer content: {what} in run {newer['run']}"
    return visible(told + (f", {entry['detail']}" if entry.get("detail") else ""))


_COLUMNS = {
    "kept": ("id", "origin", "url", "lang"),
    "dropped": ("id", "step", "reason", "value", "threshold"),
    "duplicates": ("id", "step", "dup_of_id"),
    "quarantined": ("source", "origin", "step", "code", "detail", "bytes"),
}


def inspected(kind: str, rows: list[Json], room: int | None) -> list[str]:
    """Give sampled records as a table; columns that are empty throughout are left out."""
    names = [name for name in _COLUMNS[kind] if any(row.get(name) is not None for row in rows)]
    plain = [[row.get(name) for name in names] for row in rows]
    return table(names, plain, room)


# --- parts -------------------------------------------------------------------------------------------------------


def part_table(found: list[Json], room: int | None) -> list[str]:
    """Give the parts there are, one a line."""
    return table(
        ("kind", "name", "what it does"), [[part["kind"], part["name"], part["summary"]] for part in found], room
    )


def part_lines(found: list[Json], room: int | None) -> list[str]:
    """Give all about some parts: what they say of themselves, and their keys."""
    lines = []
    for part in found:
        lines += [f"{visible(part['name'])} ({part['kind']})", ""]
        lines += [visible(line) for line in part["about"].splitlines()]
        lines += ["", "keys:" if part["fields"] else "no keys"]
        for field in part["fields"]:
            preset = "required" if field["required"] else f"default {to_json(field['default'])}"
            lines += wrap(f"{field['name']}: {field['type']}; {preset}", "  ", room)
            lines += wrap(field["description"], "      ", room) if field["description"] else []
    return lines

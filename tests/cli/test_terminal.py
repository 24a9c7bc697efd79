"""What lines look like: nothing in them steers a terminal, and they fit."""

import io
import json
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.console import terminal
from gristmill.console.session import normalised

COUNTS = {"read": 0, "published": 0, "unchanged": 0, "superseded": 0, "withdrawn": 0,
          "dropped": {}, "duplicates": {}, "quarantined": {}}  # fmt: skip


def is_safe(text):
    return not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c not in "\u200c\u200d" for c in text)


@given(st.text())
def test_visible_is_safe_and_loses_nothing(text):
    shown = terminal.visible(text)
    assert is_safe(shown)
    assert [c for c in text if is_safe(c)] == [c for c in text if c in shown and is_safe(c)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [red]text[/red]", "plain [red]text[/red]"),
        ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\x9b31m", "\\x9b31m"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        ("क्ष\u200dहै می\u200cشود", "क्ष\u200dहै می\u200cشود"),
    ],
)
def test_visible(text, shown):
    assert terminal.visible(text) == shown


@given(st.recursive(st.text() | st.integers() | st.booleans() | st.none(), st.lists), st.booleans())
def test_json_is_safe_and_the_same(value, ascii_only):
    shown = terminal.to_json(value, ascii_only=ascii_only)
    assert is_safe(shown)
    assert json.loads(shown) == value


@given(st.text(max_size=40), st.integers(1, 30))
def test_cut_fits(text, room):
    shown = terminal.visible(text)
    assert terminal.cells(terminal.cut(shown, room)) <= max(room, 1)
    assert terminal.cut(shown, None) == shown


def test_table_fits_and_aligns():
    rows = [["web/" + "x" * 100, 1, None, "why " * 30], ["水磨在河边慢慢转动", 1234567, 0.25, "short"]]
    lines = terminal.table(("id", "n", "value", "reason"), rows, 80)
    assert max(map(terminal.cells, lines)) <= 80
    assert "1,234,567" in lines[2]
    assert terminal.table(("a", "b"), [], 80) == ["a  b"]
    assert "x" * 100 in terminal.table(("id", "n", "value", "reason"), rows)[1]  # nothing is cut in a pipe


def report(status="published", **more):
    counts = COUNTS | {
        "read": 123456789, "published": 100000000, "unchanged": 20000000, "superseded": 6789, "withdrawn": 5,
        "dropped": {f"filter.some_long_name_{i}:some_long_reason": 100000 * i for i in range(1, 8)},
        "duplicates": {"dedup.exact": 600000}, "quarantined": {"json.syntax": 50000},
    }  # fmt: skip
    return {
        "run": 7, "snapshot": 7, "status": status, "counts": counts, "warnings": {}, "dataset_rows": 300000000, "bytes_read": 5 << 40,
        "seconds": 54321.5, "mb_per_s": 101.25, "peak_rss_mb": 12345.6, "exports": {"chunks": {"chunks": 30000, "chunks_written": 10000}},
        "gate": [{"rule": "min_quality_score", "value": 0.9, "limit": 0.8, "ok": True}, {"rule": "web.max_quarantined_ratio", "value": 0.2, "limit": 0.1, "ok": False}],
    } | more  # fmt: skip


@pytest.mark.parametrize(
    "status", ["published", "refused", "failed", "partial", "published_export_failed", "nothing_new"]
)
def test_summary_fits_80_columns(status):
    lines = terminal.summary(report(status), "corpus/runs/7/report.json", terminal.Ink(io.StringIO()))
    assert max(map(terminal.cells, lines)) <= 80
    assert lines[-1].split()[0] == "next"
    if status != "nothing_new":
        assert "read 123,456,789 = published" in "\n".join(lines)
        assert "web.max_quarantined_ratio 0.2 (<= 0.1) NOT MET" in " ".join(" ".join(lines).split())


def test_warnings_are_in_the_summary_and_only_where_there_are_any():
    for warnings in ({}, {"text.nul": 3}):
        lines = terminal.summary(report() | {"warnings": warnings}, "x", terminal.Ink(io.StringIO()))
        assert [line.split() for line in lines if "warnings" in line] == [
            ["warnings", code, str(n)] for code, n in warnings.items()
        ]


def test_numbers_that_do_not_balance_are_not_made_to_look_so():
    lost = report()
    lost["counts"]["read"] += 1
    assert "read 123,456,790 ≠ (!) published" in terminal.equation(lost)[0]


def test_no_line_breaks_inside_a_term():
    lines = terminal.equation(report())
    assert all(not line.split()[-1].isalpha() for line in lines)


def test_colours_only_where_wanted(monkeypatch):
    class Tty(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.Ink(Tty())("bad", "x") == "\x1b[31mx\x1b[0m"
    assert terminal.Ink(io.StringIO())("bad", "x") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.Ink(Tty())("bad", "x") == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setitem(os.environ, "TERM", "dumb")
    assert terminal.Ink(Tty())("bad", "x") == "x"


@pytest.mark.parametrize(
    ("n", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1.5e6, "1.5 MB"), (2e9, "2.0 GB"), (3e13, "30.0 TB")],
)
def test_size(n, shown):
    assert terminal.size(n) == shown


@pytest.mark.parametrize(
    ("argv", "read"),
    [
        (["run", "--wait"], ["run", "--wait=inf"]),
        (["run", "--wait", "-q"], ["run", "--wait=inf", "-q"]),
        (["run", "--wait", "2.5"], ["run", "--wait", "2.5"]),
        (["-c", "x.yml", "--json", "log"], ["log", "-c", "x.yml", "--json"]),
        (["--debug", "explain", "--", "--wait"], ["explain", "--debug", "--", "--wait"]),
        (["-c"], ["-c"]),
        ([], []),
    ],
)
def test_command_lines(argv, read):
    assert normalised(argv) == read

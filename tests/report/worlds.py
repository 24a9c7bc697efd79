"""Worlds for the pages: a dataset that has run twice and holds something of everything a page shows."""

from __future__ import annotations

import atexit
import json
import math
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.properties.lab import Lab, jsonl

from gristmill.store.layout import Layout

SOURCES = ("crawl", "tickets", "handbook")
LANGS = ("en", "de", "fr")
_WORDS = [
    "mill",
    "stone",
    "grain",
    "water",
    "wheel",
    "sack",
    "flour",
    "bran",
    "sieve",
    "hopper",
    "shaft",
    "river",
    "weir",
    "bread",
    "oven",
    "baker",
]


def config(sources: Any = SOURCES) -> dict[str, Any]:
    """Give the config of the world: three sources, five steps, rules that hold or bite."""
    return {
        "description": "Prose about mills",
        "sources": [
            {"name": name, "files": {"path": f"{name}/*", "id": "id", "url": "url", "lang": "lang"}, "license": "CC-BY-4.0"}
            for name in sources
        ],
        "steps": [
            "clean.text",
            {"name": "length", "filter.length": {"min_chars": 60, "max_chars": 1200}},
            {"name": "boilerplate", "custom": {"call": "./mine.py:drop_boilerplate", "mode": "record"}},
            "dedup.exact",
        ],
        "gate": {"min_quality_score": 0.5, "max_quarantined_ratio": 0.2, "min_kept_ratio": 0.1},
    }  # fmt: skip


MINE = """
from gristmill import Drop

def drop_boilerplate(record):
    if "cookies" in record["text"]:
        return Drop("cookie_banner")
    return record
"""


def text(rng: random.Random, words: int) -> str:
    """Give a text of so many words."""
    return " ".join(rng.choice(_WORDS) for _ in range(words)).capitalize() + "."


def records(source: str, n: int, seed: int) -> list[dict[str, Any]]:
    """Give records of a source: most are fine, some short, some with a banner, some the same as others."""
    rng = random.Random(f"{source}{seed}")
    made = []
    for i in range(n):
        lot = rng.random()
        body = text(rng, rng.randint(12, 200))
        if lot < 0.12:
            body = text(rng, 4)
        elif lot < 0.2:
            body += " We use cookies."
        elif lot < 0.3:
            body = f"This page is the same wherever it stands, in whichever source it is found; number {i % 5}."
        place = f"https://example.org/{source}/{seed}/{i}"
        made.append({"id": f"{seed}-{i}", "text": body, "url": place, "lang": rng.choice(LANGS)})
    return made


def shared(make: Callable[[Path], Lab]) -> Lab:
    """Give a world that is made once a process, only for reading; its folder goes when the process ends."""
    if make not in _MADE:
        folder = Path(tempfile.mkdtemp(prefix="gristmill-world-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _MADE[make] = make(folder)
    return _MADE[make]


_MADE: dict[Callable[[Path], Lab], Lab] = {}


def two_runs(folder: Path, n: int = 40) -> Lab:
    """Make the world: two runs, with drift, costs and an estimate put into the report of the second."""
    lab = Lab(folder, config())
    (folder / "mine.py").write_text(MINE)
    for at, source in enumerate(SOURCES):
        lab.put(f"{source}/day-1.jsonl", jsonl(records(source, n * (at + 1), 1)))
    lab.run()
    for at, source in enumerate(SOURCES):
        bad = b'{"id": "cut", "text": "cut o\n' + b'{"id": "none"}\n' * (at + 1) + b"\xff\xfe not UTF-8\n"
        lab.put(f"{source}/day-2.jsonl", jsonl(records(source, n * (3 - at), 2)) + bad)
    lab.put("crawl/day-1.jsonl", jsonl(records("crawl", n, 1)[: n // 2]))
    lab.run()
    layout = Layout(lab.dataset)
    report = json.loads(layout.report(2).read_bytes())
    report |= {"drift": drift(SOURCES), "drift_not_judged": NOT_JUDGED, "cost": COST, "estimate": ESTIMATE}
    layout.report(2).write_text(json.dumps(report))
    return lab


COST = {"total": 0.0421, "currency": "EUR", "parts": {"compute": 0.031, "storage": 0.0091, "requests": 0.002}}


NOT_JUDGED = [{"source": "crawl", "distributions": ["published.chars"], "why": "duplicates took another share of it"}]
ESTIMATE = {
    "seconds": {"estimated": 1.4, "measured": 1.3, "ratio": 1.077},
    "cost": {"estimated": 0.05, "measured": 0.0421, "ratio": 1.188},
}


def drift(sources: Any) -> list[dict[str, Any]]:
    """Give what a drift check might have found."""
    levels = ["ok", "warn", "block"]
    return [
        {"source": source, "distribution": name, "measure": measure, "value": 0.04 + 0.09 * i, "noise": 0.02, "warn": 0.1, "block": 0.25,
         "level": levels[i % 3], "against": "snapshot 1", "records": 900, "records_against": 800}
        for i, source in enumerate(sources)
        for name, measure in (("chars", "ks"), ("lang", "psi"))
    ]  # fmt: skip


def distributions(sources: Any, names: list[str], seed: int, bins: int = 40) -> dict[str, Any]:
    """Give `distributions.json` as a run writes it: bell shapes over equal edges, words for `lang`."""
    rng = random.Random(seed)
    found: dict[str, Any] = {}
    for source in sources:
        sides: dict[str, Any] = {"read": {}, "published": {}}
        for at, name in enumerate(names):
            if name == "lang":
                read: Any = {lang: rng.randint(100, 900) for lang in [*LANGS, "it", "und"]}
                sides["read"][name] = {"values": read}
                sides["published"][name] = {"values": {lang: n // 2 for lang, n in read.items() if lang != "und"}}
                continue
            edges = [round(10 * 1.3**i, 3) for i in range(bins + 1)]
            middle = bins / 2 + at + seed
            bell = [int(4000 * math.exp(-(((i - middle) / 6) ** 2))) + rng.randint(0, 40) for i in range(bins)]
            sides["read"][name] = {"edges": edges, "counts": bell}
            kept = [n if 8 < i < bins - 6 else n // 5 for i, n in enumerate(bell)]
            sides["published"][name] = {"edges": edges, "counts": kept}
        found[source] = sides
    return {"version": 1, "sources": found}

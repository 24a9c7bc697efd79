"""Hostile worlds: reports and a dataset whose every name, word and text is a payload, and what of a page may be there all the same."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.properties.lab import Lab
from tests.report.payloads import storable

TOGETHER = 20  # payloads on one page

# Everything a page is made of. What is not here came from a payload.
ELEMENTS = {"html", "head", "meta", "link", "title", "style", "body", "main", "nav", "section", "h1", "h2", "h3", "p", "strong", "b", "span", "em", "i", "code", "pre", "br", "wbr", "div", "a", "ul", "li", "table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "path", "rect", "polyline", "figure", "figcaption", "details", "summary", "form", "label", "input", "select", "option", "button", "mark"}  # fmt: skip
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "rel", "href", "class", "id", "role", "aria-label", "aria-hidden", "viewbox", "preserveaspectratio", "x", "y", "width", "height", "d", "points", "scope", "colspan", "open", "title", "type", "value", "placeholder", "action", "selected"}  # fmt: skip
# Gives what a page holds beside that, and everything that could act.
STRANGERS = f"""(() => {{
  const elements = {json.dumps(sorted(ELEMENTS))}, attributes = {json.dumps(sorted(ATTRIBUTES))}, found = [];
  for (const e of document.querySelectorAll('*')) {{
    if (!elements.includes(e.localName) && e.localName !== 'title') found.push(e.localName);
    for (const a of e.attributes) {{
      if (!attributes.includes(a.name.toLowerCase())) found.push(e.localName + ' ' + a.name);
      if (a.name === 'href' && !/^(#|data:,|\\/)/.test(a.value)) found.push('href ' + a.value);
      if (a.name === 'action' && !a.value.startsWith('/')) found.push('action ' + a.value);
    }}
  }}
  if (document.scripts.length) found.push('script');
  if (window.acted) found.push('acted');
  return found;
}})()"""


def chunks(many: Iterable[str], n: int = TOGETHER) -> Iterator[list[str]]:
    """Give them in groups."""
    each = iter(many)
    while group := list(itertools.islice(each, n)):
        yield group


def poisoned(report: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """Give a report whose every free word is one of these payloads; numbers stay as they are."""
    turn = itertools.cycle(words)

    def name() -> str:
        return next(turn)

    part = {"read": 9, "published": 3, "unchanged": 0, "superseded": 0, "withdrawn": 0}
    dropped = {f"{word}:{word[::-1]}": n for n, word in enumerate(words, 1)}
    codes = {word: n for n, word in enumerate(words, 1)}
    counts = report["counts"] | {"dropped": dropped, "duplicates": codes, "quarantined": codes}
    source = part | {"dropped": dropped, "duplicates": {}, "quarantined": {}}
    steps = [{"name": name(), "in": 9, "out": 4, "valid": 4, "invalid": 5, "seconds": 0.5, "bytes": 900} for _ in words]
    errors = [
        {"stage": name(), "source": name(), "code": name(), "message": name(), "time": name(), "context": {"origin": name()}}
        for _ in words
    ]  # fmt: skip
    return report | {
        "dataset": f"/x/{name()}",
        "status": name(),
        "started": name(),
        "counts": counts,
        "sources": dict.fromkeys(words, source),
        "steps": steps,
        "errors": errors,
        "warnings": codes,
        "gate": [{"rule": word, "value": 1.0, "limit": 2.0, "ok": False} for word in words],
        "lineage": [{"config_changed": word} for word in words] + [{"accepted": word, "why": name()} for word in words],
        "exports": {word: {"chunks": 1, word: 1} for word in words},
        "drift": [
            {"source": word, "distribution": name(), "measure": name(), "value": 1.0, "warn": 0.1, "block": 0.2, "level": name(), "against": name()}
            for word in words
        ],
        "drift_not_judged": [{"source": word, "distributions": [name()], "why": name()} for word in words],
        "estimate": {word: {"estimated": 1, "measured": 2, "ratio": 0.5} for word in words},
        "cost": {"total": 1.0, "currency": name(), "parts": dict.fromkeys(words, 0.1)},
    }  # fmt: skip


def poisoned_distributions(words: list[str]) -> dict[str, Any]:
    """Give distributions of which every name and word is a payload."""
    numbers = {"edges": [1, 2, 3], "counts": [1, 2, 3, 4]}
    side = dict.fromkeys(words[::2], numbers) | {word: {"values": dict.fromkeys(words, 3)} for word in words[1::2]}
    return {"version": 1, "sources": {word: {"read": side, "published": side} for word in words[:4]}}


MINE = """
from gristmill import Filter
import pyarrow as pa

class Mine(Filter, frozen=True, kw_only=True):
    \'\'\'Drops every third record; the reason is what the record says. Invariant: none.\'\'\'

    def judge(self, batch):
        texts, ids = batch.text.to_pylist(), batch.rows.column("id").to_pylist()
        words = [text.split(chr(10))[0] if i % 3 == 1 else None for i, text in enumerate(texts)]
        return pa.array(words, pa.string()).dictionary_encode()
"""


def dataset(folder: Path) -> Lab:
    """Make a dataset of two runs of which every text, id, URL, title, file name and reason is a payload."""
    lab = Lab(
        folder,
        {
            "sources": [
                {"name": name, "files": {"path": f"{name}/**/*.jsonl", "url": "url"} | more}
                for name, more in (("one", {}), ("two", {"id": "id"}))
            ],
            "steps": [{"name": "mine", "./mine.py": {}}, "dedup.exact"],
        },
    )
    (folder / "mine.py").write_text(MINE)
    every = storable()
    for source in ("one", "two"):
        lines = []
        for number, word in enumerate(every):
            record = {
                "id": f"{number} {word}",
                "text": f"{word}\n{word} {source}",
                "url": f"https://example.org/?q={word}",
                "title": word,
            }
            lines.append(json.dumps(record) + "\n")
        lab.put(f"{source}/all.jsonl", "".join(lines).encode())
    for number, word in enumerate(every):
        name = word.replace("/", "%2F").replace("\0", "")[:80]
        if name.strip(".") and not name.startswith("."):
            content = json.dumps({"text": f"{word} {number % 50}", "title": word}) + '\n{"n": 1}\n{"id": "' + "\n"
            lab.put(f"one/{name}.jsonl", content.encode())
    assert lab.run().status == "published"
    more = {"id": "more", "text": "<b>One more</b> document, so that there are two snapshots."}
    lab.put("two/more.jsonl", json.dumps(more).encode() + b"\n")
    assert lab.run().status == "published"
    return lab

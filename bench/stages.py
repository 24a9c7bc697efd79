"""Single stages: what a step or reader does in MB/s on one core, beside plain Python doing the same.

A stage is added by adding a `Stage` to `STAGES`. `ours` and `plain` are called with the same texts and must do the
same work; their results are compared before anything is timed.
"""

from __future__ import annotations

import importlib
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from bench import corpus
from bench.machine import MB, median_cpu_s
from bench.results import Measure
from gristmill.core.batch import RECORD_SCHEMA, Batch

SAMPLE_MB = 20
ROWS = 2000

Texts = Sequence[str]


class Stage(NamedTuple):
    """A piece of work two can do. ours: gets batches, gives text columns; plain: gets and gives the same texts as lists."""

    name: str
    ours: Callable[[list[Batch]], list[pa.Array]]
    plain: Callable[[Texts], list[str]]


def step(part: str, params: dict[str, Any]) -> Callable[[list[Batch]], list[pa.Array]]:
    """Give the work of a Transform, by its part name: `clean.text` is steps/clean/text.py."""

    def work(batches: list[Batch]) -> list[pa.Array]:
        module = importlib.import_module(f"gristmill.steps.{part}")
        classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
        (made,) = [c(**params) for c in classes if hasattr(c, "apply") and not c.__name__.startswith("_")]
        ready = made.open(Path())
        return [ready.apply(batch).text for batch in batches]

    return work


def substitution(pattern: str, by: str = "", *, strip: bool = False) -> Callable[[Texts], list[str]]:
    """Give the plain work of a regular expression."""
    compiled = re.compile(pattern)
    return lambda texts: [compiled.sub(by, text).strip() if strip else compiled.sub(by, text) for text in texts]


KEEP = r"\w\s.,!?;:'\"()@/-"
URL = r"""(?i)(?<!\w)(?:https?://|ftp://|www\.)[^\s<>"]*[^\s<>".,;:!?'")\]}]"""
EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"

STAGES: list[Stage] = [
    Stage(
        "collapse_whitespace",
        step("clean.text", {"ops": ["collapse_whitespace"]}),
        substitution(r"\s+", " ", strip=True),
    ),
    Stage("keep_chars", step("clean.text", {"ops": [{"keep_chars": KEEP}]}), substitution(f"[^{KEEP}]")),
    Stage("remove_urls", step("clean.text", {"ops": ["remove_urls"]}), substitution(URL)),
    Stage("remove_emails", step("clean.text", {"ops": ["remove_emails"]}), substitution(EMAIL)),
    Stage(
        "nfc",
        step("clean.text", {"ops": ["nfc"]}),
        lambda texts: [unicodedata.normalize("NFC", text) for text in texts],
    ),
    Stage("lowercase", step("clean.lowercase", {}), lambda texts: [text.lower() for text in texts]),
]


def sample() -> list[str]:
    """Give the first texts of the corpus."""
    texts, left = [], SAMPLE_MB * MB
    for path in corpus.files(corpus.build(100)):
        with path.open("rb") as file:
            for line in file:
                texts.append(json.loads(line)["text"])
                left -= len(line)
                if left <= 0:
                    return texts
    return texts


def batches_of(texts: Texts) -> list[Batch]:
    """Give the texts as batches, the other columns empty."""
    made = []
    for start in range(0, len(texts), ROWS):
        part = list(texts[start : start + ROWS])
        columns: dict[str, list[Any]] = {
            "id": [str(start + n) for n in range(len(part))],
            "text": part,
            "source": ["bench"] * len(part),
            "content_hash": [b""] * len(part),
            "ord": list(range(start, start + len(part))),
        }
        arrays = [pa.array(columns.get(field.name, [None] * len(part)), field.type) for field in RECORD_SCHEMA]
        made.append(Batch(pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)))
    return made


def run() -> dict[str, Measure]:
    """Measure all stages.

    Raises:
        RuntimeError: a stage does not do the same work as its plain twin.
    """
    texts = sample()
    batches = batches_of(texts)
    mb = sum(len(text.encode()) for text in texts) / MB
    found = {}
    for stage in STAGES:
        if pa.chunked_array(stage.ours(batches)).to_pylist() != stage.plain(texts):
            raise RuntimeError(f"stage {stage.name}: the results differ from plain Python's")
        ours = mb / median_cpu_s(partial(stage.ours, batches), 3)
        plain = mb / median_cpu_s(partial(stage.plain, texts), 1)
        found[f"stage_{stage.name}"] = Measure(round(ours, 1), "MB/s", f"one core; plain Python {plain:.1f} MB/s")
        found[f"stage_{stage.name}_vs_plain"] = Measure(round(ours / plain, 2), "x", "beside plain Python")
    return found

"""Single stages: what a step or reader does in MB/s on one core, beside plain Python doing the same.

A stage is added by adding a `Stage` to `STAGES`. `ours` and `plain` must do the same work on the same texts; their
results are compared before anything is timed.
"""

from __future__ import annotations

import gzip
import importlib
import io
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from bench import corpus
from bench.machine import MB, median_cpu_s
from bench.results import Measure
from gristmill.core.batch import RECORD_SCHEMA, TABLE_SCHEMA, Batch
from gristmill.core.files import BLOCK_BYTES
from gristmill.core.mapping import Mapping, Rows
from gristmill.exports.jsonl import Jsonl
from gristmill.sources.formats import jsonl
from gristmill.steps.signals import sizes

SAMPLE_MB = 20
ROWS = 2000

Texts = Sequence[str]


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


def columns_to_list(columns: list[pa.Array]) -> list[Any]:
    """Give the values of columns as one list."""
    values: list[Any] = pa.chunked_array(columns).to_pylist()
    return values


class Stage(NamedTuple):
    """A piece of work two can do. ours: gets what `given` makes of the texts; plain: gets what `plain_given` makes.

    seen: makes of our result what must equal the plain one, after `plain_seen`.
    """

    name: str
    ours: Callable[[Any], Any]
    plain: Callable[[Any], Any]
    given: Callable[[Texts], Any] = batches_of
    plain_given: Callable[[Texts], Any] = list
    seen: Callable[[Any], list[Any]] = columns_to_list
    plain_seen: Callable[[Any], list[Any]] = list


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


def file_of(texts: Texts) -> bytes:
    """Give the texts as a file of JSON lines, an id with each."""
    return b"".join(orjson.dumps({"id": str(at), "text": text}) + b"\n" for at, text in enumerate(texts))


def blocks_of(texts: Texts) -> list[bytes]:
    """Give that file as the blocks it is read in."""
    data = file_of(texts)
    return [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]


def read_jsonl(blocks: list[bytes]) -> list[pa.Array]:
    """Read lines of JSON as the files source does."""
    rows = Rows("bench", Mapping(id="id"), 2 << 20)
    return [page.rows.column("text") for page in jsonl.read(blocks, rows, 0, 64 << 20)]


def plain_read(data: bytes) -> list[pa.Array]:
    """Read the same lines with the standard library into the same columns: id, text, place in the file."""
    ids, texts, places = [], [], []
    at = 0
    for line in io.BytesIO(data):
        record = json.loads(line)
        ids.append(record["id"])
        texts.append(record["text"])
        places.append(f"bench#{at}")
        at += len(line)
    return [pa.array(values, pa.string()) for values in (texts, ids, places)]


def export_gzip(batches: list[Batch]) -> bytes:
    """Write rows of the table as the jsonl export does."""
    seq = [pa.repeat(pa.scalar(1, pa.int64()), len(batch)) for batch in batches]
    rows = [
        pa.RecordBatch.from_arrays([*batch.rows.columns, one], schema=TABLE_SCHEMA)
        for batch, one in zip(batches, seq, strict=True)
    ]
    file = io.BytesIO()
    Jsonl(path="out", compression="gz", columns=["id", "text"]).write(file, iter(rows))
    return file.getvalue()


def plain_gzip(texts: Texts) -> bytes:
    """Write the same lines with the standard library, at its level for speed."""
    file = io.BytesIO()
    with gzip.open(file, "wt", compresslevel=1, encoding="utf-8") as out:
        for at, text in enumerate(texts):
            out.write(json.dumps({"id": str(at), "text": text}, ensure_ascii=False) + "\n")
    return file.getvalue()


def unzipped(data: bytes) -> list[Any]:
    """Give the records of a gzip file of JSON lines."""
    return [orjson.loads(line) for line in gzip.decompress(data).splitlines()]


def words(batches: list[Batch]) -> list[pa.Array]:
    """Count words as the filters do."""
    return [pa.array(sizes(batch.text)["words"]) for batch in batches]


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
    Stage(
        "collapse_and_keep",
        step("clean.text", {"ops": ["collapse_whitespace", {"keep_chars": KEEP}]}),
        lambda texts: [re.sub(f"[^{KEEP}]", "", re.sub(r"\s+", " ", text).strip()) for text in texts],
    ),
    Stage("remove_urls", step("clean.text", {"ops": ["remove_urls"]}), substitution(URL)),
    Stage("remove_emails", step("clean.text", {"ops": ["remove_emails"]}), substitution(EMAIL)),
    Stage(
        "nfc",
        step("clean.text", {"ops": ["nfc"]}),
        lambda texts: [unicodedata.normalize("NFC", text) for text in texts],
    ),
    Stage("lowercase", step("clean.lowercase", {}), lambda texts: [text.lower() for text in texts]),
    Stage("count_words", words, lambda texts: [len(text.split()) for text in texts]),
    Stage(
        "jsonl_read",
        read_jsonl,
        plain_read,
        given=blocks_of,
        plain_given=file_of,
        plain_seen=lambda columns: columns_to_list(columns[:1]),
    ),
    Stage("jsonl_gzip", export_gzip, plain_gzip, seen=unzipped, plain_seen=unzipped),
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


def run() -> dict[str, Measure]:
    """Measure all stages.

    Raises:
        RuntimeError: a stage does not do the same work as its plain twin.
    """
    texts = sample()
    mb = sum(len(text.encode()) for text in texts) / MB
    found = {}
    for stage in STAGES:
        given, plain_given = stage.given(texts), stage.plain_given(texts)
        if stage.seen(stage.ours(given)) != stage.plain_seen(stage.plain(plain_given)):
            raise RuntimeError(f"stage {stage.name}: the results differ from plain Python's")
        ours = mb / median_cpu_s(partial(stage.ours, given), 3)
        plain = mb / median_cpu_s(partial(stage.plain, plain_given), 1)
        found[f"stage_{stage.name}"] = Measure(round(ours, 1), "MB/s", f"one core; plain Python {plain:.1f} MB/s")
        found[f"stage_{stage.name}_vs_plain"] = Measure(round(ours / plain, 2), "x", "beside plain Python")
    return found

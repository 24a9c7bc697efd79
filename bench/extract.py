"""`python -m bench.extract`: how well and how fast main text is taken out of real pages; writes extract.json and the table in docs.

Two sets of pages with answers checked by hand, beside the checkout (../shared/data): `articles`, with the whole main text of
each, scored as scrapinghub's article-extraction-benchmark does: bags of 4-token shingles, true and false positives and false
negatives each as a share of their sum, averaged over the pages, precision and recall of the averages; and `pages`, with strings
that must and strings that must not be in the text: precision and recall count strings.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from bench.machine import ROOT, facts

SHARED = ROOT.parent / "shared" / "data"
RESULTS = Path(__file__).resolve().parent / "extract.json"
PAGE = ROOT / "docs" / "sources" / "html.md"
BEGIN, END = "<!-- extract: begin -->", "<!-- extract: end -->"
SHINGLE = 4
_TOKEN = re.compile(r"\w+")

Extract = Callable[[str, str], str | None]


class Article(NamedTuple):
    """A page and the whole of its main text."""

    source: str
    url: str
    text: str


class Checked(NamedTuple):
    """A page and strings that must, and must not, be in its main text."""

    source: str
    url: str
    wanted: list[str]
    unwanted: list[str]


class Score(NamedTuple):
    """Precision, recall and their harmonic mean."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean."""
        return 2 * self.precision * self.recall / (self.precision + self.recall) if self.precision else 0.0


def articles(shared: Path = SHARED) -> list[Article]:
    """Load the articles, in order of their names."""
    from gristmill.extract.charset import decode

    folder = shared / "html" / "articles"
    truth = json.loads((folder / "ground-truth.json").read_bytes())
    return [
        Article(
            decode(gzip.decompress((folder / f"{name}.html.gz").read_bytes())).text, entry["url"], entry["articleBody"]
        )
        for name, entry in sorted(truth.items())
    ]


def pages(shared: Path = SHARED) -> list[Checked]:
    """Load the pages with strings to look for, in order of the archive."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    from gristmill.extract.charset import decode

    gold = json.loads((shared / "warc" / "pages.gold.json").read_bytes())
    found = []
    with (shared / "warc" / "pages.warc.gz").open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            url = record.headers["WARC-Target-URI"]
            found.append(Checked(decode(record.reader.read()).text, url, gold[url]["with"], gold[url]["without"]))
    return found


def score_articles(texts: Sequence[str], answers: Sequence[str]) -> Score:
    """Score whole texts by shingles."""
    shares = [0.0, 0.0, 0.0]
    for text, answer in zip(texts, answers, strict=True):
        got, true = _shingles(text), _shingles(answer)
        hits = (got & true).total()
        counts = (hits, got.total() - hits, true.total() - hits)
        shares = [share + count / (sum(counts) or 1) for share, count in zip(shares, counts, strict=True)]
    true_positive, false_positive, false_negative = shares
    return Score(
        true_positive / ((true_positive + false_positive) or 1), true_positive / ((true_positive + false_negative) or 1)
    )


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    tokens = _TOKEN.findall(text)
    return Counter(tuple(tokens[at : at + SHINGLE]) for at in range(max(1, len(tokens) - SHINGLE + 1)))


def score_pages(texts: Sequence[str], answers: Sequence[Checked]) -> Score:
    """Score texts by the strings that must and must not be in them; runs of spaces are one."""
    wanted = kept = hits = 0
    for text, answer in zip(texts, answers, strict=True):
        flat = " ".join(text.split())
        wanted += len(answer.wanted)
        hits += sum(" ".join(string.split()) in flat for string in answer.wanted)
        kept += sum(" ".join(string.split()) in flat for string in answer.unwanted)
    return Score(hits / ((hits + kept) or 1), hits / (wanted or 1))


def extractors() -> dict[str, Extract]:
    """Give what is compared, by the name it has in the table."""
    import trafilatura
    from resiliparse.extract.html2text import extract_plain_text

    from gristmill.extract.main_text import main_text

    def resiliparse(**settings: Any) -> Extract:
        return lambda source, _: extract_plain_text(source, **settings)

    def by_trafilatura(**settings: Any) -> Extract:
        return lambda source, url: trafilatura.extract(source, url=url, deduplicate=False, **settings)

    def ours(name: str) -> Extract:
        return lambda source, url: main_text(source, name, url).text

    less = {"main_content": True, "comments": False}
    return {
        "resiliparse, all text": resiliparse(),
        "resiliparse, `main_content`": resiliparse(main_content=True),
        "the same, no comments": resiliparse(**less),
        "the same, no post meta": resiliparse(**less, post_meta=False),
        "`extractor: resiliparse` (the same, no alternative texts)": ours("resiliparse"),
        "trafilatura": by_trafilatura(),
        "`extractor: trafilatura` (no comments)": ours("trafilatura"),
        "the same, `fast`": by_trafilatura(include_comments=False, fast=True),
        "the same, `favor_precision`": by_trafilatura(include_comments=False, favor_precision=True),
        "the same, `favor_recall`": by_trafilatura(include_comments=False, favor_recall=True),
        "**`extractor: default`**": ours("default"),
    }


def measure(extract: Extract, sets: tuple[list[Article], list[Checked]], repeats: int) -> dict[str, float]:
    """Extract from all pages, several times for the clock; give scores and pages per CPU second."""
    first, second = sets
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        texts = [extract(page.source, page.url) or "" for page in (*first, *second)]
        seconds.append(time.process_time() - start)
    whole = score_articles(texts[: len(first)], [page.text for page in first])
    strings = score_pages(texts[len(first) :], second)
    return {
        "articles_precision": round(whole.precision, 4),
        "articles_recall": round(whole.recall, 4),
        "articles_f1": round(whole.f1, 4),
        "pages_precision": round(strings.precision, 4),
        "pages_recall": round(strings.recall, 4),
        "pages_f1": round(strings.f1, 4),
        "empty": sum(not text.strip() for text in texts),
        "pages_per_cpu_s": round(len(texts) / statistics.median(seconds), 1),
    }


def table(results: dict[str, Any]) -> str:
    """Give the results as a Markdown table."""
    rows = [
        "| | articles: precision | recall | F1 | pages: precision | recall | F1 | empty | pages/CPU-s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in results["extractors"].items():
        scores = [
            f"{row[f'{kind}_{what}']:.3f}" for kind in ("articles", "pages") for what in ("precision", "recall", "f1")
        ]
        rows.append(f"| {name} | {' | '.join(scores)} | {row['empty']} | {row['pages_per_cpu_s']:.0f} |")
    return "\n".join(rows)


def into_page(text: str, results: dict[str, Any]) -> str:
    """Give the page with the table between its markers."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table(results)}\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Measure all, print the table, write it."""
    parser = argparse.ArgumentParser(prog="python -m bench.extract", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="print only")
    options = parser.parse_args()
    if not SHARED.is_dir():
        print(f"needs the developer data set at {SHARED}", file=sys.stderr)
        return 1
    machine = facts()
    sets = articles(), pages()
    results: dict[str, Any] = {
        "machine": machine,
        "extract_libraries": {name: version(name) for name in ("resiliparse", "trafilatura", "lxml")},
        "sets": {"articles": len(sets[0]), "pages": len(sets[1])},
        "extractors": {name: measure(extract, sets, options.repeats) for name, extract in extractors().items()},
    }
    print(table(results))
    if not options.quick:
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
        PAGE.write_text(into_page(PAGE.read_text("utf-8"), results), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

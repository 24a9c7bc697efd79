"""The main text of real pages stays as good as it was; the table in the docs is the committed one."""

import json

import pytest
from bench import extract as bench
from tests.examples import some

from gristmill.extract.main_text import main_text

# Measured 2026-11 with resiliparse 2.0.1 and trafilatura 2.3.1, less a hundredth for other releases.
FLOORS = {"default": (0.944, 0.898), "resiliparse": (0.925, 0.855)}


@pytest.mark.slice
@pytest.mark.parametrize("extractor", some(list(FLOORS), 1))
def test_main_text_keeps_its_floor(shared, extractor):
    articles, pages = bench.articles(shared), bench.pages(shared)
    assert (len(articles), len(pages)) == (80, 230)
    whole = bench.score_articles(
        [main_text(page.source, extractor, page.url).text for page in articles], [page.text for page in articles]
    )
    strings = bench.score_pages([main_text(page.source, extractor, page.url).text for page in pages], pages)
    assert (whole.f1, strings.f1) >= (FLOORS[extractor][0], 0)
    assert strings.f1 >= FLOORS[extractor][1]


def test_scores_are_what_they_say():
    assert bench.score_articles(["a b c d e"], ["a b c d e"]).f1 == 1
    half = bench.score_articles(["a b c d e f g h"], ["a b c d"])  # one shingle of five is right, none is missed
    assert (half.precision, half.recall) == (pytest.approx(0.2), 1)
    assert bench.score_articles([""], ["a b c d"]).f1 == 0
    answer = bench.Checked("", "", ["is here", "is not"], ["bad", "worse"])
    assert bench.score_pages(["this  is\nhere, and bad"], [answer]) == (0.5, 0.5)


def test_table_in_the_docs_is_the_measured_one():
    results = json.loads(bench.RESULTS.read_text("utf-8"))
    assert bench.into_page(bench.PAGE.read_text("utf-8"), results) == bench.PAGE.read_text("utf-8")


def test_default_is_between_its_parts_in_quality_and_speed():
    rows = json.loads(bench.RESULTS.read_text("utf-8"))["extractors"]
    default, fast, good = (
        next(row for name, row in rows.items() if f"extractor: {each}" in name)
        for each in ("default", "resiliparse", "trafilatura")
    )
    for kind in ("articles_f1", "pages_f1"):
        assert fast[kind] < default[kind] <= good[kind]
    assert fast["pages_per_cpu_s"] > default["pages_per_cpu_s"] > good["pages_per_cpu_s"]

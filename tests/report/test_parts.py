"""The pieces of a page: masks give nothing away, histograms keep their counts, views for notebooks are small and harmless."""

import json
import math
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from tests.report import hostile, worlds
from tests.report.payloads import storable

from gristmill import Dataset, Pipeline
from gristmill.core.histogram import COUNT_EDGES
from gristmill.core.visible import visible
from gristmill.engine.report import Report
from gristmill.report import bars, bins, notebook, shapes, words
from gristmill.report.bins import Numbers

HISTOGRAMS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(st.just(tuple(range(n + 1))), st.lists(st.integers(0, 9), min_size=n, max_size=n).map(tuple))
)


@given(st.text(max_size=300))
def test_a_mask_gives_away_no_letter_and_no_digit(text):
    shape = words.masked(text, 160)
    assert len(shape) <= 161
    left = [char for char in shape if unicodedata.category(char)[0] in "LMN" or not char.isascii()]
    assert set(left) <= {"X", "x", "0", "…"}


def test_a_mask_shows_the_shape():
    assert words.masked("Dr. Jürgen Müller, +49 (30) 1234") == "Xx. Xxxxxx Xxxxxx, +00 (00) 0000"
    assert words.masked("中文 текст\u202e ½ 😀") == "xx xxxxx  0 *"


@given(st.text(max_size=60), st.sampled_from(["", "\n\t"]))
def test_visible_text_can_neither_act_nor_hide(text, keep):
    shown = visible(text, keep)
    bad = {char for char in shown if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} - set("\u200c\u200d")
    assert bad <= set(keep)
    assert not any(ord(char) & 0xFFFE == 0xFFFE for char in shown)
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 3, "33.3 %"),
        (1, 10**6, "< 0.1 %"),
        (999_999, 10**6, "> 99.9 %"),
        (1, 0, "–"),
        (2, 33, "6.1 %"),
    ],
)
def test_shares_never_round_to_all_or_nothing(part, whole, told):
    assert words.percent(part, whole).replace("\u202f", " ") == told


def test_numbers_as_people_read_them():
    assert [words.count(n) for n in (None, True, 1234567, 0.123456, 1234.5678, 3.0, math.inf)] == ["–", "yes", "1,234,567", "0.1235", "1,235", "3", "–"]  # fmt: skip
    assert [words.short(n) for n in (0.5, 999, 9173, 1.5e6, 2e9, 3e12)] == ["0.5", "999", "9.17k", "1.5M", "2G", "3T"]
    assert [words.seconds(s).replace("\u202f", " ") for s in (0, 0.0012, 5, 61, 7300)] == ["0 s", "1.2 ms", "5.00 s", "1 min 1 s", "2 h 1 min"]  # fmt: skip
    assert [words.size(n).replace("\u202f", " ") for n in (0, 999, 1500, 2.5e9, 7e15)] == ["0 B", "999 B", "1.5 kB", "2.5 GB", "7,000.0 TB"]  # fmt: skip


@given(HISTOGRAMS, st.integers(1, 24))
def test_coarse_bins_keep_every_count_and_stay_few(histogram, most):
    one = Numbers(*histogram)
    found = bins.coarse([one], most)
    assert len(found) <= most
    assert sum(each.counts[0] for each in found) == one.total
    assert math.isclose(sum(each.shares[0] for each in found), 1.0) or not one.total
    joined = bins.joined([one, one])
    assert joined.counts == tuple(2 * n for n in one.counts)


@given(HISTOGRAMS, st.floats(0, 1))
def test_a_quantile_has_its_share_below_it(histogram, q):
    one = Numbers(*histogram)
    value = bins.quantile(one, q)
    if not one.total:
        assert value is None
        return
    below = sum(n for n, high in zip(one.counts, one.edges[1:], strict=True) if high <= value)
    above = sum(n for n, low in zip(one.counts, one.edges, strict=False) if low >= value)
    assert below <= q * one.total + 1e-9
    assert above <= (1 - q) * one.total + 1e-9


def test_histograms_as_the_engine_writes_them_have_open_ends():
    edges = list(COUNT_EDGES)
    plain = {"edges": edges, "counts": [3] + [0] * (len(edges) - 1) + [5]}
    one = bins.numbers_of(plain)
    assert one.total == 8
    assert bins.coarse([one])[0].name.startswith("<")
    assert bins.quantile(one, 0.1) == edges[0]
    assert bins.quantile(one, 0.9) == edges[-1]
    assert bins.numbers_of({"edges": [1, 2], "counts": [1, 2, 3, 4]}) is None
    assert bins.numbers_of({"values": {"en": 1}}) is None


def test_sources_with_other_bins_are_told_in_figures_and_not_drawn():
    one, other = ({"edges": [0, 1, n], "counts": [4, 4]} for n in (2, 3))
    now = {"sources": {"a": {"read": {"x": one}}, "b": {"read": {"x": other}}}}
    (shape,) = shapes.shapes(now, {})["shapes"]
    assert (shape.bins, [row[0] for row in shape.rows]) == ([], ["a", "b"])


def test_distributions_that_changed_most_come_first_and_the_rest_is_named():
    names = [f"s{i:02d}" for i in range(30)]
    side = {name: {"edges": [0, 1, 2], "counts": [50 + i, 50]} for i, name in enumerate(names)}
    kept = {name: {"edges": [0, 1, 2], "counts": [50, 50 + i]} for i, name in enumerate(names)}
    found = shapes.shapes({"sources": {"a": {"read": side, "published": kept}}}, {})
    assert [shape.name for shape in found["shapes"]] == names[::-1][: shapes.CHARTS]
    assert sorted(found["left"]) == names[: 30 - shapes.CHARTS]


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 50)), max_size=8))
def test_bars_never_leave_their_bar(parts):
    laid = bars.bar(parts, sum(n for _, n in parts))
    assert all(part.start >= 0 and part.start + part.width <= 100.01 for part in laid)
    assert sum(part.n for part in laid) == sum(n for _, n in parts)


# --- notebooks ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="world")
def _world():
    return worlds.shared(worlds.two_runs)


def harmless(view):
    """A view is small, well formed, and styles nothing outside itself."""
    assert len(view) < 6000
    parsed = etree.fromstring(f"<div>{view}</div>", etree.XMLParser(resolve_entities=False))
    assert not [
        each.tag
        for each in parsed.iter()
        if each.tag in {"script", "img", "iframe", "link", "meta", "base", "form", "svg"}
    ]
    assert not [name for each in parsed.iter() for name in each.attrib if name.startswith("on")]
    for rule in re.findall(r"([^{}]+)\{", "".join(style.text for style in parsed.iter("style"))):
        assert all(selector.strip().startswith(".gristmill") for selector in rule.split(","))
    return " ".join(" ".join(parsed.itertext()).split())


def test_a_report_shows_itself_in_a_notebook(world):
    plain = world.open().report(2)
    told = harmless(notebook.report(plain))
    assert "Run 2: Published as snapshot 2" in told
    assert f"read {plain['counts']['read']} = published {plain['counts']['published']}" in told
    fresh = Report(status="nothing_new", dataset="/x/corpus", snapshot=3, dataset_rows=7)
    assert "Nothing new Snapshot 3 is still true: 7 documents." in harmless(fresh._repr_html_())


def test_a_dataset_and_a_pipeline_show_themselves_in_a_notebook(world):
    told = harmless(Dataset(world.dataset)._repr_html_())
    assert "set , 2 runs" in told
    assert told.count("published") == 3
    told = harmless(Pipeline.from_file(world.folder / "gristmill.yml")._repr_html_())
    for name in ("crawl", "filter.length", "boilerplate", "dedup.exact"):
        assert name in told


def test_payloads_are_words_in_a_notebook(world):
    plain = json.loads(json.dumps(world.open().report(2)))
    for some in hostile.chunks(storable(), 40):
        harmless(notebook.report(hostile.poisoned(plain, some)))
        harmless(notebook.dataset(some[0], [{"run": 1, "status": word, "started": word} for word in some]))
        harmless(notebook.pipeline(some[0], [(word, word, word) for word in some[:9]]))

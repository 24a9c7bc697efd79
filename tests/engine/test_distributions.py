"""Distributions: every record is counted once as it came and once as it was published, however the work was cut."""

import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.engine.test_flow import go
from tests.examples import some
from tests.properties.lab import Lab, folder, jsonl

from gristmill.core import histogram
from gristmill.core.step import Filter
from gristmill.engine import distributions
from gristmill.engine.distributions import Distributions
from gristmill.steps.filter.length import Length
from gristmill.steps.signals import broken_limits, reasons
from gristmill.store.layout import Layout

FIXTURE = Path(__file__).with_name("distributions-1.json")
STEPS = [
    {"filter.length": {"min_chars": 4}},
    "dedup.exact",
    "clean.lowercase",
    {"filter.length": {"max_words": 5}},
    {"dedup.exact": {"key": "url"}},
    {"filter.length": {"max_chars": 60}},
]


@pytest.fixture
def tmp_path():
    """Give a folder in memory where there is one: a run syncs what it writes, and these are many."""
    with folder() as place:
        yield place


def config(**settings):
    return {
        "sources": [{"name": "s", "files": {"path": "in/*", "id": "id", "url": "url", "lang": "lang", **settings}}],
        "steps": STEPS,
        "require": {"min_words": 2},
    }


def made(seed, n):
    """Make records of which every step drops some: in several scripts, with doubles in text and url."""
    chance = random.Random(seed)
    words = ["mill", "Korn", "зерно", "ΣΊΤΟΣ", "粉", "a\tb", "İ", "x" * 40]
    found = []
    for i in range(n):
        text = " ".join(chance.choices(words, k=chance.randint(0, 7))) if i % 9 else "mill Korn"
        url = f"u{chance.randint(0, 2 * n)}"
        found.append({"id": f"{seed}-{i}", "text": text, "url": url, "lang": chance.choice(["en", "de", None, "no!"])})
    return found


class Plain:
    """What the pipeline above does to new records and what must be counted of them, in plain Python."""

    def __init__(self):
        self.texts, self.urls = set(), set()
        self.begin()

    def begin(self):
        self.read, self.published, self.outcomes = defaultdict(list), defaultdict(list), Counter()

    def take(self, record):
        text, said = record["text"], {}
        self._profile(self.read, text, record["lang"])
        outcome = self._outcome(text, record["url"], said)
        for name, value in said.items():
            self.read[name].append(value)
        self.outcomes[outcome] += 1
        if outcome == "kept":
            self._profile(self.published, text.lower(), record["lang"])
            for name, value in said.items():
                self.published[name].append(value)

    def _outcome(self, text, url, said):
        def note(step):
            said[f"{step}:chars"], said[f"{step}:words"] = len(text), len(text.split())

        note("filter.length")
        if len(text) < 4:
            return "filter.length:too_short"
        if text in self.texts:
            return "dedup.exact:duplicate"
        self.texts.add(text)
        text = text.lower()
        note("filter.length#2")
        if len(text.split()) > 5:
            return "filter.length#2:too_many_words"
        if url in self.urls:
            return "dedup.exact#2:duplicate"
        self.urls.add(url)
        note("filter.length#3")
        if len(text) > 60:
            return "filter.length#3:too_long"
        note("require")
        return "kept" if len(text.split()) >= 2 else "require:min_words"

    @staticmethod
    def _profile(side, text, lang):
        side["chars"].append(len(text))
        side["non_ascii"].append(sum(c > "\x7f" for c in text) / max(len(text), 1))
        side["spaces"].append(sum(c in "\t\n\x0b\x0c\r " for c in text) / max(len(text), 1))
        side["lang"].append({"en": "en", "de": "de", None: "unknown"}.get(lang, "other"))

    def histograms(self):
        def whole(side):
            found = {
                name: histogram.of_numbers(name, histogram.counted(histogram.bins(name, np.array(values))))
                for name, values in side.items()
                if name != "lang"
            }
            return found | ({"lang": histogram.of_words(Counter(side["lang"]))} if side["lang"] else {})

        return {
            "read": whole(self.read) | {"reasons": histogram.of_words(self.outcomes)},
            "published": whole(self.published),
        }


@pytest.mark.slice
@pytest.mark.parametrize(
    ("workers", "batch_bytes", "split_bytes"), some([(1, 8 << 20, None), (1, 100, 700), (1, 1, None), (2, 300, 500)], 2)
)
def test_all_that_came_and_all_that_was_published_is_counted_once(tmp_path, workers, batch_bytes, split_bytes):
    lab = Lab(tmp_path, config(split_bytes=split_bytes) | {"run": {"batch_bytes": batch_bytes}})
    plain = Plain()
    rows: list[dict[str, object]] = []
    for day in (1, 2):
        rows += made(day, 60)
        lab.put("in/0.jsonl", jsonl(rows) + b"{bad\n" * (day == 2))  # day 2 reads day 1 again
        plain.begin()
        for record in rows[-60:]:
            plain.take(record)
        if day == 2:
            plain.outcomes["quarantined:json.syntax"] += 1
        lab.run_in_processes(workers) if workers > 1 else lab.run()
        found = distributions.read(Layout(lab.dataset), day)
        assert found.sources == {"s": plain.histograms()}
        assert lab.open().manifest().counts.unchanged == 60 * (day - 1)
        assert min(plain.outcomes.values()) > 0
        assert len(plain.outcomes) >= 7
    assert lab.broken() == []


def test_the_order_and_the_files_in_which_records_come_leave_no_trace(tmp_path):
    rows = made(3, 80)
    found = set()
    for n in (1, 2, 3):
        lab = Lab(tmp_path / str(n), config() | {"steps": [{"filter.length": {"min_chars": 4}}]})
        random.Random(n).shuffle(rows)
        for i in range(n):
            lab.put(f"in/{i}.jsonl", jsonl(rows[i::n]))
        lab.run()
        found.add((lab.dataset / "runs/1/distributions.json").read_bytes())
    assert len(found) == 1


def test_a_revision_is_counted_and_what_it_overtakes_is_too(tmp_path):
    lab = Lab(tmp_path, config())
    lab.put("in/0.jsonl", jsonl([{"id": "1", "text": "as it was", "url": "u1"}]))
    lab.run()
    newer = [{"id": "1", "text": text, "url": f"u{i}"} for i, text in enumerate(["as it is", "as it will be"], 2)]
    lab.put("in/1.jsonl", jsonl(newer[:1]))
    lab.put("in/2.jsonl", jsonl(newer[1:]))
    lab.run()
    side = distributions.read(Layout(lab.dataset), 2).sources["s"]
    assert side["read"]["reasons"].values == {"kept": 1, "superseded": 1}
    assert (side["read"]["chars"].total, side["published"]["chars"].total) == (2, 1)


def test_a_source_that_brings_nothing_new_is_left_out(tmp_path):
    lab = Lab(tmp_path, config() | {"sources": [*config()["sources"], {"name": "t", "files": {"path": "t/*"}}]})
    lab.put("in/0.jsonl", jsonl(made(1, 5)))
    lab.put("t/0.jsonl", jsonl([{"text": "some words"}]))
    lab.run()
    assert set(distributions.read(Layout(lab.dataset), 1).sources) == {"s", "t"}
    lab.put("in/1.jsonl", jsonl(made(2, 5)))
    lab.put("t/0.jsonl", jsonl([{"text": "some words"}]))
    lab.run()
    assert set(distributions.read(Layout(lab.dataset), 2).sources) == {"s"}
    assert set(lab.open().manifest().summary["distributions"][0]["sources"]) == {"s"}


class Brittle(Filter, frozen=True, kw_only=True):
    """Measures as `filter.length` does and cannot bear one word."""

    RULES = Length.RULES
    min_chars: int = 3
    max_chars: None = None
    min_words: None = None
    max_words: None = None

    def judge(self, batch):
        broken = list(broken_limits(self, batch))
        if "poison" in batch.text.to_pylist():
            raise ValueError
        return reasons(len(batch), broken)


@pytest.mark.parametrize("cuts", [(), (1, 2, 3), (2, 5)])
def test_what_a_filter_measured_is_kept_of_all_but_the_records_it_raised_on(tmp_path, cuts):
    _, _, found = go(tmp_path, [("brittle", Brittle())], ["aaa", "b", "poison", "cccc", "dd", "eeeee"], cuts=cuts)
    measured = [(row["ord"], row["value"]) for row in found["signals"] if row["signal"] == "chars"]
    assert measured == [(0, 3.0), (1, 1.0), (3, 4.0), (4, 2.0), (5, 5.0)]


def test_the_format_is_that_of_the_first_release(tmp_path):
    """What version 1 wrote is read, and is what is written today for the same counts."""
    layout = Layout(tmp_path)
    layout.run(1).mkdir(parents=True)
    layout.distributions(1).write_bytes(FIXTURE.read_bytes())
    found = distributions.read(layout, 1)
    plain = Plain()
    for record in made(4, 40):
        plain.take(record)
    assert found == Distributions(sources={"s": plain.histograms()})
    distributions.write(layout, 2, found)
    assert layout.distributions(2).read_bytes() == FIXTURE.read_bytes()
    told = json.loads(FIXTURE.read_bytes())
    assert (set(told), told["version"]) == ({"version", "sources"}, 1)
    chars = told["sources"]["s"]["read"]["chars"]
    assert (set(chars), len(chars["counts"])) == ({"edges", "counts"}, len(chars["edges"]) + 1)
    assert set(told["sources"]["s"]["read"]["lang"]) == {"values"}


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":2,"sources":{}}', b"[]", b"\xff"])
def test_what_is_no_file_of_distributions_is_none(tmp_path, content):
    layout = Layout(tmp_path)
    assert distributions.read(layout, 1) is None
    layout.run(1).mkdir(parents=True)
    layout.distributions(1).write_bytes(content)
    assert distributions.read(layout, 1) is None


def test_a_file_of_distributions_that_is_there_and_cannot_be_read_is_not_taken_for_none(tmp_path):
    layout = Layout(tmp_path)
    layout.distributions(1).mkdir(parents=True)
    with pytest.raises(OSError, match=r"runs/1/distributions\.json"):
        distributions.read(layout, 1)


def test_a_damaged_file_of_distributions_is_found_by_verify(tmp_path):
    lab = Lab(tmp_path, config())
    for day in (1, 2):
        lab.put(f"in/{day}.jsonl", jsonl(made(day, 20)))
        lab.run()
    assert lab.broken() == []
    path = lab.dataset / "runs/1/distributions.json"
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":3'))
    assert "runs/1/distributions.json is not what the manifest says (sha256 differs)" in lab.open().verify()
    path.unlink()
    assert "runs/1/distributions.json is missing" in lab.open().verify()


def test_a_language_score_is_counted_where_a_step_gives_one(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(record):\n    record['lang_score'] = {'a': 0.25, 'b': 0.75}.get(record['id'][2:])\n    return record\n"
    )
    lab = Lab(tmp_path, config() | {"steps": [{"custom": {"call": "./mine.py:score"}}]})
    lab.put("in/0.jsonl", jsonl([{"id": key, "text": f"the text {key}"} for key in "abc"]))
    lab.run()
    side = distributions.read(Layout(lab.dataset), 1).sources["s"]
    assert "lang_score" not in side["read"]
    scores = side["published"]["lang_score"]
    filled = [scores.edges[i - 1] for i, n in enumerate(scores.counts) if n]
    assert (scores.total, filled) == (2, [0.25, 0.75])


def write_fixture():
    """Make the fixture of this version; it is never made again for a version that was released."""
    plain = Plain()
    for record in made(4, 40):
        plain.take(record)
    found = Distributions(sources={"s": plain.histograms()})
    FIXTURE.write_bytes(msgspec.json.encode(found, order="sorted") + b"\n")


if __name__ == "__main__":
    write_fixture()

"""On real text, at the defaults: a source that turns is told of, halves of one source are not."""

import pytest
from tests.drift.real import ACCIDENTS, changed, corpus, halves
from tests.examples import some
from tests.properties.lab import Lab, folder, jsonl

from gristmill.core.errors import GateRefused

STEPS = ["clean.text", {"filter.length": {"min_chars": 20}}]
ENGLISH, GERMAN = "libreoffice-help-en-us", "libreoffice-help-de"


@pytest.fixture(scope="module")
def texts(shared):
    return corpus(shared)


@pytest.fixture
def lab():
    with folder() as place:
        source = {"name": "help", "files": {"path": "in/*", "id": "id"}}  # nothing says which language it is
        yield Lab(place, {"sources": [source], "steps": STEPS})


def over(report):
    return {f"{entry['measure']} {entry['distribution']}" for entry in report.drift if entry["level"] != "ok"}


@pytest.mark.slice
@pytest.mark.parametrize("language", some(["de", "id", "ru", "ja"], 2))
def test_a_source_that_turns_to_another_language_is_told_of_though_no_step_knows_languages(lab, texts, language):
    lab.put("in/1.jsonl", jsonl(texts[ENGLISH]))
    lab.run()
    lab.put("in/2.jsonl", jsonl(texts[f"libreoffice-help-{language}"]))
    report = lab.run()
    assert report.status == "published"
    assert {"psi read.spaces", "ks read.spaces", "psi published.spaces"} <= over(report)
    assert [error["code"] for error in report.errors] == ["source.drift"]


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_a_source_that_turns_to_garbage_or_boilerplate_is_told_of(lab, texts, accident):
    first, second = texts[ENGLISH][::2], texts[ENGLISH][1::2]
    lab.put("in/1.jsonl", jsonl(first))
    lab.run()
    lab.put("in/2.jsonl", changed(second, accident))
    assert {one.partition(" ")[0] for one in over(lab.run())} == {"psi", "ks"}


def test_halves_of_one_source_are_alike(lab, texts):
    one, other = halves(texts[ENGLISH], 1)
    lab.put("in/1.jsonl", one)
    lab.run()
    lab.put("in/2.jsonl", other)
    report = lab.run()
    assert over(report) == set()
    assert len(report.drift) > 20


def test_a_tenth_of_german_is_little_and_half_is_refused_where_it_may_not_be(lab, texts):
    lab.configure({**lab.config, "gate": {"min_quality_score": 0, "drift": {"block_psi": 1.0, "block_ks": 0.4}}})
    lab.put("in/1.jsonl", jsonl(texts[ENGLISH][::2]))
    lab.run()
    lab.put("in/2.jsonl", jsonl(texts[ENGLISH][1::2] + texts[GERMAN][:30]))
    report = lab.run()
    assert {entry["level"] for entry in report.drift} <= {"ok", "warn"}
    lab.put("in/3.jsonl", jsonl(texts[GERMAN][30:]))
    with pytest.raises(GateRefused, match=r"help\.drift is .* against 2 snapshots, 1 to 2"):
        lab.run()

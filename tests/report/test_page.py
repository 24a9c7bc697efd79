"""The page of a run: what stands on it, that it is whole and harmless, and that it never costs a run."""

import base64
import hashlib
import json
import re
import time
from pathlib import Path

import pytest
from lxml import etree, html
from tests.properties.lab import Lab, jsonl
from tests.report import worlds

from gristmill.core.errors import GateRefused
from gristmill.report import page, render
from gristmill.store.layout import Layout

SECTIONS = ["accounting", "funnel", "reasons", "distributions", "duplicates", "quarantine", "time", "errors", "examples", "drift", "lineage"]  # fmt: skip
NOT_HTML4 = 801  # libxml2 knows no tags younger than HTML 4


@pytest.fixture(scope="module", name="world")
def _world():
    return worlds.shared(worlds.two_runs)


def made(lab, seq):
    layout = Layout(lab.dataset)
    return page.make(layout, json.loads(layout.report(seq).read_bytes()))


def tree(text):
    """Parse a page as XML, which forgives nothing."""
    return etree.fromstring(text.replace("<!DOCTYPE html>", "").encode(), etree.XMLParser(resolve_entities=False))


def words(element):
    """Give the text of an element; what stands in cells and boxes of its own is set apart."""
    return " ".join("".join(pieces(element)).split())


def pieces(element):
    if element.tag == "svg":
        return
    apart = "" if element.tag in {"wbr", "code", "a"} else " "
    yield apart + (element.text or "")
    for child in element:
        yield from pieces(child)
        yield child.tail or ""
    yield apart


def section(parsed, name):
    return next(each for each in parsed.iter("section") if each.get("id") == name)


def holds_together(text):
    """A page is well formed, asks for nothing, runs nothing, and every drawing has a table that says the same."""
    parsed = tree(text)
    for each in parsed.iter():
        assert each.tag not in {"script", "iframe", "object", "embed", "img", "base", "form"}
        assert not [name for name in each.attrib if name.startswith("on") or name in {"style", "src"}]
    ids = [each.get("id") for each in parsed.iter() if each.get("id")]
    assert len(ids) == len(set(ids))
    for link in parsed.iter("a"):
        assert link.get("href").startswith("#")
        assert link.get("href")[1:] in ids
    for drawing in parsed.iter("svg"):
        around = [up for up in drawing.iterancestors() if up.tag in {"table", "figure"}]
        assert around, "a drawing beside no table"
        assert around[0].tag == "table" or around[0].find(".//table") is not None
    errors = [e for e in html.document_fromstring(text).getroottree().parser.error_log if e.type != NOT_HTML4]
    assert not errors
    return parsed


def test_a_run_leaves_its_page(world):
    layout = Layout(world.dataset)
    for seq in (1, 2):
        assert layout.page(seq).exists()
        holds_together(layout.page(seq).read_text("utf-8"))
    assert made(world, 1) == made(world, 1)


def test_the_page_says_in_order_what_the_report_says(world):
    text, report = made(world, 2), world.open().report(2)
    parsed, counts = tree(text), report["counts"]
    assert [each.get("id") for each in parsed.iter("section")] == SECTIONS
    whole = words(parsed)
    assert "✓ Published as snapshot 2" in whole
    assert f"Snapshot 2 holds {report['dataset_rows']:,} documents." in whole
    for rule in report["gate"]:
        assert re.search(rf"{rule['rule']} [\d.]+ [≤≥] [\d.]+ met", whole)
    lost = sum(counts["dropped"].values()), sum(counts["duplicates"].values()), sum(counts["quarantined"].values())
    assert min(lost) > 0
    law = words(section(parsed, "accounting"))
    assert (
        f"{counts['read']} read = {counts['published']} published + {counts['unchanged']} unchanged + 0 superseded + {lost[0]} dropped "
        f"+ {lost[1]} duplicates + {lost[2]} quarantined"
    ) in law
    before = world.open().report(1)["dataset_rows"]
    assert f"{report['dataset_rows']} documents = {before} before + {counts['published']} published − {counts['withdrawn']} withdrawn" in law  # fmt: skip
    assert "Both laws hold" in law
    for step in report["steps"]:
        assert f"{step['name']} {step['in']:,} {step['out']:,} {step['in'] - step['out']:,}" in words(
            section(parsed, "funnel")
        )
    for source, part in report["sources"].items():
        assert f"{source} {part['read']} {part['published']}" in words(section(parsed, "funnel"))
    for key, n in counts["dropped"].items():
        assert re.search(rf"{key} {n} [\d.]+\s%", words(section(parsed, "reasons")))
    for code, n in counts["quarantined"].items():
        assert re.search(rf"{code} {n} ", words(section(parsed, "quarantine")))
    assert "crawl/day-2.jsonl#" in words(section(parsed, "quarantine"))
    assert re.search(r"documents \d+ \d+", whole)  # beside the run before
    assert "The config is the same as before." in whole
    assert "0.0421 EUR" in words(section(parsed, "time"))
    assert "seconds 1.40 s 1.30 s 1.077" in words(section(parsed, "time")).replace("\u202f", " ")
    assert "crawl 1 distribution duplicates took another share of it" in words(section(parsed, "drift"))
    assert "handbook chars ks 0.22 0.02 warn 0.1, block 0.25 snapshot 1 block" in words(section(parsed, "drift"))


def test_distributions_stand_beside_those_of_the_snapshot_before(world):
    part = section(tree(made(world, 2)), "distributions")
    assert [words(each) for each in part.iter("figcaption")][:2] == ["chars", "lang"]
    (chars, lang, *_) = part.iter("figure")
    assert [words(each) for each in chars.find(".//thead").iter("th")][1].startswith("read ")
    assert [each.get("class") for each in chars.iter("path")] == ["published", "read", "last"]
    titles = ["".join(each.itertext()) for each in chars.iter("title")]
    assert len(titles) == len(chars.find(".//tbody").findall("tr")) <= 24
    assert re.fullmatch(r"[\d.,]+ to [\d.,]+; read .+; published .+; last snapshot .+", titles[5])
    assert re.search(r"crawl [\d,]+ [\d.]+k? / [\d.]+k? / [\d.]+k?", words(chars))
    assert re.search(r"value read [\d,]+ published [\d,]+ last snapshot [\d,]+ (en|de|fr) ", words(lang))
    assert {"length:chars", "length:words", "non_ascii", "spaces"} <= {words(each) for each in part.iter("figcaption")}
    assert "Distributions None were kept for this run." in words(section(tree(made_without(world)), "distributions"))


def made_without(world):
    report = world.open().report(1) | {"run": 77}  # a run that left nothing but its report
    return page.make(Layout(world.dataset), report)


def test_the_style_is_the_one_the_policy_names(world):
    parsed = tree(made(world, 2))
    (style,) = parsed.iter("style")
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    (policy,) = [m.get("content") for m in parsed.iter("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_a_refused_run_says_which_rule_did_not_hold(tmp_path):
    lab = Lab(tmp_path, {"sources": [{"name": "a", "files": {"path": "a/*", "id": "id"}}], "gate": {"min_docs": 3}})
    lab.put("a/1.jsonl", jsonl([{"id": "1", "text": "Only this one document is here."}]))
    with pytest.raises(GateRefused):
        lab.run()
    parsed = holds_together(Layout(lab.dataset).page(1).read_text("utf-8"))
    assert "✕ Refused by the gate Nothing is published." in words(parsed)
    assert "min_docs 1 ≥ 3 not met" in words(parsed)
    assert "1 documents the candidate would hold = 0 before" in words(section(parsed, "accounting"))
    assert "Xxxx xxxx xxx xxxxxxxx xx xxxx." in words(section(parsed, "examples"))  # a candidate has examples too


def test_a_failed_run_has_a_page(tmp_path):
    lab = Lab(
        tmp_path, {"sources": [{"name": "a", "files": {"path": "a/*"}}], "steps": [{"custom": {"call": "./mine.py:f"}}]}
    )
    (tmp_path / "mine.py").write_text("def f(record):\n    raise ValueError(record['text'])\n")
    lab.put("a/1.jsonl", jsonl([{"text": f"SECRETTEXT {i}"} for i in range(50)]))
    with pytest.raises(Exception, match="max_error_ratio"):
        lab.run()
    text = Layout(lab.dataset).page(1).read_text("utf-8")
    parsed = holds_together(text)
    assert "✕ Failed Nothing is published." in words(parsed)
    assert "The run failed before its records were counted." in words(section(parsed, "accounting"))
    assert "TooManyErrors" in words(section(parsed, "errors"))
    assert "SECRETTEXT" not in text


def test_no_text_of_a_document_is_on_a_page(tmp_path):
    lab = Lab(tmp_path, {"sources": [{"name": "a", "files": {"path": "a/*", "id": "id"}}], "steps": [{"filter.length": {"min_chars": 20}}, "dedup.exact"]})  # fmt: skip
    texts = ["Geheimnis 4711 von Jürgen", "Geheim 12", "Geheimnis 4711 von Jürgen", "Тайна и ещё одна тайна 九千"]
    lab.put("a/1.jsonl", jsonl([{"id": str(i), "text": text} for i, text in enumerate(texts)]) + b'{"text": "Geheim')
    lab.run()
    text = Layout(lab.dataset).page(1).read_text("utf-8")
    assert "Geheim" not in text
    assert "4711" not in text
    assert "Тайна" not in text
    assert "Xxxxxxxxx 0000 xxx Xxxxxx" in text
    assert "Xxxxx x xxx xxxx xxxxx xx" in text


def test_a_page_that_cannot_be_written_fails_no_run(tmp_path):
    lab = Lab(tmp_path, {"sources": [{"name": "a", "files": {"path": "a/*", "id": "id"}}]})
    lab.put("a/1.jsonl", jsonl([{"id": "1", "text": "A document that is long enough."}]))
    blocked = Layout(lab.dataset).page(1)
    (blocked / "a folder stands here").mkdir(parents=True)
    assert lab.run().status == "published"
    log = Layout(lab.dataset).log(1).read_text("utf-8")
    assert "report.html could not be written" in log
    (blocked / "a folder stands here").rmdir()
    blocked.rmdir()
    assert lab.run().status == "nothing_new"
    holds_together(blocked.read_text("utf-8"))  # the next run completes it


def big(sources=10, steps=20):
    """Give a report and distributions as big as they get: ten sources, twenty steps, long names, all lists full."""
    names = [f"source-{i:02d}-with-a-name-of-forty-characters" for i in range(sources)]
    step_names = [f"filter.some_long_step_name_{i:02d}" for i in range(steps)]
    dropped = {f"{step}:reason_{k}": 10_000 + k for step in step_names for k in range(4)}
    part = {"read": 10**7, "published": 10**6, "unchanged": 5, "superseded": 6, "withdrawn": 7, "dropped": dropped,
            "duplicates": {"dedup.exact": 10**5}, "quarantined": {f"code.number_{i}": 99 for i in range(20)}}  # fmt: skip
    report = {
        "version": 1, "run": 12, "snapshot": 12, "parent": 11, "status": "published", "dataset": "/x/corpus", "balanced": True,
        "counts": part, "quality": {"total": 9, "valid": 8, "invalid": 1, "duplicates": 0, "quality_score": 0.9}, "dataset_rows": 10**9,
        "errors": [{"stage": "read", "source": names[i % sources], "code": "json.syntax", "message": "m" * 300, "time": "", "context": {"origin": "o" * 300}} for i in range(100)],
        "sources": dict.fromkeys(names, part),
        "steps": [{"name": name, "in": 10**7, "out": 10**6, "valid": 1, "invalid": 9, "seconds": 12.5, "bytes": 10**9} for name in step_names],
        "bytes_read": 10**10, "bytes_published": 10**9, "compression_ratio": 3.3, "started": "2026-01-01T00:00:00Z", "seconds": 999.0,
        "mb_per_s": 10.0, "peak_rss_mb": 900.0, "retries": 3,
        "gate": [{"rule": f"{name}.min_kept_ratio", "value": 0.5, "limit": 0.4, "ok": True} for name in names],
        "drift": worlds.drift(names) * 4, "cost": worlds.COST, "lineage": [{"config_changed": "c" * 200}] * 30, "warnings": {f"oddity.{i}": i for i in range(40)},
        "exports": {},
    }  # fmt: skip
    signals = ["chars", "lang", *(f"{step}.signal_{k}" for step in step_names for k in range(2))]
    return report, worlds.distributions(names, signals, 1, bins=100)


def test_the_page_of_ten_sources_and_twenty_steps_is_under_300_kb_and_quick(tmp_path, record_property):
    layout = Layout(tmp_path)
    report, distributions = big()
    for seq in (11, 12):
        layout.run(seq).mkdir(parents=True)
        layout.distributions(seq).write_text(json.dumps(distributions))
    layout.report(11).write_text(json.dumps(report | {"run": 11}))
    text = page.make(layout, report)
    began = time.process_time()
    page.make(layout, report)
    record_property("seconds", time.process_time() - began)
    record_property("bytes", len(text.encode()))
    assert 100_000 < len(text.encode()) < 300_000
    parsed = holds_together(text)
    assert len(section(parsed, "funnel").find(".//tbody").findall("tr")) == 20
    assert time.process_time() - began < 20  # parsing too; a hundredth of it on a quiet machine


def test_nothing_unsafe_or_unknown_can_be_rendered(tmp_path):
    (tmp_path / "t.html").write_text("<p title='{{ word }}'>{{ word }}</p>{{ word|name }}{{ word|lines }}")
    shown = render.render("t.html", {"word": "<b>&'\"\x00\u202e\ud800\n\ufffe</b>"}, tmp_path)
    assert "<b>" not in shown
    assert [char for char in shown if not char.isprintable() and char != "\n"] == []
    assert shown.count("\\x00\\u202e\\ud800\\n\\ufffe") == 3
    assert "\\ud800\n\\ufffe" in shown
    (tmp_path / "u.html").write_text("{{ nobody }}")
    with pytest.raises(Exception, match="nobody"):
        render.render("u.html", {}, tmp_path)


def test_templates_are_in_the_package():
    folder = Path(render.__file__).parent / "templates"
    assert {"base.html", "body.html", "charts.html", "report.html", "style.css"} <= {p.name for p in folder.iterdir()}

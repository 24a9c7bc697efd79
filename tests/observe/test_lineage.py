"""Lineage: events validate, say what a run did, and hold no credential."""

import json
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import pytest
from referencing import Registry, Resource
from tests.observe.hooks import Hooks
from tests.properties.lab import Lab, jsonl

from gristmill.config.monitoring import OpenLineage
from gristmill.core.errors import GateRefused
from gristmill.core.source import Window
from gristmill.observe import lineage
from gristmill.observe.channels import Outbox
from gristmill.observe.events import RunBegins, RunFailed
from gristmill.observe.places import Place, places

HERE = Path(__file__).parent
SPEC = json.loads((HERE / "openlineage" / "schema.json").read_text())
OWN = json.loads((Path(lineage.__file__).parent / "facets.json").read_text())
REGISTRY = Registry().with_resources([(each["$id"], Resource.from_contents(each)) for each in (SPEC, OWN)])
FORMATS = jsonschema.FormatChecker(["date-time", "uuid"])
FORMATS.checks("uri")(lambda value: bool(urlsplit(value).scheme))
GOOD = jsonl([{"id": str(i), "text": f"The mill grinds sack {i}."} for i in range(20)])


def validate(event):
    """Hold an event to the schema of events, and each facet to that of its kind."""
    check(event, f"{SPEC['$id']}#/$defs/RunEvent")
    for name, facet in facets(event):
        url = facet["_schemaURL"]
        if url.startswith(OWN["$id"]):
            check(facet, url)
        else:
            kind = url.rpartition("/")[2]
            assert kind in SPEC["$defs"], (name, url)
            check(facet, f"{SPEC['$id']}#/$defs/{kind}")


def check(thing, reference):
    jsonschema.Draft202012Validator({"$ref": reference}, registry=REGISTRY, format_checker=FORMATS).validate(thing)


def facets(event):
    holders = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    for holder in holders:
        for key in ("facets", "inputFacets", "outputFacets"):
            yield from holder.get(key, {}).items()


def lab_of(folder, **more):
    config = {"sources": [{"name": "a", "files": {"path": "a/*", "id": "id"}}], "monitoring": {"openlineage": {"file": "lineage.jsonl"}}}  # fmt: skip
    lab = Lab(folder, config | more)
    lab.put("a/1.jsonl", GOOD)
    return lab


def events_of(lab):
    return [json.loads(line) for line in (lab.folder / "lineage.jsonl").read_text().splitlines()]


def test_a_run_begins_and_completes(tmp_path):
    lab = lab_of(tmp_path, description="A try.", exports=[{"name": "chunks", "jsonl": {"path": "./out"}}])
    lab.run()
    start, complete = events_of(lab)
    for event in (start, complete):
        validate(event)
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    uuid.UUID(start["run"]["runId"])
    [given] = complete["inputs"]
    assert (given["namespace"], given["name"]) == ("file", str(tmp_path / "a/*"))
    assert given["inputFacets"]["dataQualityMetrics"]["rowCount"] == 20
    table, export = complete["outputs"]
    assert (table["namespace"], table["name"]) == ("file", str(lab.dataset / "table"))
    assert table["outputFacets"]["outputStatistics"]["rowCount"] == 20
    assert table["facets"]["version"]["datasetVersion"] == "1"
    assert {field["name"] for field in table["facets"]["schema"]["fields"]} >= {"id", "text", "source", "license"}
    assert export["name"] == str(tmp_path / "out")
    told = complete["run"]["facets"]["gristmill_report"]
    assert (told["status"], told["counts"]["published"]) == ("published", 20)
    plan = json.loads((lab.dataset / "runs/1/plan.json").read_text())
    known = complete["run"]["facets"]["gristmill_pipeline"]
    assert (known["config"], known["code"]) == (plan["config"], plan["code"])
    assert complete["job"]["facets"]["documentation"]["description"] == "A try."


def test_a_run_that_finds_nothing_new_says_nothing(tmp_path):
    lab = lab_of(tmp_path)
    lab.run()
    lab.run()
    assert len(events_of(lab)) == 2


def test_a_refused_run_fails_with_the_rule(tmp_path):
    lab = lab_of(tmp_path, gate={"min_docs": 100})
    with pytest.raises(GateRefused):
        lab.run()
    fail = events_of(lab)[-1]
    validate(fail)
    assert fail["eventType"] == "FAIL"
    assert "min_docs" in fail["run"]["facets"]["errorMessage"]["message"]
    assert "outputStatistics" not in fail["outputs"][0].get("outputFacets", {})


def test_a_failed_run_tells_places_in_the_code_and_no_text(tmp_path):
    (tmp_path / "bad.py").write_text("def bad(texts):\n    raise RuntimeError(texts[0]['text'])\n")
    lab = lab_of(tmp_path, steps=[{"custom": {"call": "./bad.py:bad", "mode": "list"}}])
    with pytest.raises(Exception, match="steps raised"):
        lab.run()
    fail = events_of(lab)[-1]
    validate(fail)
    assert fail["eventType"] == "FAIL"
    assert "grinds" not in json.dumps(fail)


def test_a_run_that_a_signal_stops_is_aborted(tmp_path):
    box = Outbox("test")
    described = lineage.Described(version="0", job="j", description="", table=Place("file", "/d/table"), sources={}, exports={}, window=Window("2026-01-01T00:00:00", "2026-02-01"))  # fmt: skip
    listener = lineage.Lineage(OpenLineage(file="lineage.jsonl"), described, tmp_path, str, box)
    listener.run(RunBegins(run=3, dataset="/d", claimed="2026-01-01T00:00:00Z", config="c", code="k"))
    listener.failed(RunFailed(code="Stopped", message="stopped by a signal", stopped=True))
    listener.failed(RunFailed(code="Stopped", message="stopped by a signal", stopped=True))
    box.close(time.monotonic() + 60)
    assert box.failures == []
    start, abort = [json.loads(line) for line in (tmp_path / "lineage.jsonl").read_text().splitlines()]
    assert (start["eventType"], abort["eventType"]) == ("START", "ABORT")
    for event in (start, abort):
        validate(event)
        nominal = event["run"]["facets"]["nominalTime"]
        assert (nominal["nominalStartTime"], nominal["nominalEndTime"]) == ("2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00")  # fmt: skip


def test_the_id_of_a_run_is_always_the_same():
    begins = RunBegins(run=3, dataset="/d", claimed="2026-01-01T00:00:00Z")
    assert lineage.run_id(begins) == "2af0a2a6-745c-5b26-a88e-ef22da0b9f51"
    assert lineage.run_id(begins) != lineage.run_id(RunBegins(run=4, dataset="/d", claimed="2026-01-01T00:00:00Z"))


def test_a_server_gets_them_with_its_key(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", "sesame-of-the-test")
    with Hooks() as hooks:
        url = f"{hooks.url}/lineage"
        lab = lab_of(tmp_path, monitoring={"openlineage": {"url": url, "api_key": "${env:KEY}"}})
        lab.run()
    assert [each.json["eventType"] for each in hooks.got] == ["START", "COMPLETE"]
    assert {each.path for each in hooks.got} == {"/lineage"}
    assert {each.headers["Authorization"] for each in hooks.got} == {"Bearer sesame-of-the-test"}
    for each in hooks.got:
        validate(each.json)
        assert "sesame" not in json.dumps(each.json)


def test_a_server_that_refuses_is_told_in_the_report(tmp_path):
    with Hooks(answers=[401] * 9) as hooks:
        lab = lab_of(tmp_path, monitoring={"openlineage": {"url": hooks.url}})
        report = lab.run()
    told = [error for error in report.errors if error["code"] == "monitor.failed"]
    assert [each["message"] for each in told] == ["openlineage START: HTTPError", "openlineage COMPLETE: HTTPError"]
    assert report.status == "published"
    assert lab.open().report(1)["errors"] == report.errors


@pytest.mark.parametrize("name", sorted(SPEC["$defs"]))
def test_the_schema_is_that_of_the_locked_client(name):
    """Names, required names and URLs of the schema are those of the classes the client generates from the specification."""
    import attr
    from openlineage.client import event_v2, facet_v2
    from openlineage.client.generated import base

    known = {**vars(base), **vars(event_v2)}
    for module in vars(facet_v2).values():
        known |= vars(module) if hasattr(module, "__file__") else {}
    cls, ours = known[name], SPEC["$defs"][name]
    fields = attr.fields(cls)
    assert set(ours["properties"]) == {field.name for field in fields}, name
    needed = {field.name for field in fields if field.default is attr.NOTHING}
    implied = {"_producer", "_schemaURL", "producer", "schemaURL"} & {field.name for field in fields}
    assert set(ours.get("required", [])) == needed | implied
    if "const" in ours["properties"].get("_schemaURL", {}):
        assert ours["properties"]["_schemaURL"]["const"] == cls._get_schema()


OTHERWISE = Place("gristmill", "/d/sources/x")


@pytest.mark.parametrize(
    ("part", "params", "wanted"),
    [
        ("files", {"path": "data/*.jsonl"}, [("file", "/cfg/data/*.jsonl")]),
        ("files", {"path": ["s3://bucket/a/*.zst", "/abs/b"]}, [("s3://bucket", "a/*.zst"), ("file", "/abs/b")]),
        ("warc", {"path": "https://user:pw@host/x.warc.gz?token=abc#f"}, [("https://host", "x.warc.gz")]),
        ("sql", {"dsn": "postgresql://me:pw@db.example/shop", "table": "cms.articles"}, [("postgres://db.example:5432", "shop.cms.articles")]),
        ("sql", {"dsn": "postgres://db:6432/shop", "table": "articles"}, [("postgres://db:6432", "shop.public.articles")]),
        ("sql", {"dsn": "mysql+pymysql://me:pw@h/d?ssl=1", "table": "t"}, [("mysql://h:3306", "d.t")]),
        ("sql", {"dsn": "sqlite:///my.db", "table": "t"}, [("file", "/cfg/my.db/t")]),
        ("sql", {"dsn": "sqlite:////abs/my.db", "query": "select 'secret'"}, [("file", "/abs/my.db/query-")]),
        ("rest", {"endpoint": "https://api.example/v1/items?key=abc"}, [("https://api.example", "v1/items")]),
        ("web", {"urls": ["https://u:p@a.example/x", "https://a.example/y"], "feeds": "https://b.example/f"}, [("https://a.example", "/"), ("https://b.example", "/")]),
        ("dlt", {"resource": "./mine.py:rows"}, [("dlt", "mine.py:rows")]),
        ("mine", {}, [OTHERWISE]),
        ("sql", {"dsn": ""}, [OTHERWISE]),
    ],
)  # fmt: skip
def test_what_sources_are_called(part, params, wanted):
    found = places(part, params, Path("/cfg"), OTHERWISE)
    assert [place.namespace for place in found] == [namespace for namespace, _ in wanted]
    for place, (_, name) in zip(found, wanted, strict=True):
        assert place.name == name or (name.endswith("query-") and place.name.startswith(name)), place
    assert not any(word in str(found) for word in ("pw", "token", "abc", "secret"))

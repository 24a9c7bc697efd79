"""The keys `monitoring` and `alerts`: what is wrong is told with its place, what is missing with the command that installs it."""

from importlib.metadata import PackageNotFoundError

import pytest

from gristmill.config import load, monitoring
from gristmill.config.monitoring import Monitoring, OpenLineage, seconds
from gristmill.core.errors import ConfigError
from gristmill.pipeline import Pipeline

BEGIN = "version: 1\ndataset: ./corpus\nsources: [{files: {path: '*.jsonl'}}]\n"


@pytest.mark.parametrize(
    ("text", "place", "told"),
    [
        ("monitoring: {textfile: a.txt}\n", "4:24", "'textfile' in monitoring: expected str matching"),
        ("monitoring: {stall: soon}\n", "4:21", "'stall' in monitoring"),
        ("monitoring: {openlineage: {}}\n", "4:14", "monitoring.openlineage: give `file` or `url`, and only one of them"),
        ("monitoring: {openlineage: {file: a, url: 'http://b'}}\n", "4:14", "only one of them"),
        ("monitoring: {loog: json}\n", "4:14", "unknown key 'loog' in monitoring; did you mean 'log'?"),
        ("alerts: [{webhook: {url: ftp://h}}]\n", "4:26", "'url' in alerts[0].webhook"),
        ("alerts: [{webhook: {url: 'http://h', on: [refusd]}}]\n", "4:43", "did you mean 'refused'?"),
        ("alerts: [{webhook: {url: 'http://h'}, email: {to: a, from: b}}]\n", "4:10", "an alert is exactly one of: webhook, apprise, email"),
        ("alerts: [{}]\n", "4:10", "an alert is exactly one of"),
        ("alerts: [{email: {to: a, from: b, password: hunter2}}]\n", "4:45", "holds a secret in plain text"),
        ("alerts: [{pager: {}}]\n", "4:11", "unknown key 'pager' in alerts[0]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text, place, told, tmp_path):
    (tmp_path / "gristmill.yml").write_text(BEGIN + text)
    with pytest.raises(ConfigError) as caught:
        load.load(tmp_path / "gristmill.yml")
    [problem] = [each for each in caught.value.problems if told in each]
    assert f"gristmill.yml:{place}: " in problem
    assert "hunter2" not in str(caught.value)


def test_an_address_out_of_a_reference_is_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK", "token-of-the-test")
    (tmp_path / "gristmill.yml").write_text(BEGIN + 'alerts: [{webhook: {url: "${env:HOOK}"}}]\n')
    with pytest.raises(ConfigError, match="'url' in alerts") as caught:
        load.load(tmp_path / "gristmill.yml")
    assert "token-of-the-test" not in str(caught.value)


def test_a_missing_extra_is_told_with_its_command(tmp_path, monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(monitoring, "version", absent)
    keys = "monitoring: {textfile: a.prom, openlineage: {file: b}}\nalerts: [{apprise: {url: 'json://h'}}]\n"
    (tmp_path / "gristmill.yml").write_text(BEGIN + keys)
    (tmp_path / "a.jsonl").write_text('{"text": "The mill grinds."}\n')
    found = Pipeline.from_file(tmp_path / "gristmill.yml").problems()
    assert [each.rpartition("; ")[2] for each in found] == [
        'pip install "gristmill[metrics]"',
        'pip install "gristmill[lineage]"',
        'pip install "gristmill[alerts]"',
    ]
    assert monitoring.missing(Monitoring(log="json"), []) == []


def test_nothing_of_it_changes_what_a_pipeline_is(tmp_path):
    prints = set()
    for keys in ("", "monitoring: {log: json, stall: 1h}\nalerts: [{webhook: {url: 'http://h'}}]\n"):
        (tmp_path / "gristmill.yml").write_text(BEGIN + keys)
        prints.add(load.fingerprint(load.load(tmp_path / "gristmill.yml")))
    assert len(prints) == 1


def test_durations():
    assert [seconds(each) for each in ("5s", "15m", "36h", "7d", "2w")] == [5, 900, 129_600, 604_800, 1_209_600]
    assert "sesame" not in repr(OpenLineage(url="http://sesame", api_key="sesame"))

"""Reading verbs need no secret of what they do not open."""

import pytest
from tests.cli.conftest import CONFIG

WITH = CONFIG.replace(
    "steps:\n",
    """    license: "${env:GM_GONE_LICENSE}"
    freshness: 1d
  - name: db
    sql: {dsn: "${env:GM_GONE_DSN}", table: docs, cursor: at}
    on_error: skip
    steps: [{custom: {call: "${env:GM_GONE_CALL}", mode: record}}]
steps:
""",
    1,
)
WITH += """  - name: rows
    sql: {dsn: "${env:GM_GONE_ROWS}", table: docs}
alerts: [{webhook: {url: "${env:GM_GONE_HOOK}"}}]
monitoring: {expect_every: 1w, openlineage: {url: "${env:GM_GONE_URL}", api_key: "${file:gone}"}}
tests: [{name: a, given: "${env:GM_GONE_TEST}", expect: kept}]
"""
READING = (
    ["log"], ["show"], ["report"], ["explain", "web/d1"], ["inspect", "--kept"], ["status"], ["status", "--check"], ["diff", "1"], ["drift"],
    ["quarantine", "ls"],
)  # fmt: skip


@pytest.mark.parametrize("argv", READING, ids=" ".join)
def test_what_opens_no_source_needs_none_of_its_secrets(own, argv):
    own.config(WITH)
    answer = own(*argv)
    assert answer.code == 0, answer.err


def test_what_status_cannot_look_at_it_says(own):
    found = own.config(WITH)("status", "--json").json["exports"]
    assert (found["chunks"]["state"], found["rows"]["state"]) == ("current", "not looked at")
    assert "gristmill check" in found["rows"]["detail"]


def test_verify_needs_the_secrets_of_exports_and_of_nothing_else(own):
    own.config(WITH)
    answer = own("verify")
    assert (answer.code, answer.err.count("error:")) == (2, 1)
    assert "GM_GONE_ROWS" in answer.err
    own.config(WITH.partition("  - name: rows")[0])
    assert own("verify").code == 0


@pytest.mark.parametrize("argv", [["run"], ["plan"], ["check"], ["alert"], ["quarantine", "retry"]], ids=" ".join)
def test_whatever_opens_a_source_or_tells_people_still_needs_all(own, argv):
    answer = own.config(WITH)(*argv)
    assert answer.code == 2
    for name in ("LICENSE", "DSN", "CALL", "ROWS", "HOOK", "URL", "TEST"):
        assert f"GM_GONE_{name}" in answer.err


def test_the_place_of_the_dataset_is_needed_by_all(own):
    answer = own.config(WITH.replace("dataset: ./corpus", 'dataset: "${env:GM_GONE_PLACE}"'))("log")
    assert (answer.code, answer.err.count("error:")) == (2, 1)
    assert "GM_GONE_PLACE" in answer.err

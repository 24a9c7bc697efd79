"""Looking records up: by their origin, and what a snapshot that a rollback made holds."""


def test_explain_finds_a_kept_record_by_its_origin(own):
    (kept,) = own("inspect", "--kept", "-n", "1", "--json").json
    assert kept["origin"] == "a.jsonl#0"
    for wanted in (kept["origin"], f"web/{kept['origin']}"):
        found = own("explain", wanted, "--json")
        assert [row["id"] for row in found.json["published"]] == [kept["id"]]


def test_inspect_shows_what_the_snapshot_of_a_rollback_holds(own):
    before = {row["id"] for row in own("inspect", "--kept", "--json").json}
    (own.path / "data" / "b.jsonl").write_text('{"id": "n", "text": "A new record in a new file."}\n')
    assert own("run").code == 0
    assert [row["id"] for row in own("inspect", "--kept", "--json").json] == ["web/n"]
    assert own("rollback", "1").code == 0
    assert {row["id"] for row in own("inspect", "--kept", "--json").json} == before
    assert {row["id"] for row in own("inspect", "--kept", "--run", "3", "--json").json} == before
    assert [row["id"] for row in own("inspect", "--kept", "--run", "2", "--json").json] == ["web/n"]


def test_a_step_or_reason_that_is_not_there_is_told_with_those_that_are(own):
    there = own("inspect", "--dropped", "-n", "1", "--json").json
    assert there
    answer = own("inspect", "--dropped", "--step", "filter.lenght")
    assert (answer.code, answer.out) == (0, "")
    assert "no records dropped in this run, as asked for" in answer.err
    for row in there:
        assert f"{row['step']}:{row['reason']}" in answer.err

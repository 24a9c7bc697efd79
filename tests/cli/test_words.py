"""What verbs say: with the place of it, and no more than is true."""


def test_errors_of_a_report_are_shown_with_their_place(ran):
    line = next(line for line in ran("show").out.splitlines() if line.startswith("error"))
    (entry,) = ran("show", "--json").json["errors"]
    assert f"web: {entry['context']['origin']}: {entry['message']}" in line


def test_the_log_counts_nothing_as_published_of_a_run_that_was_refused(own):
    (own.path / "data" / "b.jsonl").write_text('{"id": "n", "text": "A new record in a new file."}\n')
    assert own("run", "--set", "gate.min_docs=100").code == 3
    refused = own("log", "--json").json[-1]
    assert {key: refused[key] for key in ("status", "read", "published", "withdrawn", "rows")} == {
        "status": "refused", "read": 1, "published": 0, "withdrawn": 0, "rows": None,
    }  # fmt: skip


def test_a_run_that_finds_nothing_new_says_which_export_it_repaired(own):
    next((own.path / "out").glob("*.zst")).unlink()
    answer = own("run")
    assert "export chunks was not whole as of snapshot 1: it is repaired" in answer.err
    assert "repaired" not in own("run").err


def test_a_retry_where_there_is_no_dataset_makes_none(fresh):
    answer = fresh("quarantine", "retry")
    assert answer.code == 2
    assert "there is no dataset" in answer.err
    assert not (fresh.path / "corpus").exists()


def test_what_watching_could_not_write_is_told_with_its_path(own):
    text = (own.path / "gristmill.yml").read_text()
    own.config(text + "monitoring: {textfile: there/metrics.prom, openlineage: {file: gone/lineage.jsonl}}\n")
    (own.path / "data" / "b.jsonl").write_text('{"id": "n", "text": "A new record in a new file."}\n')
    told = [error["message"] for error in own("run", "--json").json["errors"] if error["code"] == "monitor.failed"]
    assert any(str(own.path / "there" / "metrics.prom") in each for each in told)
    assert any(str(own.path / "gone" / "lineage.jsonl") in each for each in told)

"""What a run refuses is told by `check` and by `plan` too, and a run that is refused leaves nothing begun."""

import json

import pytest
from tests.cli.conftest import Project, write

HEAD = """version: 1
dataset: ./corpus
sources:
  - name: s
    files: {path: "data/*.jsonl", id: id}
"""
EXPORT = "exports:\n  - name: x\n    jsonl: {path: out}\n"


@pytest.fixture
def project(tmp_path):
    write(tmp_path / "data" / "a.jsonl", [{"id": f"d{i}", "text": f"Sack number {i}."} for i in range(3)])
    return Project(tmp_path).config(HEAD + EXPORT)


def refused(project, says):
    """Hold that all three verbs say the same, and that the run began nothing."""
    runs = project.path / "corpus" / "runs"
    before = sorted(runs.iterdir()) if runs.is_dir() else []
    for verb in ("check", "plan", "run"):
        answer = project(verb, "--json")
        assert (verb, answer.code) == (verb, 2), answer.err
        assert says in answer.err, verb
    assert (sorted(runs.iterdir()) if runs.is_dir() else []) == before


def test_a_deduplication_that_the_snapshots_were_made_without(project):
    assert project("run").code == 0
    project.config(HEAD + EXPORT + "steps: [dedup.exact]\n")
    refused(project, "its index does not cover them")
    assert project("plan", "--full-refresh").code == 0, "a refresh makes the index anew"
    lines = project("plan").out.splitlines()
    at = next(i for i, line in enumerate(lines) if "--redecide: " in line)
    assert lines[at].endswith(": not now")
    assert lines[at + 1].startswith("      steps were added")
    assert project("run", "--full-refresh").code == 0


def test_a_file_where_the_dataset_is_to_lie(project):
    (project.path / "corpus").touch()
    refused(project, "is no folder; move it away")


@pytest.mark.parametrize("name", ["a[b]", "C#", "why?", "a%20b", "a\nb", "a\\b", "x^y", "x|y"])
def test_a_dataset_in_a_path_that_delta_takes_for_another(project, name):
    project.config((HEAD + EXPORT).replace("./corpus", json.dumps(name)))
    assert json.loads(project("check", "--json").out)["problems"]
    refused(project, "no Delta table can be read in ")
    assert not (project.path / name).exists()


def test_a_link_to_nothing_in_the_place_of_a_folder(project):
    (project.path / "corpus").symlink_to("nowhere")
    refused(project, "is a link to 'nowhere', where nothing is")
    (project.path / "nowhere").mkdir()
    assert project("run").code == 0


def test_an_export_under_another_name_in_the_place_of_one(project):
    assert project("run").code == 0
    project.config(HEAD + EXPORT.replace("name: x", "name: y"))
    refused(project, "holds the export 'x'; give 'y' a path of its own")


def test_the_manifest_of_an_export_that_is_damaged(project):
    assert project("run").code == 0
    (project.path / "out" / "manifest.json").write_text("{")
    checked, ran = project("check"), project("run")
    assert (checked.code, project("plan").code, ran.code) == (2, 0, 1), "the snapshot does not wait for its export"
    for answer in (checked, ran):
        assert "not an export manifest" in answer.err


@pytest.mark.parametrize(
    ("code", "says"),
    [("import not_there_at_all\n", "raised ModuleNotFoundError"), ("import sys\nsys.exit(0)\n", "raised SystemExit")],
)
def test_a_module_of_a_custom_step_that_does_not_import(project, code, says):
    (project.path / "mine.py").write_text(f"{code}def keep(record):\n    return record\n")
    project.config(HEAD + 'steps: [{custom: {call: "./mine.py:keep"}}]\n')
    refused(project, says)


def test_a_baseline_that_is_no_snapshot_and_pins_that_are_none(project):
    assert project("run").code == 0
    write(project.path / "data" / "b.jsonl", [{"id": "e", "text": "Another sack."}])
    project.config(HEAD + "gate: {sources: {s: {min_docs: 100}}}\n")
    assert project("run").code == 3
    project.config(HEAD + "retention: {pinned: [2]}\n")
    assert project("run", "--json").json["snapshot"] == 3
    assert "retention.pinned: there is no snapshot 2" in project("check", "--json").json["notes"][0]
    project.config(HEAD + "gate: {drift: {baseline: 2}}\n")
    refused(project, "gate.drift.baseline: 2 is no snapshot")


@pytest.mark.parametrize(
    ("dataset", "path", "export", "own"),
    [
        (".", "**/*.parquet", "../out", "table/a.parquet"),
        (".", "*.json", "../out", "estimate.json"),
        ("./data/set", "data/**/*", "out", "data/set/table/a.parquet"),
        ("./corpus", "data/**/*", "data/out", "data/out/chunk_00000.jsonl.zst"),
        ("./corpus", "*.jsonl*", ".", "chunk_00000.jsonl.zst"),
        ("./corpus", "data/../o*/*.jsonl.zst", "out", "out/chunk_00000.jsonl.zst"),
    ],
)
def test_a_source_that_would_read_what_the_pipeline_writes_is_refused_before_anything_is_written(
    project, dataset, path, export, own
):
    text = HEAD.replace("./corpus", dataset).replace("data/*.jsonl", path)
    project.config(text + EXPORT.replace("path: out", f"path: {export}"))
    refused(project, f"matches {own} and the like, which this pipeline writes itself")
    assert not (project.path / "table").exists()


def test_data_may_lie_beside_the_folders_of_a_dataset_and_through_a_link_the_dataset_is_seen(project):
    project.config(HEAD.replace("./corpus", "."))
    assert project("check").code == 0
    assert project("run").code == 0
    assert project("run", "--json").json["status"] == "nothing_new"
    (project.path / "link").symlink_to(project.path / "table")
    project.config(HEAD.replace("./corpus", ".").replace("data/*.jsonl", "link/*.parquet"))
    refused(project, "which this pipeline writes itself")

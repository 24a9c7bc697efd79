"""A config out of several files and overlays: what is laid over what, and where its mistakes are said to be."""

import json

import pytest

from gristmill import cli
from gristmill.config.load import changes, describe, fingerprint, load
from gristmill.config.schema import schema
from gristmill.core.errors import ConfigError
from gristmill.pipeline import Pipeline

MAIN = """version: 1
dataset: ./corpus
sources:
  - name: web
    files: {path: "web/*.jsonl", id: id}
    owner: web@example.org
  - name: notes
    files: {path: "notes/*.txt"}
steps:
  - clean.text
  - filter.length: {min_chars: 100}
gate: {min_docs: 10}
exports:
  - name: lines
    jsonl: {path: ./out, docs_per_chunk: 100}
overlays:
  dev:
    dataset: ./corpus-dev
    sources:
      - name: web
        files: {path: "sample/*.jsonl"}
    steps:
      - filter.length: {min_chars: 5}
    gate: {min_docs: null}
    run: {workers: 1}
    without: {sources: [notes], exports: [lines]}
  prod:
    exports:
      - name: lines
        parquet: {path: ./columns}
      - name: more
        jsonl: {path: ./more}
"""


def write(folder, name="gristmill.yml", text=MAIN):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def told(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return "\n".join(caught.value.problems)


# --- overlays ------------------------------------------------------------------------------------------------------


def test_without_an_overlay_the_config_is_what_stands_above_them(tmp_path):
    config = load(write(tmp_path))
    assert [source.name for source in config.sources] == ["web", "notes"]
    assert config.gate.min_docs == 10


def test_an_overlay_changes_what_it_names_and_takes_out_what_it_is_told_to(tmp_path):
    config = load(write(tmp_path), ["overlay=dev"])
    (web,) = config.sources
    assert (web.source.path, web.source.id, web.owner) == ("sample/*.jsonl", "id", "web@example.org")
    assert [step.name for step in config.steps] == ["clean.text", "filter.length"]
    assert config.steps[1].step.min_chars == 5
    assert (config.gate.min_docs, config.gate.min_quality_score) == (None, 0.8)
    assert (config.run.workers, config.exports) == (1, [])
    assert config.dataset == str(tmp_path / "corpus-dev")


def test_another_part_under_the_same_name_takes_its_place_and_a_new_name_comes_at_the_end(tmp_path):
    config = load(write(tmp_path), ["overlay=prod"])
    assert [(each.name, each.part) for each in config.exports] == [("lines", "parquet"), ("more", "jsonl")]


def test_what_is_set_comes_last(tmp_path):
    config = load(write(tmp_path), ["steps.filter.length.min_chars=7", "overlay=dev", "run.workers=3"])
    assert (config.steps[1].step.min_chars, config.run.workers) == (7, 3)


@pytest.mark.parametrize("setting", ["include=x.yml", "overlays.dev.run.workers=2"])
def test_what_is_laid_down_before_cannot_be_set(setting, tmp_path):
    assert "name one by --overlay" in told(write(tmp_path), setting)


def test_the_config_may_say_which_overlay_counts_and_the_last_word_is_from_outside(tmp_path):
    path = write(tmp_path, text=MAIN + "overlay: dev\n")
    assert load(path).run.workers == 1
    assert load(path, ["overlay=prod"]).run.workers is None
    assert len(load(path, ["overlay="]).exports) == 1


def test_a_reference_in_an_overlay_counts_only_where_it_is_chosen(tmp_path, monkeypatch):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    path = write(tmp_path, text=MAIN + "  live:\n    description: '${env:NOT_SET_HERE}'\n")
    load(path, ["overlay=dev"])
    assert "NOT_SET_HERE" in told(path, "overlay=live")


def test_a_secret_spelled_out_in_an_overlay_is_refused_though_it_is_not_chosen(tmp_path):
    extra = "  live:\n    alerts:\n      - webhook: {url: 'https://u:pw1234@h.example/x'}\n"
    said = told(write(tmp_path, text=MAIN + extra))
    assert "holds a secret in plain text" in said
    assert "pw1234" not in said


@pytest.mark.parametrize(
    ("overlay", "problem"),
    [
        ("  dev: 5", "8:8: "),
        ("  dev: {sorces: []}", "'sorces' cannot stand in an overlay; did you mean 'sources'?"),
        ("  dev: {version: 1}", "'version' cannot stand in an overlay"),
        ("  dev: {without: {exports: [nothing]}}", "there is no 'nothing' in exports; it holds nothing"),
        ("  dev: {without: [web]}", "without holds names by kind"),
        ("  dev: {sources: [{name: web, files: {pth: x}}]}", "gristmill.yml:8:39: "),
    ],
)
def test_what_is_wrong_in_an_overlay_is_told_with_its_place(overlay, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "version: 1\ndataset: d\nsources:\n  - name: web\n    files:\n      path: x\noverlays:\n" + overlay + "\n"
    said = told(write(tmp_path, text=text), "overlay=dev")
    assert problem in said
    assert said.startswith("gristmill.yml:8:")


def test_an_overlay_that_is_not_there_is_told_with_the_nearest(tmp_path):
    assert "--overlay prd: there is no overlay 'prd'; did you mean 'prod'?" in told(write(tmp_path), "overlay=prd")
    assert "overlay 'x'; overlays: dev, prod" in told(write(tmp_path, text=MAIN + "overlay: x\n"))
    assert ":33:10: there is no overlay" in told(write(tmp_path, text=MAIN + "overlay: x\n"))


def test_workers_make_the_same_config_and_the_fingerprint_is_that_of_the_outcome(tmp_path):
    path = write(tmp_path)
    plain, dev = load(path), load(path, ["overlay=dev"])
    assert fingerprint(plain) != fingerprint(dev)
    assert fingerprint(dev) == fingerprint(load(path, ["overlay=dev"]))
    assert "filter.length: min_chars 100 -> 5" in changes(describe(plain), describe(dev))
    (tmp_path / "sample").mkdir()
    for part in range(3):
        lines = [
            json.dumps({"id": f"{part}-{n}", "text": f"Record {n} of part {part}. " * 500}) + "\n" for n in range(100)
        ]
        (tmp_path / "sample" / f"{part}.jsonl").write_text("".join(lines))
    report = Pipeline.from_file(path, overrides=["overlay=dev", "sources.web.split_bytes=100000"]).run(workers=2)
    assert (report.status, report.counts.published) == ("published", 300)


def test_the_command_takes_the_overlay_from_its_option_or_the_environment(tmp_path, capsys, monkeypatch):
    path = write(tmp_path)
    assert cli.perform(["check", "-c", str(path), "--overlay", "none-such"]) == 2
    assert "--overlay none-such" in capsys.readouterr().err
    monkeypatch.setenv("GRISTMILL_OVERLAY", "other")
    assert cli.perform(["check", "-c", str(path)]) == 2
    assert "no overlay 'other'" in capsys.readouterr().err
    assert cli.perform(["--overlay", "dev", "check", "-c", str(path)]) == 2
    assert "no overlay" not in capsys.readouterr().err


# --- include -------------------------------------------------------------------------------------------------------


def test_files_are_laid_over_each_other_in_order_and_the_one_that_names_them_comes_last(tmp_path):
    write(
        tmp_path,
        "base/common.yml",
        "steps: [clean.text]\ngate: {min_docs: 1, min_kept_ratio: 0.5}\ninclude: deeper/one.yml\n",
    )
    write(
        tmp_path,
        "base/deeper/one.yml",
        "description: from far\nsources:\n  - name: web\n    files: {path: deep, id: id}\n",
    )
    write(tmp_path, "base/two.yml", "gate: {min_docs: 2}\nsources:\n  - name: more\n    files: {path: more.txt}\n")
    path = write(
        tmp_path,
        text="version: 1\ndataset: d\ninclude: [base/common.yml, base/two.yml]\nsources:\n  - name: web\n    files: {path: here}\n",
    )
    config = load(path)
    assert [(each.name, each.source.path, each.source.id) for each in config.sources] == [
        ("web", "here", "id"),
        ("more", "more.txt", None),
    ]
    assert (config.gate.min_docs, config.gate.min_kept_ratio, config.description) == (2, 0.5, "from far")
    assert config.folder == tmp_path  # paths in included files start from the folder of the config


def test_the_same_file_reached_on_two_ways_is_no_circle(tmp_path):
    write(tmp_path, "a.yml", "include: c.yml\n")
    write(tmp_path, "b.yml", "include: c.yml\n")
    write(tmp_path, "c.yml", "description: shared\n")
    assert load(write(tmp_path, text="include: [a.yml, b.yml]\n" + MAIN)).description == "shared"


def test_a_mistake_is_told_in_the_file_it_stands_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "base/steps.yml", "steps:\n  - filter.length: {min_chars: -1}\n  - filter.lenght\n")
    said = told(
        write(tmp_path, text="include: base/steps.yml\nversion: 2\ndataset: d\nsources: [{files: {path: x}}]\n")
    )
    lines = [line.partition(": ")[0] for line in said.splitlines()]
    assert lines == ["gristmill.yml:2:10", "base/steps.yml:2:32", "base/steps.yml:3:5"]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"gristmill.yml": "include: no.yml\n"}, "gristmill.yml:1:10: there is no file 'no.yml' to include"),
        ({"gristmill.yml": "include:\n  - a.yml\n", "a.yml": "include: b.yml\n", "b.yml": "steps: []\ninclude: [a.yml]\n"}, "b.yml:2:11: this file includes itself: a.yml -> b.yml -> a.yml"),
        ({"gristmill.yml": "include: gristmill.yml\n"}, "gristmill.yml:1:10: this file includes itself"),
        ({"gristmill.yml": "include: https://hush@a.org/b.yml\n"}, "gristmill.yml:1:10: include reads files of this machine, not https://…; fetch"),
        ({"gristmill.yml": "include: 5\n"}, "include names files"),
        ({"gristmill.yml": "include: '${env:X}.yml'\n"}, "include names files"),
        ({"gristmill.yml": "include: [[a.yml]]\n"}, "include names files"),
        ({"gristmill.yml": "include: a.yml\n", "a.yml": "- 1\n"}, "a.yml:1:1: an included file is a mapping"),
        ({"gristmill.yml": "include: a.yml\n", "a.yml": "a: &x 1\nb: *x\n"}, "a.yml:1:4: the anchor &x is not supported"),
        ({"gristmill.yml": "include: a.yml\n", "a.yml": "a: !!python/object:os.system x\n"}, "a.yml:1:4: the tag"),
    ],
)  # fmt: skip
def test_what_cannot_be_included_is_told_with_its_place(files, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        write(tmp_path, name, text)
    assert problem in told(tmp_path / "gristmill.yml")


def test_a_link_that_leads_back_is_a_circle_and_depth_and_number_are_capped(tmp_path, monkeypatch):
    write(tmp_path, text="include: link.yml\n")
    (tmp_path / "link.yml").symlink_to(tmp_path / "gristmill.yml")
    assert "includes itself" in told(tmp_path / "gristmill.yml")
    for n in range(12):
        write(tmp_path, f"deep{n}.yml", f"include: deep{n + 1}.yml\n")
    assert "8 of them inside each other" in told(write(tmp_path, text="include: deep0.yml\n"))
    write(tmp_path, "leaf.yml", "description: x\n")
    assert "more than 50 files" in told(write(tmp_path, text=f"include: [{', '.join(['leaf.yml'] * 60)}]\n"))
    write(tmp_path, "large.yml", "airflow:\n" + "".join(f"  k{n}: 1\n" for n in range(6_000)))
    monkeypatch.setattr("gristmill.config.layers.MAX_NODES", 10_000)  # of 100,000, to save time
    assert "more than 10000 values" in told(write(tmp_path, text="include: [large.yml, large.yml]\n"))


def test_the_schema_knows_includes_and_overlays():
    top = schema()["properties"]
    assert {"include", "overlay", "overlays"} <= set(top)
    inner = top["overlays"]["additionalProperties"]["properties"]
    assert "without" in inner
    assert "gate" in inner
    assert "version" not in inner


def test_check_looks_at_the_overlays_that_are_not_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.jsonl").write_text('{"text": "one"}\n')
    text = """version: 1
dataset: ./corpus
sources:
  - name: s
    files: {path: "d/*"}
overlays:
  dev: {run: {wrkers: 1}}
  prod:
    run: {workers: "${env:NO_WORKERS}"}
    steps: [{filter.lenght: {min_chars: 3}}]
    exports:
      - name: w
        sql: {dsn: "${env:NO_DSN}", table: t}
  small: {without: {sources: [t]}}
"""
    path = write(tmp_path, text=text)
    problems = Pipeline.from_file(path).problems()
    assert [problem.partition(":")[2].split(":")[0] for problem in problems] == ["7", "10", "14"]
    assert "wrkers" in problems[0]
    assert problems[0].endswith("(with the overlay 'dev')")
    assert "did you mean 'filter.length'" in problems[1]
    fine = text.replace("wrkers", "workers").replace("lenght", "length").replace("[t]", "[]")
    assert Pipeline.from_file(write(tmp_path, text=fine)).problems() == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("gate: {sources: {nosuch: {min_docs: 1}}}", "nosuch"),
        ("steps: [{filter.lenght: {min_chars: 3}}]", "did you mean 'filter.length'"),
        ("exports: [{name: x, jsonl: {path: ./corpus/out}}]", "may not lie in"),
        ("exports: [{name: x, jsonl: {path: ./out}}, {name: y, jsonl: {path: ./out}}]", "the same path"),
        ("tests: [{name: a, given: x, source: nosuch, expect: {text: x}}]", "nosuch"),
        ("sources: [{name: t, files: {path: e}}, {name: t, files: {path: f}}]", "a second source"),
    ],
)
def test_whatever_is_wrong_in_an_overlay_is_told_by_check_and_is_no_missing_extra(tmp_path, monkeypatch, written, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.jsonl").write_text('{"text": "one"}\n')
    text = f"""version: 1
dataset: ./corpus
sources:
  - name: s
    files: {{path: "d/*"}}
overlays:
  prod: {{{written}}}
"""
    path = write(tmp_path, text=text)
    problems = Pipeline.from_file(path).problems()
    assert problems
    assert all(problem.endswith("(with the overlay 'prod')") for problem in problems)
    assert said in " ".join(problems)
    with pytest.raises(ConfigError) as error:
        Pipeline.from_file(path, overrides=["overlay=prod"])
    assert type(error.value) is ConfigError

"""A config file: what it becomes, and what is said when it is wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gristmill.config import load as config_file
from gristmill.config.load import (
    BoundExport,
    Gate,
    RunSettings,
    changes,
    describe,
    discover,
    fingerprint,
    from_parts,
    load,
    problems,
    step_fingerprint,
)
from gristmill.config.schema import schema
from gristmill.config.settings import ConfigFile, Envelope, SourceEnvelope, SourceGate, StepEnvelope
from gristmill.core import find
from gristmill.core.errors import ConfigError, GristmillError, MissingExtra
from gristmill.core.source import BoundSource
from gristmill.core.step import BoundStep

SOURCE = '''"""A tiny source. Invariant: none."""
from gristmill.core.errors import SourceError
from gristmill.core.source import Source
class Tiny(Source, frozen=True, kw_only=True):
    """Tiny. path: where."""
    path: str
    dsn: str = ""
    def check(self, folder):
        if self.path == "dead":
            raise SourceError(f"cannot reach {self.dsn}")
        return [f"nothing at {self.path} for {self.dsn!r}"] if self.path == "none" else []
'''
FILTER = '''"""A tiny filter. Invariant: none."""
from typing import Annotated
import msgspec
from gristmill.core.step import Filter
class Least(Filter, frozen=True, kw_only=True):
    """Least. words: the least."""
    words: Annotated[int, msgspec.Meta(ge=0)] = 5
    pattern: str = ""
    def check(self, folder):
        return ["words is 0: nothing would be dropped"] if self.words == 0 else []
'''
ALL_STEPS = '''"""A tiny global step. Invariant: none."""
from gristmill.core.step import GlobalStep
class Once(GlobalStep, frozen=True, kw_only=True):
    """Once."""
'''
EXPORT = '''"""A tiny export. Invariant: none."""
from gristmill.core.export import FileExport
class Out(FileExport, frozen=True, kw_only=True):
    """Out."""
'''
BEGIN = "version: 1\ndataset: ./corpus\n"
ONE = BEGIN + "sources: [{./tiny.py: {path: a}}]\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in {"tiny": SOURCE, "least": FILTER, "once": ALL_STEPS, "out": EXPORT}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(folder, text, *overrides):
    (folder / "gristmill.yml").write_text(text)
    return load(folder / "gristmill.yml", overrides)


def told(folder, text, *overrides):
    """Give what is said of a wrong config."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, *overrides)
    assert "Traceback" not in str(caught.value)
    assert all("\n" not in problem for problem in caught.value.problems)
    return list(caught.value.problems)


# --- what a file becomes -----------------------------------------------------------------------------------------

WHOLE = """\
version: 1
dataset: ./corpus
description: All of it
sources:
  - name: dumps
    ./tiny.py: {path: "data/*"}
    license: CC-BY-4.0
    owner: me
    steps: [./least.py, {./least.py: {words: 2}, name: own}]
  - ./tiny.py: {path: b}
steps:
  - ./least.py
  - ./least.py: {words: 7}
    description: Longer
    license: MIT
  - dedup.exact
  - name: again
    ./least.py:
require: {}
gate:
  min_quality_score: null
  sources: {dumps: {min_docs: 5}}
exports:
  - name: chunks
    ./out.py: {path: ./out, docs_per_chunk: 10}
    owner: you
run: {workers: 2}
"""


def test_a_whole_config(folder):
    config = loaded(folder, WHOLE)
    assert config.dataset == str(folder / "corpus")
    assert (config.folder, config.file, config.description) == (folder, folder / "gristmill.yml", "All of it")
    dumps, tiny = config.sources
    assert isinstance(dumps, BoundSource)
    assert (dumps.name, dumps.part, dumps.license, dumps.owner) == ("dumps", "./tiny.py", "CC-BY-4.0", "me")
    assert (dumps.source.path, tiny.name, tiny.source.path, tiny.steps) == ("data/*", "tiny", "b", [])
    assert [step.name for step in config.steps] == ["least", "least#2", "dedup.exact", "again"]
    assert [step.name for step in dumps.steps] == ["least#3", "own"]
    assert all(isinstance(step, BoundStep) for step in [*config.steps, *dumps.steps, config.require])
    assert config.steps[1].step.words == 7
    assert (config.steps[1].description, config.steps[1].license) == ("Longer", "MIT")
    assert (config.require.name, config.require.part) == ("require", "require")
    assert config.gate == Gate(min_quality_score=None, sources={"dumps": SourceGate(min_docs=5)})
    (chunks,) = config.exports
    assert isinstance(chunks, BoundExport)
    assert (chunks.name, chunks.owner, chunks.export.docs_per_chunk) == ("chunks", "you", 10)
    assert config.run == RunSettings(workers=2)
    assert config.written.places["steps.least#2"] == "gristmill.yml:13:5"
    assert "corpus" not in repr(config)


def test_defaults(folder):
    config = loaded(folder, ONE)
    assert config.steps == config.exports == []
    assert config.gate == Gate() == Gate(min_quality_score=0.8)
    assert config.run == RunSettings(
        workers=None, retries=3, batch_bytes=2 << 20, merge_rows=1 << 18, max_error_ratio=0.01
    )
    assert config.require.step == find.find("steps", "require", folder)()


@pytest.mark.parametrize(
    ("dataset", "absolute"),
    [("./corpus", "corpus"), ("a/../b", "b"), ("s3://bucket/x", None), ("/data/x", None), ("${env:GM_WHERE}", "there")],
)
def test_dataset_starts_from_the_config(dataset, absolute, folder, monkeypatch):
    monkeypatch.setenv("GM_WHERE", "there")
    text = ONE.replace("./corpus", dataset)
    assert loaded(folder, text).dataset == (dataset if absolute is None else str(folder / absolute))


def test_messages_name_the_file_as_the_user_sees_it(folder, monkeypatch):
    (folder / "sub").mkdir()
    (folder / "gristmill.yml").write_text("version: 2\n")
    with pytest.raises(ConfigError, match=r"^gristmill.yml:1:1: "):
        load(folder / "gristmill.yml")
    monkeypatch.chdir(folder / "sub")
    with pytest.raises(ConfigError, match=re.escape(f"{folder / 'gristmill.yml'}:1:1: ")):
        load(folder / "gristmill.yml")
    with pytest.raises(ConfigError, match=r"^\.\./gristmill.yml:1:1: "):
        load(Path("../gristmill.yml"))
    with pytest.raises(ConfigError, match=r"none.yml: cannot be read: No such file"):
        load(Path("none.yml"))


def test_discover(folder):
    (folder / "a" / "b").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"there is no gristmill.yml in .* or above; `gristmill init` writes one"):
        discover(folder / "a")
    (folder / "gristmill.yml").write_text(ONE)
    assert discover(folder / "a" / "b") == folder / "gristmill.yml"
    (folder / "a" / "gristmill.yml").write_text(ONE)
    assert discover(folder / "a" / "b") == folder / "a" / "gristmill.yml"


# --- what is said of a wrong one ---------------------------------------------------------------------------------

STEP = ONE + "steps:\n"
WRONG = [
    ("[1, 2]\n", "1:1", "a config is a mapping with the keys version, dataset, sources"),
    ("just text\n", "1:1", "a config is a mapping"),
    ("version: 1\nsources: [{./tiny.py: {path: a}}]\n", "1:1", "'dataset' is missing in the config; it takes str"),
    ("dataset: x\nsources: [{./tiny.py: {path: a}}]\n", "1:1", "'version' is missing in the config; it takes 1"),
    (BEGIN, "1:1", "'sources' is missing in the config"),
    (
        BEGIN + "sources: []\n",
        "3:10",
        "'sources' in the config: expected a list of a mapping of length >= 1, got a list",
    ),
    (BEGIN + "sources:\n", "3:1", "got null"),
    (BEGIN + "sources: {files: {path: a}}\n", "3:10", "got a mapping"),
    (BEGIN + "sources: [./tiny.py]\n", "3:11", "'sources[0]' in the config: expected a mapping, got str './tiny.py'"),
    (ONE.replace("1", "2", 1), "1:10", "'version' in the config: expected 1, got int 2"),
    (ONE.replace("1", "'1'", 1), "1:10", "expected 1, got str '1'"),
    (ONE.replace("./corpus", ""), "2:1", "expected str of length >= 1, got null"),
    (ONE.replace("./corpus", "''"), "2:10", "expected str of length >= 1, got str ''"),
    (ONE + "on_error: skip\n", "4:1", "unknown key 'on_error' in the config"),
    (
        BEGIN + "sources:\n - ./tiny.py: {path: a}\n   on_error: skpi\n",
        "5:14",
        "'on_error' in sources[0]: expected one of 'fail', 'skip', got str 'skpi'; did you mean 'skip'?",
    ),
    (
        BEGIN + "sources:\n - ./tiny.py: {path: a}\n   freshness: soon\n",
        "5:15",
        "'freshness' in sources[0]: expected str such as 30s, 15m, 36h, 7d, 2w or null, got str 'soon'",
    ),
    (
        BEGIN + "sources:\n - ./tiny.py: {path: a}\n   freshness: 2\n",
        "5:15",
        "expected str such as 30s, 15m, 36h, 7d, 2w or null, got int 2",
    ),
    (BEGIN + "sources:\n - name: x\n", "4:4", "sources[0] holds no part; add one of: "),
    (
        BEGIN + "sources:\n - nmae: x\n   ./tiny.py: {path: a}\n",
        "4:4",
        "unknown key 'nmae' in sources[0]; did you mean 'name'?",
    ),
    (BEGIN + "sources:\n - fiels: {path: a}\n", "4:4", "unknown source 'fiels'; did you mean 'files'?"),
    (
        BEGIN + "sources:\n - files: {path: a}\n   ./tiny.py: {path: a}\n",
        "5:4",
        "holds 'files' and './tiny.py'; one item, one part",
    ),
    (BEGIN + "sources:\n - jsonl: {path: a}\n", "4:4", "unknown source 'jsonl'; it belongs under exports:"),
    (
        BEGIN + "sources:\n - ./tiny.py:\n   path: a\n",
        "5:4",
        "'path' is a parameter of ./tiny.py; indent it below `./tiny.py:`",
    ),
    (
        BEGIN + "sources:\n - ./tiny.py: a\n",
        "4:15",
        "./tiny.py takes a mapping of parameters, got str 'a'; parameters: path",
    ),
    (BEGIN + "sources:\n - ./tiny.py: {}\n", "4:4", "'path' is missing in ./tiny.py; it takes str"),
    (BEGIN + "sources:\n - {name: 5, ./tiny.py: {path: a}}\n", "4:11", "'name' in sources[0]: expected str, got int 5"),
    (BEGIN + "sources:\n - {name: a/b, ./tiny.py: {path: a}}\n", "4:16", "the name 'a/b' must be letters, digits"),
    (BEGIN + "sources:\n - {name: .a, ./tiny.py: {path: a}}\n", "4:15", "the name '.a' must be"),
    (BEGIN + 'sources:\n - {name: "a\\n", ./tiny.py: {path: a}}\n', "4:18", "the name 'a\\n' must be"),
    (
        BEGIN + "sources:\n - ./tiny.py: {path: a}\n - ./tiny.py: {path: b}\n",
        "5:4",
        "a second source is called 'tiny', the first is at gristmill.yml:4:4; give one of them another `name`",
    ),
    (
        BEGIN + "sources:\n - ./tiny.py: {path: a}\n   steps: [./once.py]\n",
        "5:12",
        "./once.py looks at all records, so it",
    ),
    (BEGIN + "sources:\n - ./tiny.py: {path: a}\n   steps: [./lest.py]\n", "5:12", "did you mean 'least.py'?"),
    (BEGIN + "sources:\n - ./tiny.py: {path: a}\n   steps: ./least.py\n", "5:11", "write a list: [...]"),
    (
        BEGIN + "sources:\n - ./tiny.py: {path: a}\n   steps: [{./least.py: {wrods: 1}}]\n",
        "5:26",
        "did you mean 'words'?",
    ),
    (STEP + " - 5\n", "5:4", "'steps[0]' in the config: expected str or a mapping, got int 5"),
    (STEP + " - [a]\n", "5:4", "got a list"),
    (STEP + " - dedup.exat\n", "5:4", "unknown step 'dedup.exat'; did you mean 'dedup.exact'? `gristmill parts`"),
    (STEP + " - {dedup.exat: {}}\n", "5:5", "did you mean 'dedup.exact'?"),
    (STEP + " - files\n", "5:4", "unknown step 'files'; it belongs under sources:"),
    (
        STEP + " - ./once.py: {}\n   ./least.py:\n",
        "6:4",
        "steps[0] holds './once.py' and './least.py'; one item, one part",
    ),
    (STEP + " - name: x\n", "5:4", "steps[0] holds no part; add one of: "),
    (STEP + " - {}\n", "5:4", "steps[0] holds no part"),
    (
        STEP + " - ./least.py: 50\n",
        "5:16",
        "./least.py takes a mapping of parameters, got int 50; parameters: words, pattern",
    ),
    (STEP + " - ./least.py:\n   words: 3\n", "6:4", "'words' is a parameter of ./least.py; indent it below"),
    (STEP + " - ./least.py:\n   onwer: me\n", "6:4", "unknown key 'onwer' in steps[0]; did you mean 'owner'?"),
    (STEP + " - ./least.py: {words: -1}\n", "5:24", "'words' in ./least.py: expected int >= 0, got int -1"),
    (STEP + " - {./least.py: , name: a}\n - {./least.py: , name: a}\n", "5:5", "another step is called 'a' too"),
    (STEP + " - {./least.py: , name: require}\n", "5:5", "another step is called 'require' too"),
    (STEP + " - {./least.py: , name: 'a b'}\n", "5:5", "the name 'a b' must be"),
    (STEP + " - ./none.py\n", "5:4", "unknown step './none.py': there is no file"),
    (STEP + " - no_such_gm.step\n", "5:4", "there is no module 'no_such_gm' to import"),
    (STEP + " - ./least.py: {words: 1, words: 2}\n", "5:27", "key 'words' is here a second time"),
    (ONE + "steps: dedup.exact\n", "4:8", "write a list: [...]"),
    (ONE + "require: 5\n", "4:10", "'require' in the config: expected a mapping or null, got int 5"),
    (ONE + "require: {zzz: 5}\n", "4:11", "unknown key 'zzz' in require; allowed: "),
    (ONE + "gate: 5\n", "4:7", "'gate' in the config: expected a mapping with min_quality_score"),
    (
        ONE + "gate: {min_quality_score: 1.5}\n",
        "4:27",
        "'min_quality_score' in gate: expected float >= 0 and <= 1 or null",
    ),
    (ONE + "gate: {min_docs: -1}\n", "4:18", "expected int >= 0 or null, got int -1"),
    (ONE + "gate: {min_kept_ratio: 5%}\n", "4:24", "got str '5%'"),
    (ONE + "gate: {sources: {tny: {}}}\n", "4:18", "there is no source 'tny'; did you mean 'tiny'? sources: tiny"),
    (
        ONE + "gate: {sources: {tiny: {min_dcs: 1}}}\n",
        "4:25",
        "unknown key 'min_dcs' in gate.sources.tiny; did you mean 'min_docs'?",
    ),
    (ONE + "run: {workers: 0}\n", "4:16", "'workers' in run: expected int >= 1 or null, got int 0"),
    (ONE + "run: {workers: auto}\n", "4:16", "got str 'auto'"),
    (ONE + "run: {landing_days: 1000000}\n", "4:21", "expected int >= 0 and <= 36500, got int 1000000"),
    (ONE + "run: {step_timeout_s: 9223372037}\n", "4:23", "expected int >= 0 and <= 10000000"),
    (ONE + "run: {max_error_ratio: 2}\n", "4:24", "expected float >= 0 and <= 1, got int 2"),
    (
        ONE + "exports: [{./out.py: {path: o, digits: 13}}]\n",
        "4:40",
        "'digits' in ./out.py: expected int >= 1 and <= 12",
    ),
    (ONE + "exports: [{./out.py: {path: o, mode: apend}}]\n", "4:38", "did you mean 'append'?"),
    (
        ONE + "exports:\n - ./out.py: {path: o}\n - {name: b, ./out.py: {path: ./o}}\n",
        "6:31",
        "two exports write to the same path",
    ),
    (
        ONE + "exports:\n - ./out.py: {path: ~/o}\n - {name: b, ./out.py: {path: ~/x/../o}}\n",
        "6:31",
        "two exports write to the same path",
    ),
    (ONE.replace("dataset: ./corpus", 'dataset: "d\\0e"'), "2:", "a path holds no NUL character"),
    (ONE + "exports:\n - ./out.py: {path: o}\n - ./out.py: {path: p}\n", "6:4", "a second export is called 'out'"),
    (ONE + "exports: [{./out.py: {path: o}, steps: []}]\n", "4:33", "unknown key 'steps' in exports[0]; allowed: name"),
    (ONE + "exports: [{parqet: {path: o}}]\n", "4:12", "unknown export 'parqet'; did you mean 'parquet'?"),
    (ONE.replace("a}", "'${env:GM_NOT_SET}'}"), "3:30", "the environment variable 'GM_NOT_SET'"),
    (
        ONE.replace("a}", "'postgresql://u:hunter2@h/d'}"),
        "3:30",
        "'path' holds a secret in plain text; keep it in an environ",
    ),
    (ONE.replace("path: a", "{path: a}"), "3:", "a key must be plain text"),
    (ONE + "x: &a 1\n", "4:4", "anchor"),
    (ONE + "x: !t 1\n", "4:4", "tag"),
    (ONE + "steps:\n\t- x\n", "5:1", "spaces, not tabs"),
    (ONE + "gate: {min_docs: 1\n", "5:1", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "place", "phrase"), WRONG)
def test_wrong(text, place, phrase, folder):
    problems = told(folder, text)
    assert [p for p in problems if p.startswith(f"gristmill.yml:{place}") and phrase in p], "\n".join(problems)
    assert "hunter2" not in "".join(problems)


def test_quotes_are_advised_only_where_they_help(folder):
    text = BEGIN + "description: 7\nsources:\n - ./tiny.py: {path: a}\n   freshness: 2\n"
    assert [problem.endswith("; put it in quotes") for problem in told(folder, text)] == [True, False]


def mistyped(word):
    """Give a word with the last two letters swapped, or the last one doubled where that changes nothing."""
    swapped = word[:-2] + word[:-3:-1]
    return swapped if len(word) > 3 and swapped != word else word + word[-1]


def fields(cls):
    return [field.encode_name for field in msgspec.structs.fields(cls)]


def part_fields():
    for part in find.parts():
        try:
            cls = find.find(part.kind, part.name, Path())
        except MissingExtra:
            continue
        for key in fields(cls):
            yield pytest.param(part, cls, key, id=f"{part.kind}-{part.name}-{key}")


@pytest.mark.parametrize(("part", "cls", "key"), list(part_fields()))
def test_a_typo_in_every_key_of_every_part(part, cls, key, folder):
    typo = mistyped(key)
    item = f" - {part.name}:\n      {typo}: 1\n"
    base = BEGIN if part.kind == "sources" else ONE
    if part.kind == "steps" and part.name == "require":
        item, base = f"   {typo}: 1\n", ONE.replace("sources", "x-sources")
        base = ONE
        lines = f"{base}require:\n{item}"
        column = 4
    else:
        lines = f"{base}{part.kind}:\n{item}"
        column = 7
    line = lines.count("\n")
    expected = f"gristmill.yml:{line}:{column}: unknown key {typo!r} in {part.name}; did you mean {key!r}? allowed: "
    problems = told(folder, lines)
    assert [problem for problem in problems if problem.startswith(expected)], "\n".join(problems)
    assert all(name in problems[-1] or name in "".join(problems) for name in fields(cls))


ENVELOPES = [
    *(("sources", SourceEnvelope, key) for key in fields(SourceEnvelope)),
    *(("steps", StepEnvelope, key) for key in fields(StepEnvelope)),
    *(("exports", Envelope, key) for key in fields(Envelope)),
]
PARTS = {"sources": "./tiny.py: {path: b}", "steps": "./least.py: {}", "exports": "./out.py: {path: o}"}


@pytest.mark.parametrize(("kind", "cls", "key"), ENVELOPES)
def test_a_typo_in_every_key_of_every_envelope(kind, cls, key, folder):
    typo = mistyped(key)
    base = BEGIN if kind == "sources" else ONE
    text = f"{base}{kind}:\n - {PARTS[kind]}\n   {typo}: x\n"
    place = f"gristmill.yml:{text.count(chr(10))}:4"
    assert (
        f"{place}: unknown key {typo!r} in {kind}[0]; did you mean {key!r}? allowed: {', '.join(fields(cls))}"
        in told(folder, text)
    )


TOPS = [
    *(("", key, "the config", ConfigFile) for key in fields(ConfigFile)),
    *(("gate", key, "gate", Gate) for key in fields(Gate)),
    *(("run", key, "run", RunSettings) for key in fields(RunSettings)),
]


@pytest.mark.parametrize(("section", "key", "called", "cls"), TOPS)
def test_a_typo_in_every_key_of_the_rest(section, key, called, cls, folder):
    typo = mistyped(key)
    if section:
        text, place = f"{ONE}{section}:\n  {typo}: 1\n", "5:3"
    else:
        text, place = f"{ONE}{typo}: 1\n", "4:1"
    expected = f"gristmill.yml:{place}: unknown key {typo!r} in {called}; did you mean {key!r}? allowed: {', '.join(fields(cls))}"
    assert expected in told(folder, text)


def test_all_problems_at_once_in_order(folder):
    text = (
        BEGIN
        + "sources: [{./tiny.py: {pth: a}}]\nsteps: [dedup.exat, {./least.py: {words: a}}]\nrun: {retries: -1}\nzzz: 1\n"
    )
    assert [problem.split(": ")[0] for problem in told(folder, text)] == [
        f"gristmill.yml:{place}" for place in ("3:24", "4:9", "4:42", "5:16", "6:1")
    ]


def test_a_missing_extra_keeps_its_type(folder):
    (folder / "web.py").write_text("import not_there_gm\nEXTRA = 'web'\n")
    with pytest.raises(MissingExtra, match=r'gristmill.yml:4:9: step .* pip install "gristmill\[web\]"'):
        loaded(folder, ONE + "steps: [./web.py]\n")
    with pytest.raises(ConfigError) as caught:
        loaded(folder, ONE + "steps: [./web.py]\nzzz: 1\n")
    assert not isinstance(caught.value, MissingExtra)


# --- --set -------------------------------------------------------------------------------------------------------


def test_overrides(folder):
    config = loaded(
        folder,
        WHOLE,
        "gate.min_docs=7",
        "gate.sources.tiny.min_docs=1",
        "run.workers=null",
        "dataset=elsewhere",
        "description=",
        "sources.dumps.path=c=d",
        "sources.tiny.license=MIT",
        "sources.dumps.steps.own.words=9",
        "steps.least.words=1",
        "steps.least#2.words=2",
        "steps.dedup.exact.key=url",
        "steps.3.words=4",
        "steps.again.description=x y",
        "exports.chunks.docs_per_chunk=3",
    )
    assert config.gate.min_docs == 7
    assert config.gate.sources == {"dumps": SourceGate(min_docs=5), "tiny": SourceGate(min_docs=1)}
    assert config.run.workers is None
    assert (config.dataset, config.description) == (str(folder / "elsewhere"), "")
    assert config.sources[0].source.path == "c=d"
    assert config.sources[1].license == "MIT"
    assert config.sources[0].steps[1].step.words == 9
    assert [getattr(step.step, "words", None) for step in config.steps] == [1, 2, None, 4]
    assert (config.steps[2].step.key, config.steps[3].description) == ("url", "x y")
    assert config.exports[0].export.docs_per_chunk == 3
    assert "words: 7" in (folder / "gristmill.yml").read_text()


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("gate", "--set gate: write KEY=VALUE, such as gate.min_docs=100"),
        ("=5", "--set : write KEY=VALUE"),
        ("gate.min_dcs=1", "--set gate.min_dcs: unknown key 'min_dcs' in gate; did you mean 'min_docs'?"),
        ("run.workers=a", "--set run.workers: 'workers' in run: expected int >= 1 or null, got str 'a'"),
        (
            "steps.leest.words=1",
            "--set steps.leest.words: there is no 'leest' in steps; did you mean 'least'? it holds ",
        ),
        (
            "sources.dmps.path=1",
            "--set sources.dmps.path: there is no 'dmps' in sources; did you mean 'dumps'? it holds ",
        ),
        ("steps.least.wrods=1", "--set steps.least.wrods: unknown key 'wrods' in ./least.py; did you mean 'words'?"),
        ("sources.dumps.path=[", "--set sources.dumps.path:1:2: not valid YAML"),
        ("sources.dumps.dsn=x://me:hunter2@h", "--set sources.dumps.dsn: 'dsn' holds a secret in plain text"),
        ("sources.dumps.dsn=${env:GM_NOT_SET}", "--set sources.dumps.dsn: the environment variable 'GM_NOT_SET'"),
        ("zzz.a.b=1", "--set zzz.a.b: unknown key 'zzz' in the config"),
    ],
)
def test_wrong_overrides(setting, problem, folder):
    problems = told(folder, WHOLE, setting)
    assert len(problems) == 1
    assert problems[0].startswith(problem)
    assert "hunter2" not in problems[0]


@pytest.mark.parametrize("item", ["- name: web", "- 5", "-", "- [1]"])
def test_what_is_no_part_takes_no_override_and_is_told_with_both_places(item, folder):
    problems = told(folder, f"version: 1\ndataset: ./c\nsources:\n  {item}\n", "sources.0.path=x")
    assert problems[0].startswith("--set sources.0.path: ")
    assert "gristmill.yml:4:" in problems[0]
    assert problems[0].endswith("holds no part that could have a 'path'")


def test_a_text_takes_no_key_below_it(folder):
    problems = told(folder, WHOLE, "dataset.x=1")
    assert problems[0].startswith("--set dataset.x: what stands at ")
    assert problems[0].endswith("has no keys, so no 'x'")


# --- secrets -----------------------------------------------------------------------------------------------------

SECRET = (
    ONE.replace("{path: a}", "{path: p, dsn: '${env:GM_DSN}'}") + "steps: [{./least.py: {pattern: 'x${file:key}'}}]\n"
)


def test_secrets_reach_the_parts_and_nothing_else(folder, monkeypatch):
    monkeypatch.setenv("GM_DSN", "x://me:canary-1@h")
    (folder / "key").write_text("canary-2\n")
    config = loaded(folder, SECRET)
    assert config.sources[0].source.dsn == "x://me:canary-1@h"
    assert config.steps[0].step.pattern == "xcanary-2"
    described = describe(config)
    assert described["sources"][0]["params"]["dsn"] == "${env:GM_DSN}"
    assert described["steps"][0]["params"]["pattern"] == "x${file:key}"
    seen = (
        json.dumps(described)
        + repr(config)
        + repr(config.written)
        + json.dumps(step_fingerprint(config, config.steps[0]))
    )
    assert "canary" not in seen
    assert config.redact("at x://me:canary-1@h: 'canary-2'") == "at ${env:GM_DSN}: '${file:key}'"
    before = fingerprint(config)
    monkeypatch.setenv("GM_DSN", "another")
    assert fingerprint(loaded(folder, SECRET)) == before


def test_secrets_stay_out_of_what_a_check_says(folder, monkeypatch):
    monkeypatch.setenv("GM_DSN", "x://me:can\\ary@h")
    (folder / "key").write_text("k")
    for path in ("none", "dead"):
        said = problems(loaded(folder, SECRET.replace("path: p", f"path: {path}")))
        assert len(said) == 1
        assert "${env:GM_DSN}" in said[0]
        assert "ary@h" not in said[0]
        assert said[0].startswith("gristmill.yml:3:12: source 'tiny' (./tiny.py): ")


def test_checks_of_steps(folder):
    config = loaded(folder, WHOLE.replace("words: 2", "words: 0").replace("words: 7", "words: 0"))
    assert problems(config) == [
        "gristmill.yml:9:26: step 'own' (./least.py): words is 0: nothing would be dropped",
        "gristmill.yml:13:5: step 'least#2' (./least.py): words is 0: nothing would be dropped",
    ]
    assert problems(loaded(folder, WHOLE)) == []


# --- fingerprint and changes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("./corpus", "./other"),
        ("All of it", "Some of it"),
        ("owner: me", "owner: you"),
        ("description: Longer", "description: Shorter"),
        ("license: MIT", "license: BSD"),
        ("min_docs: 5", "min_docs: 6"),
        ("docs_per_chunk: 10", "docs_per_chunk: 11"),
        ("workers: 2", "workers: 3"),
        ("name: chunks", "name: pieces"),
    ],
)
def test_what_decides_no_record_is_not_in_the_fingerprint(old, new, folder):
    assert old in WHOLE
    before, after = loaded(folder, WHOLE), loaded(folder, WHOLE.replace(old, new))
    assert fingerprint(before) == fingerprint(after) == describe(after)["fingerprint"]
    assert changes(describe(before), describe(after)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("words: 7", "words: 8", ["least#2: words 7 -> 8"]),
        ("words: 2", "words: 3", ["own: words 2 -> 3"]),
        ("path: b", "path: c", ["tiny: path b -> c"]),
        ("CC-BY-4.0", "MIT", ["dumps: license CC-BY-4.0 -> MIT"]),
        ("  - dedup.exact\n", "", ["step removed: dedup.exact"]),
        ("  - dedup.exact\n", "  - dedup.exact\n  - ./once.py\n", ["step added: once after dedup.exact"]),
        ("steps:\n  - ./least.py\n", "steps:\n  - ./once.py\n  - ./least.py\n", ["step added: once at the beginning"]),
        ("  - ./tiny.py: {path: b}\n", "", ["source removed: tiny"]),
        (
            "name: own",
            "name: mine",
            ["source dumps: step removed: own", "source dumps: step added: mine after least#3"],
        ),
        (
            "  - dedup.exact\n  - name: again\n    ./least.py:\n",
            "  - name: again\n    ./least.py:\n  - dedup.exact\n",
            ["step order: least, least#2, dedup.exact, again -> least, least#2, again, dedup.exact"],
        ),
    ],
)
def test_changes(old, new, said, folder):
    assert WHOLE.count(old) == 1
    before, after = loaded(folder, WHOLE), loaded(folder, WHOLE.replace(old, new))
    assert fingerprint(before) != fingerprint(after)
    assert changes(describe(before), json.loads(json.dumps(describe(after)))) == said


def test_changed_code_of_a_users_part(folder):
    before = describe(loaded(folder, WHOLE))
    (folder / "least.py").write_text(FILTER + "# a new line\n")
    after = describe(loaded(folder, WHOLE))
    assert "least: its code changed" in changes(before, after)


def test_the_fingerprint_is_the_same_in_every_process(folder):
    mine = fingerprint(loaded(folder, WHOLE))
    script = (
        "from pathlib import Path; from gristmill.config.load import fingerprint, load;"
        "print(fingerprint(load(Path('gristmill.yml'))))"
    )
    for seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=folder,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        assert out.strip() == mine


# --- from Python -------------------------------------------------------------------------------------------------


def test_from_parts_is_the_same_pipeline(folder, monkeypatch):
    monkeypatch.setenv("GM_DSN", "canary")
    files = find.find("sources", "files", folder)
    exact = find.find("steps", "dedup.exact", folder)
    jsonl = find.find("exports", "jsonl", folder)
    made = from_parts(
        "corpus",
        [
            files(path="a", text="${env:GM_DSN}"),
            BoundSource(name="two", part="", source=files(path="b"), license="MIT"),
        ],
        [exact(), exact(key="url")],
        [jsonl(path="out")],
        gate=Gate(sources={"two": SourceGate(min_docs=1)}),
        folder=folder,
    )
    assert [source.name for source in made.sources] == ["files", "two"]
    assert [source.part for source in made.sources] == ["files", "files"]
    assert made.sources[0].source.text == "canary"
    assert [step.name for step in made.steps] == ["dedup.exact", "dedup.exact#2"]
    assert made.exports[0].name == "jsonl"
    assert "canary" not in json.dumps(describe(made)) + repr(made)
    text = (
        "version: 1\ndataset: corpus\nsources:\n - files: {path: a, text: '${env:GM_DSN}'}\n"
        " - {files: {path: b}, name: two, license: MIT}\nsteps: [dedup.exact, {dedup.exact: {key: url}}]\n"
    )
    assert fingerprint(loaded(folder, text)) == fingerprint(made)


def test_from_parts_tells_all_problems(folder):
    files = find.find("sources", "files", folder)
    exact = find.find("steps", "dedup.exact", folder)
    with pytest.raises(ConfigError) as caught:
        from_parts(
            "corpus",
            [
                files(path="x://u:hunter2@h"),
                files(path="${env:GM_NOT_SET}"),
                BoundSource(name="a b", part="", source=files(path="a"), steps=[exact()]),
            ],
            gate=Gate(sources={"fils": SourceGate()}),
        )
    said = str(caught.value)
    assert len(caught.value.problems) == 6
    for phrase in (
        "in plain text",
        "GM_NOT_SET",
        "'a b'",
        "a second source",
        "looks at all records",
        "did you mean 'files'?",
    ):
        assert phrase in said
    assert "hunter2" not in said
    with pytest.raises(ConfigError, match="at least one source"):
        from_parts("corpus", [])


# --- the schema --------------------------------------------------------------------------------------------------


def fits(value, rule, whole):
    """Tell whether a value fits a JSON Schema: the part of 2020-12 that ours uses."""
    if "$ref" in rule:
        rule = {
            **whole["$defs"][rule["$ref"].removeprefix("#/$defs/")],
            **{k: v for k, v in rule.items() if k != "$ref"},
        }
    types = {
        "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None), "array": list, "object": dict,
    }  # fmt: skip
    if "type" in rule:
        wanted = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
        if not any(isinstance(value, types[t]) and (t == "boolean" or not isinstance(value, bool)) for t in wanted):
            return False
    if "enum" in rule and value not in rule["enum"]:
        return False
    if "anyOf" in rule and not any(fits(value, option, whole) for option in rule["anyOf"]):
        return False
    if isinstance(value, str):
        return "pattern" not in rule or bool(re.search(rule["pattern"], value))
    if isinstance(value, int | float):
        return rule.get("minimum", value) <= value <= rule.get("maximum", value)
    if isinstance(value, list):
        return len(value) >= rule.get("minItems", 0) and all(fits(item, rule.get("items", {}), whole) for item in value)
    if isinstance(value, dict):
        if not set(rule.get("required", [])) <= set(value) or len(value) < rule.get("minProperties", 0):
            return False
        for key, item in value.items():
            rules = [rule["properties"][key]] if key in rule.get("properties", {}) else []
            rules += [inner for pattern, inner in rule.get("patternProperties", {}).items() if re.search(pattern, key)]
            if not rules:
                other = rule.get("additionalProperties", True)
                rules = [{}] if other is True else [other] if isinstance(other, dict) else [{"enum": []}]
            if not all(fits(item, each, whole) for each in rules):
                return False
    return True


@pytest.fixture(scope="module")
def whole():
    return schema()


def as_plain(text):
    from gristmill.core.yamlfile import parse

    return parse(text, "f", Path()).raw


def test_the_schema_is_json_and_complete(whole):
    assert json.loads(json.dumps(whole)) == whole
    assert whole["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(whole["properties"]) == set(fields(ConfigFile))
    used = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(whole)))
    assert used == set(whole["$defs"])
    for kind in ("sources", "steps", "exports"):
        item = whole["$defs"][f"{kind[:-1]} item"]
        mapping = item["anyOf"][1] if kind == "steps" else item
        names = {part.name for part in find.parts() if part.kind == kind}
        assert names <= set(mapping["properties"])
        assert all(mapping["properties"][name]["description"] for name in names)
    assert whole["$defs"]["Gate"]["properties"]["min_docs"]["description"] == "records published."


GOOD = [
    WHOLE,
    ONE,
    BEGIN
    + "sources: [{files: {path: [a, b]}, steps: [dedup.exact]}]\nsteps: [{dedup.exact: {key: url}, name: x}, mycorp.steps.a]\n"
    "exports: [{jsonl: {path: o}}, {name: p, parquet: {path: q}}]\nrequire: {}\ngate: {sources: {files: {min_docs: 1}}}\n",
]


@pytest.mark.parametrize("text", GOOD)
def test_the_schema_takes_good_configs(text, whole):
    assert fits(as_plain(text), whole, whole)


@pytest.mark.parametrize(
    "text",
    [
        ONE.replace("version: 1", "version: 2"),
        ONE + "zzz: 1\n",
        ONE + "steps: [dedup.exat]\n",
        ONE + "steps: [{dedup.exat: {}}]\n",
        ONE + "steps: [{dedup.exact: {kye: url}}]\n",
        ONE + "steps: [{}]\n",
        ONE + "steps: [5]\n",
        ONE + "gate: {min_quality_score: 2}\n",
        ONE + "gate: {sources: {tiny: {min_dcs: 1}}}\n",
        ONE + "exports: [{jsonl: {}}]\n",
        ONE + "exports: [{parqet: {path: o}}]\n",
        ONE + "run: {workers: 0}\n",
        BEGIN,
        BEGIN + "sources: []\n",
        BEGIN + "sources: [{fiels: {path: a}}]\n",
        BEGIN + "sources: [{files: {path: 5}}]\n",
        BEGIN + "sources: [{files: {path: a}, nmae: x}]\n",
        BEGIN + "sources: [files]\n",
    ],
)
def test_the_schema_refuses_wrong_configs(text, whole):
    assert not fits(as_plain(text), whole, whole)


def examples():
    root = Path(__file__).resolve().parents[2]
    return sorted(root.glob("examples/**/gristmill*.yml"))


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.parent.name)
def test_the_schema_takes_the_examples(path, whole):
    assert fits(as_plain(path.read_text("utf-8")), whole, whole)


def test_nothing_else_is_raised():
    assert issubclass(ConfigError, GristmillError)
    assert set(config_file.__all__) <= set(vars(config_file))


def test_reading_a_config_loads_neither_a_compiler_nor_pandas(tmp_path):
    """Every run starts with it, twice: in the parent and in the fork server."""
    (tmp_path / "gristmill.yml").write_text(
        "version: 1\ndataset: ./c\nsources: [{files: {path: a}}]\nsteps: [clean.text]\n"
    )
    code = "import sys; from pathlib import Path; from gristmill.config.load import load; load(Path('gristmill.yml')); "
    code += "print(sorted({'numba', 'pandas', 'aiohttp', 'adbc_driver_manager'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_why_a_value_through_a_reference_is_refused_is_told_without_the_value(folder, monkeypatch):
    monkeypatch.setenv("GM_DSN", "mysql://me:canary-1@canary-2/x")
    part = '{dsn: "${env:GM_DSN}", table: docs, cursor: at, horizon: xmin}'
    with pytest.raises(ConfigError) as caught:
        loaded(folder, f"version: 1\ndataset: corpus\nsources:\n - sql: {part}\n")
    said = str(caught.value)
    assert "4:4: sql: horizon: xmin needs a table of PostgreSQL" in said
    assert "canary" not in said


def test_a_snapshot_horizon_and_an_overlap_are_two_answers_to_one_question(folder):
    part = "{dsn: 'postgresql://127.0.0.1/x', table: docs, cursor: at, horizon: xmin, overlap: 2h}"
    with pytest.raises(ConfigError, match="overlap: horizon: xmin takes its place; remove one of them"):
        loaded(folder, f"version: 1\ndataset: corpus\nsources:\n - sql: {part}\n")

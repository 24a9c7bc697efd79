"""The documentation holds: links lead somewhere, configs load, commands exist, tables say what the code says."""

import ast
import contextlib
import io
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import msgspec
import pytest
from bench import results

from gristmill import cli
from gristmill.config import load as config
from gristmill.core import failpoints
from gristmill.sources.files import Files

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "gristmill"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
    *sorted((ROOT / "examples").glob("**/README.md")),
]
# The design speaks of what is still to come, and of files beside the project: only its links are ours to keep.
DESIGN = ROOT / "docs" / "design.md"
DESCRIBING = [page for page in PAGES if page.name not in {"design.md", "CHANGELOG.md"}]


def name(page):
    return page.relative_to(ROOT).as_posix()


def anchors(page):
    """Give the anchors of a page's headings, as web hosts make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page, text):
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            found.append(target)
    return found


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def verbs_in(text):
    """Give the verbs that a page calls `gristmill` with."""
    code = "\n".join([*re.findall(r"```(?:sh|text)\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])
    return set(re.findall(r"(?:^|[$`\s])gristmill (?!on\b)([a-z]+)", code, re.MULTILINE))


@cache
def gristmill_help(*verb):
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert cli.perform([*verb, "--help"]) == 0
    return told.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    assert broken_links(page, page.read_text("utf-8")) == []


def test_broken_links_are_seen():
    page = ROOT / "README.md"
    text = "[a](docs/none.md) [b](docs/config.md#no-such) [c](docs/config.md#the-top) [d](https://example.org/x)"
    assert broken_links(page, text) == ["docs/none.md", "docs/config.md#no-such"]


def configs():
    for page in [*DESCRIBING, DESIGN]:
        for n, block in enumerate(blocks(page.read_text("utf-8"), "yaml")):
            if block.startswith("version: 1"):
                yield pytest.param(block, id=f"{name(page)}-{n}")
    for path in sorted((ROOT / "examples").glob("**/gristmill.yml")):
        yield pytest.param(path.read_text("utf-8"), id=name(path))


def test_there_are_configs_to_load():
    assert len(list(configs())) >= 5


@pytest.mark.parametrize("text", list(configs()))
def test_config_loads(text, tmp_path, monkeypatch):
    fitting = {"DSN": "sqlite:///articles.db", "HOOK": "http://127.0.0.1/a-secret-of-the-test"}
    for wanted in re.findall(r"\$\{env:(\w+)\}", text):
        monkeypatch.setenv(wanted, next((v for k, v in fitting.items() if k in wanted), "a-secret-of-the-test"))
    path = tmp_path / "gristmill.yml"
    path.write_text(text, "utf-8")
    loaded = config.load(path)
    assert loaded.sources
    assert loaded.dataset in {str(tmp_path / "corpus"), "s3://my-bucket/corpus"}


@pytest.mark.parametrize("page", DESCRIBING, ids=name)
def test_verbs_exist(page):
    shown = gristmill_help()
    verbs = verbs_in(page.read_text("utf-8"))
    if "stage" in verbs:  # hidden: for schedulers
        assert "plan" in gristmill_help("stage")
    missing = [verb for verb in sorted(verbs - {"stage"}) if not re.search(rf"^\W*{verb}\b", shown, re.MULTILINE)]
    assert missing == []


def test_the_design_lists_verbs_and_flags_that_are_there_or_says_that_they_are_planned():
    listed = DESIGN.read_text("utf-8").partition("## 9. ")[2].partition("All verbs take")[0].splitlines()
    lines = [line.strip() for line in listed if line.strip() and not line.endswith("(planned)")]
    assert len(lines) > 15
    for line in lines:
        verbs = re.findall(r"(?:gristmill|\|) ([a-z]+)", line.partition("  ")[0]) or [
            "run"
        ]  # whose flags take two lines
        shown = "".join(gristmill_help(verb) for verb in verbs)  # of a verb that is none it fails
        assert [flag for flag in re.findall(r"--[a-z-]+", line) if flag not in shown] == []


def test_verbs_are_found():
    text = "```sh\ngristmill run   # x\n$ gristmill log\n```\nand `gristmill explain web/1`, the gristmill house, `gristmill.yml`"
    assert verbs_in(text) == {"run", "log", "explain"}


@pytest.mark.parametrize("block", [b for page in DESCRIBING for b in blocks(page.read_text("utf-8"), "python")])
def test_python_names_exist(block):
    """What the examples in Python import is there, and so are the attributes they use of it."""
    tree = ast.parse(block)
    scope = {}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), "<docs>", "exec"), scope)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in scope:
            assert hasattr(scope[node.value.id], node.attr), ast.unparse(node)


# --- codes ---------------------------------------------------------------------------------------------------------

CODE = re.compile(r"[a-z]+\.[a-z_]+")
NOT_CODES = {
    "plan.quarantine": "a file",
    **dict.fromkeys(
        ("dc.date", "dc.rights", "dcterms.date", "dcterms.issued", "dcterms.rights"), "a name in a page's head"
    ),
    **dict.fromkeys(("parents.endpoint", "since.cursor"), "a key of a config"),
    "http.header": "a form of an answer",
    "source.xmin": "a column of PostgreSQL",
    **dict.fromkeys(
        (
            "cgroup.controllers",
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
            "cpu.max",
            "memory.high",
            "memory.limit_in_bytes",
            "memory.max",
        ),
        "a file of the kernel",
    ),
}
SUFFIXES = {"json", "yml", "npz", "jsonl", "parquet", "log", "arrow", "py", "html", "seq"}


def codes_in(tree):
    """Give the constants of a module that look like codes: what stands in code, and not in a docstring."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    # f"step.error {name}": the code and, after a space, its detail
    words = {text.split(" ")[0] for text in texts if len(text.split(" ")) <= 2}
    return {word for word in words if CODE.fullmatch(word)}


def codes_of_the_source():
    parts = {f"{path.parent.name}.{path.stem}" for path in (SRC / "steps").glob("*/*.py")}
    found = set()
    for path in [
        *SRC.glob("sources/**/*.py"),
        *SRC.glob("net/*.py"),
        *SRC.glob("extract/*.py"),
        *SRC.glob("database/*.py"),
        *SRC.glob("core/*.py"),
        *SRC.glob("engine/*.py"),
        *SRC.glob("steps/**/*.py"),
    ]:
        found |= codes_in(ast.parse(path.read_text("utf-8")))
    assert set(NOT_CODES) <= found, "an exception that is no longer needed"
    found -= parts | set(failpoints.NAMES) | set(NOT_CODES)
    return {code for code in found if code.split(".")[1] not in SUFFIXES}


def documented(section):
    text = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    table = text.split(f"<!-- {section}: begin -->")[1].split(f"<!-- {section}: end -->")[0]
    firsts = [line.split("|")[1] for line in table.strip().splitlines()[2:]]
    return {code for first in firsts for code in re.findall(r"`([^`]+)`", first)}


def told_of_sources():
    """Give what the pages of the sources put in backticks and looks like a code."""
    pages = [*(ROOT / "docs" / "sources").glob("*.md")]
    return {code for page in pages for code in re.findall(r"`([a-z]+\.[a-z_]+)`", page.read_text("utf-8"))}


def test_codes_are_the_codes_of_the_source():
    """Every code stands in the tables of the guarantees or on the page of its source; no table has one that is not there."""
    warnings_of_fields = {f"{field}.type" for field in ("url", "lang", "license")}  # put together in core/mapping.py
    assert len(documented("codes")) >= 15
    tables = [documented(section) for section in ("codes", "warnings", "errors")]
    known = codes_of_the_source() | warnings_of_fields
    assert sorted(set().union(*tables) - known) == []
    assert sorted(known - set().union(*tables) - told_of_sources()) == []
    assert sum(map(len, tables)) == len(set().union(*tables))


def test_codes_are_seen():
    tree = ast.parse('"""Not doc.string."""\nf("json.syntax", x)\ny = f"step.error {z}"\n"a sentence. with words"')
    assert codes_in(tree) == {"json.syntax", "step.error"}


def test_each_source_has_a_page_that_the_index_leads_to_and_a_table_of_its_warnings():
    folder = ROOT / "docs" / "sources"
    index = (folder / "index.md").read_text("utf-8")
    assert [
        page.name for page in folder.glob("*.md") if page.name != "index.md" and f"]({page.name}" not in index
    ] == []
    parts = [path.stem for path in (SRC / "sources").glob("*.py") if path.stem != "__init__"]
    assert len(parts) >= 6
    for part in [*parts, "html", "pdf"]:
        assert "| warning | counted |\n" in (folder / f"{part}.md").read_text("utf-8"), part


def test_the_page_of_files_names_every_parameter():
    page = (ROOT / "docs" / "sources" / "files.md").read_text("utf-8")
    assert [field.name for field in msgspec.structs.fields(Files) if f"`{field.name}`" not in page] == []


# --- programs that tests run --------------------------------------------------------------------------------------


def test_a_test_that_lacks_a_program_says_how_to_get_it():
    """What is looked for with `which` or by its place, and not found, is a package of `make debian`."""
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text("utf-8")
        for reason in re.findall(r"(?:skip\(|reason=)\s*f?[\"'](no [A-Z]\w+ on this machine[^\"']*)", text):
            assert reason.endswith("`make debian` installs it"), path
    shown = subprocess.run(["make", "-n", "debian"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for package in ("mariadb-server-core", "mariadb-client-core", "chromium", "prometheus", "shellcheck"):
        assert package in shown


# --- figures -------------------------------------------------------------------------------------------------------


def test_readme_shows_the_committed_figures():
    text = (ROOT / "README.md").read_text("utf-8")
    if results.RESULTS.is_file():
        measured = json.loads(results.RESULTS.read_text())
        assert results.put_into(text, results.readme_section(measured, results.floors())) == text
        assert {key for key in results.floors() if key not in measured["measures"]} == set()
    else:
        assert "Not measured yet" in text
        assert not re.search(r"\d MB/s", text)


def test_a_missed_floor_is_marked():
    measure = {"value": 3.0, "unit": "x", "what": "w"}
    limits = {"a": {"floor": 4, "aim": 6}, "b": {"ceiling": 2}, "c": {"floor": 3}}
    assert not results.holds(3.0, limits["a"])
    assert not results.holds(3.0, limits["b"])
    assert results.holds(3.0, limits["c"])
    shown = results.table({"a": measure, "b": measure, "c": measure, "d": measure}, limits)
    assert [line.count("MISSED") for line in shown.splitlines()[2:]] == [1, 1, 0, 0]


def test_figures_go_between_the_markers():
    text = f"before\n{results.BEGIN}\nold\n{results.END}\nafter"
    assert (
        results.put_into(text, f"{results.BEGIN}new{results.END}") == f"before\n{results.BEGIN}new{results.END}\nafter"
    )
    with pytest.raises(ValueError, match="exactly once"):
        results.put_into("nothing", "new")


# --- the sample ----------------------------------------------------------------------------------------------------


def test_sample_is_what_its_script_makes(tmp_path):
    subprocess.run([sys.executable, ROOT / "examples/quickstart/make_sample.py", tmp_path], check=True)
    committed = ROOT / "examples" / "quickstart" / "data"
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {path.relative_to(committed) for path in committed.rglob("*") if path.is_file()}
    for path in made:
        if path.suffix in {".jsonl", ".json", ".txt"}:  # the others hold the version of their library
            assert (tmp_path / path).read_bytes() == (committed / path).read_bytes(), path

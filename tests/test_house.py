"""The rules of the house (docs/design.md, section 4), read off the syntax tree of the package.

A rule is a function from a house (module name -> file) to problems. Each rule is run on gristmill and must find
nothing, and is run on a small bad house, where it must find exactly what is wrong there.
"""

import ast
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "gristmill"

# The only exceptions there are: (rule, place) -> why. One that is no longer needed fails `test_no_exception_is_idle`.
NAMED: dict[tuple[str, str], str] = {
    ("dynamic_imports", "__init__"): "public names load when asked for; all of them stand written out in one table",
    ("dynamic_imports", "core.frames"): "it asks where pandas is for whoever imports it, and imports nothing",
    (
        "sizes",
        "pipeline.retry",
    ): "each option of the verb is an argument of its own, as in every other call that writes",
    ("sizes", "console.quarantine.retry"): "the options of the verb: what of the quarantine, and those of every run",
}

# Room -> the rooms it may import from. A room is a top-level name of the package; a longer name wins over a shorter.
MAY = {
    "": {"pipeline", "dataset", "core"},  # the face: public names only
    "__main__": {"cli"},
    "cli": {"", "console", "core.errors", "core.stopping", "config.schema", "kernels.warm"},
    "console": {
        "console",
        "config.catalogue",
        "pipeline",
        "dataset",
        "engine.report",
        "engine.executors.server",
        "observe",
        "report",
        "ui",
        "testing.corpora",
        "kernels.warm",
        "core",
    },
    "airflow": {"airflow"},  # it lives in Airflow's environment, where none of our dependencies is
    "pipeline": {"engine", "config", "store", "observe", "report", "core"},
    "dataset": {"audit", "engine", "config", "store", "observe.events", "report", "core"},
    "audit": {"audit", "engine", "config", "store", "kernels", "core"},
    "engine": {"engine", "config", "store", "observe", "report", "kernels", "core"},  # kernels: content hashes of rows
    "config": {"config", "core"},
    "engine.executors": {
        "engine.executors.server",
        "engine.executors.border",
        "engine.staged",
        "engine.task",
        "engine.work",
        "kernels.warm",
        "core",
    },  # an executor sees run_task and what it is given
    "engine.executors.ray": {
        "engine.adopt",
        "engine.executors.border",
        "engine.staged",
        "engine.task",
        "engine.work",
        "config.settings",
        "core",
    },  # and what the config says of the cluster
    "engine.executors.preload": {
        "engine.executors.processes",
        "config.load",
        "kernels.warm",
        "core",
    },  # what workers load
    "store": {"store", "core"},
    "report": {"report", "store", "core"},  # the page of a run, from its files
    "ui": {"ui", "report", "dataset", "audit", "config", "store", "core"},  # a web app, read only
    "observe": {"observe", "config.monitoring", "core"},  # what the config asks for
    "sources": {"sources.formats", "net", "extract", "database", "core"},
    "sources.formats": {"extract", "kernels", "core"},  # kernels: JSON lines into columns
    "net": {"net", "core"},  # fetching: HTTP, politeness, object stores
    "extract": {"extract", "core"},  # text out of HTML and PDF, in processes that can be killed
    "database": {"database", "core"},  # SQL: composing, dialects, readers
    "exports": {"core", "kernels", "database"},
    "steps": {"steps.signals", "core", "kernels"},
    "kernels": {"kernels"},
    "core": {"core"},
    "testing": {"testing", "core"},
}
# Rooms whose files are parts (the file is the registry): no part knows another.
MAY_IMPORT_BY_NAME = {"core.find", "core.modules"}

PUBLIC_NAMES = [
    "Batch",
    "BoundStep",
    "ConfigError",
    "Counts",
    "Dataset",
    "Drop",
    "Export",
    "Filter",
    "Gate",
    "GateRefused",
    "GlobalStep",
    "GristmillError",
    "LockedError",
    "Pipeline",
    "Report",
    "RunSettings",
    "Source",
    "Step",
    "Transform",
    "__version__",
]

CORE_DEPENDENCIES = [
    "backports.zstd",
    "deltalake",
    "isal",
    "jinja2",
    "msgspec",
    "numba",
    "numpy",
    "obstore",
    "orjson",
    "pyarrow",
    "rich",
    "ruamel.yaml",
    "typer",
]

FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__", "os.system", "os.popen"}


class File(NamedTuple):
    """A parsed file of the house."""

    text: str
    tree: ast.Module
    is_package: bool


House = dict[str, File]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def parse(name: str, text: str, *, is_package: bool = False) -> File:
    return File(text, ast.parse(text, name), is_package)


@cache
def house() -> House:
    """Parse the package, once, by the worker that runs these tests."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = parse(name, path.read_text("utf-8"), is_package=is_package)
    return found


def room(module: str, rooms: dict[str, set[str]] = MAY) -> str:
    """Give the longest room name that `module` lies in."""
    inside = [name for name in rooms if name and (module == name or module.startswith(name + "."))]
    return max(inside, key=len, default="")


def imports(name: str, file: File, known: House) -> Iterator[str]:
    """Give the modules of the house that a file imports, anywhere in it: deferred and type-checking ones too."""
    package = name.split(".") if file.is_package and name else name.split(".")[:-1]
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            targets = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package[: len(package) - node.level + 1]
                base = ".".join(["gristmill", *up, *([node.module] if node.module else [])])
            targets = [(base, alias.name) for alias in node.names]
        else:
            continue
        for base, member in targets:
            if base != "gristmill" and not base.startswith("gristmill."):
                continue
            module = base.removeprefix("gristmill").removeprefix(".")
            inner = f"{module}.{member}".strip(".")
            yield inner if member and inner in known else module


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def dotted(node: ast.expr) -> str:
    """Give `a.b.c` for a name or attribute, "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


# --- the rules ---------------------------------------------------------------------------------------------------


def direction(house: House) -> Iterator[tuple[str, str]]:
    """Imports go down the house only, and no part imports another."""
    for name, file in house.items():
        mine = room(name)
        for target in sorted(set(imports(name, file, house))):
            if target == name or any(target == may or (may and target.startswith(may + ".")) for may in MAY[mine]):
                continue
            yield f"{name} -> {target}", f"{mine or 'the face'} may import only {sorted(MAY[mine])}"


def loops(house: House) -> Iterator[tuple[str, str]]:
    """No module reaches itself over its imports."""
    arrows = {name: set(imports(name, file, house)) - {name} for name, file in house.items()}
    for start in arrows:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = arrows.get(todo.pop(), set()) - seen
            seen |= new
            todo += new
        if start in seen:
            yield start, "imports itself over " + ", ".join(sorted(seen & set(arrows)))


def dynamic_imports(house: House) -> Iterator[tuple[str, str]]:
    """Importing by name happens in two places."""
    harmless = {"importlib.metadata", "importlib.resources"}
    for name, file in house.items():
        for node in ast.walk(file.tree):
            found: list[str] = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found = [f"{node.module}.{alias.name}" for alias in node.names]
            for module in found:
                root = module.split(".")[0]
                allowed = any(module == ok or module.startswith(ok + ".") for ok in harmless)
                if root in {"importlib", "runpy", "pkgutil", "imp"} and not allowed and name not in MAY_IMPORT_BY_NAME:
                    where = sorted(MAY_IMPORT_BY_NAME)
                    yield name or "__init__", f"imports by name ({module}); that is for {where}"


def sizes(house: House) -> Iterator[tuple[str, str]]:
    """A file has at most 400 lines, a function 80 without its docstring, and 8 parameters."""
    for name, file in house.items():
        lines = file.text.count("\n")
        if lines > 400:
            yield name, f"{lines} lines; 400 is the limit"
        for function in functions(file.tree):
            length = (function.end_lineno or 0) - function.lineno + 1
            if ast.get_docstring(function) is not None:
                doc = function.body[0]
                length -= (doc.end_lineno or 0) - doc.lineno + 1
            if length > 80:
                yield f"{name}.{function.name}", f"{length} lines; 80 is the limit"
            args = function.args
            given = [arg.arg for arg in [*args.posonlyargs, *args.args, *args.kwonlyargs]] + ["*"] * bool(args.vararg)
            if len([arg for arg in given if arg not in {"self", "cls"}]) > 8:
                yield f"{name}.{function.name}", f"{len(given)} parameters; 8 is the limit"


def docstrings(house: House) -> Iterator[tuple[str, str]]:
    """Every module says what it is and what must stay true in it; every public class and function says what it does."""
    for name, file in house.items():
        doc = ast.get_docstring(file.tree) or ""
        if len(re.findall(r"[.;:]\s+\S", doc)) < 1 or not re.search(r"\binvariants?\b", doc, re.IGNORECASE):
            yield name or "__init__", "the module docstring needs two sentences and an invariant"
        for path, node in _public(file.tree, name):
            if not (ast.get_docstring(node) or "").strip():
                yield path, "no docstring"


def _public(node: ast.Module | ast.ClassDef, path: str) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or child.name.startswith("_"):
            continue
        if any(dotted(mark).endswith(("overload", "setter")) for mark in child.decorator_list):
            continue
        yield f"{path}.{child.name}", child
        if isinstance(child, ast.ClassDef):
            yield from _public(child, f"{path}.{child.name}")


def smells(house: House) -> Iterator[tuple[str, str]]:
    """No catch-all arguments, drawers, unsafe state, code from text, shells, globals or stray prints."""
    for name, file in house.items():
        if any("util" in part for part in name.split(".")):
            yield name, "no drawer called utils: name the thing it does"
        for node in ast.walk(file.tree):
            place = f"{name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.arguments) and node.kwarg:
                yield f"{name}:{node.kwarg.lineno}", f"**{node.kwarg.arg}: name the parameters"
            elif isinstance(node, ast.Global):
                yield place, f"global {', '.join(node.names)}: pass values as arguments"
            elif isinstance(node, ast.Import | ast.ImportFrom):
                roots = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                for module in roots:
                    if module.split(".")[0] in FORBIDDEN_MODULES:
                        yield place, f"{module} is unsafe for state"
            elif isinstance(node, ast.Call):
                called = dotted(node.func)
                if called in FORBIDDEN_CALLS:
                    yield place, f"{called}() runs text as code"
                if called == "print" and name != "cli":
                    yield place, "print belongs to cli.py"
                if any(word.arg == "shell" and getattr(word.value, "value", True) for word in node.keywords):
                    yield place, "shell=True"


def rooms_balanced(house: House) -> Iterator[tuple[str, str]]:
    """No top-level folder holds a quarter of the package's lines."""
    lines: Counter[str] = Counter()
    for name, file in house.items():
        inside = "." in name or file.is_package
        lines[name.split(".")[0] if inside else ""] += sum(1 for line in file.text.splitlines() if line.strip())
    total = lines.total()
    for folder, count in lines.items():
        if folder and count >= 0.25 * total:
            yield folder, f"{count} of {total} lines are in this room; it must stay under 25 %"


def failpoints(house: House) -> Iterator[tuple[str, str]]:
    """The failpoints that stand in the code are the failpoints that stand in the list."""
    listed: set[str] = set()
    for node in house["core.failpoints"].tree.body:
        if isinstance(node, ast.Assign) and dotted(node.targets[0]) == "NAMES":
            listed = set(ast.literal_eval(node.value))
    used: dict[str, str] = {}
    for name, file in house.items():
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] == "failpoint":
                if len(node.args) == 1 and isinstance(node.args[0], ast.Constant):
                    used[str(node.args[0].value)] = f"{name}:{node.lineno}"
                else:
                    yield f"{name}:{node.lineno}", "a failpoint's name must be written out"
    for missing in sorted(listed - used.keys()):
        yield missing, "is listed in core/failpoints.py and used nowhere"
    for unknown in sorted(used.keys() - listed):
        yield used[unknown], f"failpoint {unknown!r} is not listed in core/failpoints.py"


RULES: list[Callable[[House], Iterator[tuple[str, str]]]] = [
    direction,
    loops,
    dynamic_imports,
    sizes,
    docstrings,
    smells,
    rooms_balanced,
    failpoints,
]


def _name(rule: Callable[..., object]) -> str:
    return rule.__name__


# --- the rules on gristmill --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_rule(rule):
    problems = [f"{place}: {what}" for place, what in rule(house()) if (rule.__name__, place) not in NAMED]
    assert not problems, "\n".join(problems)


def test_no_exception_is_idle():
    found = {(rule.__name__, place) for rule in RULES for place, _ in rule(house())}
    assert set(NAMED) <= found
    assert all(len(reason) > 20 for reason in NAMED.values())


def test_every_module_stands_in_a_room():
    strangers = [name for name in house() if name and not room(name)]
    assert not strangers, f"rooms that docs/design.md does not know: {strangers}"


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in SRC.rglob("*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").is_file()]
    assert (SRC / "py.typed").is_file(), "the typing classifier promises py.typed in the wheel"


def test_public_names():
    import gristmill

    assert sorted(gristmill.__all__) == PUBLIC_NAMES
    assert len(gristmill.__all__) <= 40
    assert [name for name in PUBLIC_NAMES if not hasattr(gristmill, name)] == []
    assert set(PUBLIC_NAMES) <= set(dir(gristmill))


def test_smallest_filter_is_small():
    lines = house()["steps.filter.length"].text.count("\n")
    assert lines < 50, f"steps/filter/length.py has {lines} lines"


# --- the rules on small bad houses -------------------------------------------------------------------------------

GOOD = '"""A room. Invariant: it stays small."""\n'


def bad(**files: str) -> House:
    """Make a house of files; `a__b` is module a.b, each gets a good module docstring."""
    return {name.replace("__", "."): parse(name, GOOD + text + "\n") for name, text in files.items()}


@pytest.mark.parametrize(
    ("rule", "house", "places"),
    [
        (direction, bad(core__a="from gristmill.store import b", store__b=""), ["core.a -> store.b"]),
        (
            direction,
            bad(steps__x__a="def f():\n  from gristmill.steps.y import b", steps__y__b=""),
            ["steps.x.a -> steps.y.b"],
        ),
        (
            direction,
            bad(store__a="if TYPE_CHECKING:\n  import gristmill.observe.b", observe__b=""),
            ["store.a -> observe.b"],
        ),
        (direction, bad(sources__a="from ..engine import f", engine__b="", engine=""), ["sources.a -> engine"]),
        (direction, bad(sources__a="from ..engine.b import c", engine__b=""), ["sources.a -> engine.b"]),
        (direction, bad(steps__a="from gristmill.steps.signals import x", steps__signals=""), []),
        (
            direction,
            bad(engine__executors__a="from gristmill.engine import run", engine__run=""),
            ["engine.executors.a -> engine.run"],
        ),
        (direction, bad(testing__laws="import gristmill"), ["testing.laws -> "]),
        (
            loops,
            bad(core__a="from gristmill.core import b", core__b="def f(): import gristmill.core.a"),
            ["core.a", "core.b"],
        ),
        (direction, bad(engine__executors__a="from gristmill.engine.task import run_task", engine__task=""), []),
        (loops, bad(core__a="from gristmill.core import b", core__b=""), []),
        (dynamic_imports, bad(engine__a="from importlib import import_module"), ["engine.a"]),
        (dynamic_imports, bad(engine__a="import importlib.util"), ["engine.a"]),
        (dynamic_imports, bad(engine__a="from importlib.metadata import version", core__find="import importlib"), []),
        (sizes, bad(a="\n" * 400), ["a"]),
        (sizes, bad(a="def f():\n" + "  x = 1\n" * 80), ["a.f"]),
        (sizes, bad(a="def f():\n  '''" + "\n" * 90 + "'''\n  x = 1"), []),
        (sizes, bad(a="class C:\n def f(self, a, b, c, d, e, /, f, g, *h): pass"), []),
        (sizes, bad(a="def f(a, b, c, d, e, /, f, g, *h, i): pass"), ["a.f"]),
        (docstrings, {"a": parse("a", '"""One sentence without the word."""')}, ["a"]),
        (docstrings, {"a": parse("a", '"""The invariant is all there is."""')}, ["a"]),
        (docstrings, bad(a="def f(): pass\ndef _g(): pass\nclass C:\n '''C.'''\n def m(self): pass"), ["a.f", "a.C.m"]),
        (smells, bad(core__textutils=""), ["core.textutils"]),
        (smells, bad(a="def f(**kwargs): pass"), ["a:2"]),
        (smells, bad(a="g = lambda **k: 0"), ["a:2"]),
        (smells, bad(a="def f():\n  global x"), ["a:3"]),
        (smells, bad(a="import pickle\nfrom marshal import dumps"), ["a:2", "a:3"]),
        (
            smells,
            bad(a="eval('1')\nos.system('x')\nrun('x', shell=True)\nrun(shell=False)\nprint()", cli="print()"),
            ["a:2", "a:3", "a:4", "a:6"],
        ),
        (rooms_balanced, bad(core__a="x = 1\n" * 25, steps__a="x = 1\n" * 25, a="x = 1\n" * 70), []),
        (rooms_balanced, bad(core__a="x = 1\n" * 50, steps__a="x = 1\n" * 25, a="x = 1\n" * 70), ["core"]),
        (
            failpoints,
            bad(core__failpoints="NAMES = ('a', 'b')", store__a="failpoint('a')\nfailpoint('c')\nfailpoint(x)"),
            ["store.a:4", "b", "store.a:3"],
        ),
    ],
)
def test_rule_sees(rule, house, places):
    assert [place for place, _ in rule(house)] == places


# --- what is committed -------------------------------------------------------------------------------------------

MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:" + "|".join(["home", "root", "work", "Users"]) + r")/[\w.]")
INDEX_HOST = re.compile("|".join([r"py" + r"pi\.org", r"python" + r"hosted\.org", r"--(?:extra-)?index" + "-url[ =]"]))
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME)\b")


def committed() -> list[Path]:
    """Give the files under version control; in an unpacked sdist, all of them."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        paths = [ROOT / name for name in listed.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if not any(part[0] == "." for part in path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


def lines_with(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    found = []
    for path in files:
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # samples may be compressed or broken on purpose
        found += [f"{path}:{n}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    return found


@pytest.mark.parametrize("pattern", [MACHINE_PATH, INDEX_HOST, UNFINISHED], ids=["path", "host", "unfinished"])
def test_no_committed_line_has(pattern):
    files = committed()
    assert len(files) > 20
    assert lines_with(pattern, files) == []


@pytest.mark.parametrize(
    ("pattern", "line", "hit"),
    [
        (MACHINE_PATH, "see /" + "home/me/x", True),
        (MACHINE_PATH, "'/" + "work/main'", True),
        (MACHINE_PATH, "bench/work/corpus and /bench/work/", False),
        (INDEX_HOST, "https://py" + "pi.org/simple", True),
        (INDEX_HOST, "--index" + "-url https://x", True),
        (INDEX_HOST, "uv pip compile --no-emit-index-url", False),
        (UNFINISHED, "# TO" + "DO later", True),
        (UNFINISHED, "mastodon", False),
    ],
)
def test_pattern(pattern, line, hit, tmp_path):
    (tmp_path / "file").write_text(line)
    assert bool(lines_with(pattern, [tmp_path / "file"])) is hit


def lock_problems(lock: str) -> list[str]:
    problems = []
    for entry in lock.replace("\\\n", " ").splitlines():
        if entry.startswith("#") or not entry.strip():
            continue
        if not re.match(r"[A-Za-z0-9._-]+==\S+(?: ;[^\\]+?)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*$", entry):
            problems.append(entry[:80])
    return problems


def test_lock_is_pinned_and_hashed():
    lock = (ROOT / "requirements.lock").read_text()
    assert lock_problems(lock) == []
    assert "://" not in lock
    pinned = set(re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE))
    wanted = {name.replace(".", "-") for name in CORE_DEPENDENCIES}
    assert wanted <= {name.replace(".", "-").lower() for name in pinned}


def test_lock_problems_are_seen():
    digest = "--hash=sha256:" + "0" * 64
    assert lock_problems(f"a==1 {digest}\nb==2 ; os_name != 'nt' \\\n    {digest} \\\n    {digest}\n") == []
    assert lock_problems("a==1") == ["a==1"]
    assert lock_problems(f"a>=1 {digest}")
    assert lock_problems("-i somewhere")


def test_core_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[A-Za-z0-9._-]+", line).group() for line in project["dependencies"]]
    assert names == CORE_DEPENDENCIES

"""Finding parts by their names."""

import pickle
import subprocess
import sys
import types

import pytest

from gristmill.core import find as finder
from gristmill.core.errors import ConfigError, MissingExtra
from gristmill.core.export import Export
from gristmill.core.find import code_hash, find, part_name, parts
from gristmill.core.source import Source
from gristmill.core.step import Step

FILTER = '''"""A filter of my own. Invariant: none."""
from gristmill.core.step import Filter
class _Base(Filter, frozen=True, kw_only=True):
    """Shared."""
class Mine(_Base, frozen=True, kw_only=True):
    """Mine."""
    least: int = 1
'''
BASES = {"sources": Source, "steps": Step, "exports": Export}


@pytest.mark.parametrize("part", parts(), ids=lambda part: f"{part.kind}-{part.name}")
def test_every_part_is_found(part, tmp_path):
    try:
        cls = find(part.kind, part.name, tmp_path)
    except MissingExtra as error:
        message = str(error)
        cls = None
    if cls is None:
        assert 'pip install "gristmill[' in message
        return
    assert issubclass(cls, BASES[part.kind])
    assert part_name(cls) == part.name
    assert part.summary.endswith(".")
    assert code_hash(cls) == ""
    assert finder.exists(part.kind, part.name)


def test_the_listing_imports_nothing_and_leaves_helpers_out():
    script = (
        "import sys; from gristmill.core.find import parts; names = [f'{p.kind}:{p.name}' for p in parts()];"
        "own = [m for m in sys.modules if m.startswith(('gristmill.steps.', 'gristmill.sources.', 'gristmill.exports.'))];"
        "assert not own, own; assert names; print('\\n'.join(names))"
    )
    names = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in names if "formats" in name or "signals" in name or "__init__" in name]
    assert len(names) == len(set(names))


def test_by_path(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.py").write_text(FILTER)
    cls = find("steps", "./sub/mine.py", tmp_path)
    assert cls.__name__ == "Mine"
    assert find("steps", "sub/mine.py", tmp_path) is cls
    assert find("steps", str(tmp_path / "sub" / "mine.py"), tmp_path) is cls
    assert find("steps", "../sub/mine.py", tmp_path / "sub") is cls
    assert part_name(cls) == str(tmp_path / "sub" / "mine.py")
    assert len(code_hash(cls)) == 64
    assert pickle.loads(pickle.dumps(cls(least=3))).least == 3


def test_by_dotted_name(tmp_path, monkeypatch):
    (tmp_path / "mycorp_gm" / "steps").mkdir(parents=True)
    (tmp_path / "mycorp_gm" / "steps" / "legal.py").write_text(FILTER)
    (tmp_path / "mycorp_gm" / "steps" / "typo.py").write_text("import mycorp_gm.nowhere_else\n")
    monkeypatch.syspath_prepend(tmp_path)
    cls = find("steps", "mycorp_gm.steps.legal", tmp_path)
    assert part_name(cls) == "mycorp_gm.steps.legal"
    assert len(code_hash(cls)) == 64
    with pytest.raises(ConfigError, match=r"there is no module 'mycorp_gm.steps.leagl'"):
        find("steps", "mycorp_gm.steps.leagl", tmp_path)
    with pytest.raises(MissingExtra, match=r"No module named 'mycorp_gm.nowhere_else'"):
        find("steps", "mycorp_gm.steps.typo", tmp_path)


def test_a_package_that_cannot_be_imported_or_is_none_is_told(tmp_path, monkeypatch):
    (tmp_path / "broken_gm").mkdir()
    (tmp_path / "broken_gm" / "legal.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"step 'broken_gm.legal'.* cannot be imported: SyntaxError at .*legal.py:1"):
        find("steps", "broken_gm.legal", tmp_path)
    monkeypatch.setitem(sys.modules, "specless_gm", types.ModuleType("specless_gm"))
    with pytest.raises(ConfigError, match=r"unknown step 'specless_gm\.legal'"):
        find("steps", "specless_gm.legal", tmp_path)


@pytest.mark.parametrize(
    ("text", "error", "phrase"),
    [
        ("X = 1\n", ConfigError, "exactly one public Step class; .* holds none"),
        (
            FILTER + FILTER.replace("Mine", "Other"),
            ConfigError,
            "holds Mine, Other; give the others a leading underscore",
        ),
        (FILTER.replace("Filter", "Source").replace("core.step", "core.source"), ConfigError, "holds none"),
        ("from gristmill.core.step import Filter\n", ConfigError, "holds none"),
        ("def f(:\n", ConfigError, r"cannot be imported: SyntaxError at .*bad.py:1"),
        ("1 + x\n", ConfigError, "cannot be imported: NameError: name 'x'"),
        ("import not_there_gm\n", MissingExtra, "No module named 'not_there_gm'.*install the package"),
        ("import not_there_gm\nEXTRA = 'web'\n", MissingExtra, r'pip install "gristmill\[web\]"'),
        ("import not_there_gm\nEXTRA: str = 'web'\n", MissingExtra, r'pip install "gristmill\[web\]"'),
    ],
)
def test_modules_that_are_no_part(text, error, phrase, tmp_path):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(error, match=phrase) as caught:
        find("steps", "./bad.py", tmp_path)
    assert type(caught.value) is error
    assert "step './bad.py'" in str(caught.value)


def test_a_module_that_failed_is_tried_again(tmp_path):
    (tmp_path / "again.py").write_text("1 + x\n")
    with pytest.raises(ConfigError):
        find("steps", "./again.py", tmp_path)
    (tmp_path / "again.py").write_text(FILTER + "# longer, so that the cached bytecode is stale\n")
    assert find("steps", "./again.py", tmp_path).__name__ == "Mine"


@pytest.mark.parametrize(
    ("kind", "name", "phrase"),
    [
        ("steps", "dedup.exat", "did you mean 'dedup.exact'?"),
        ("steps", "dedup_exact", "did you mean 'dedup.exact'?"),
        ("steps", "Dedup.Exact", "did you mean 'dedup.exact'?"),
        ("steps", "exact", "did you mean 'dedup.exact'?"),
        ("steps", "dedup", "it is a group: dedup.exact"),
        ("steps", "files", "it belongs under sources:"),
        ("sources", "jsonl", "it belongs under exports:"),
        ("sources", "fiels", "did you mean 'files'?"),
        ("exports", "josnl", "did you mean 'jsonl'?"),
        ("steps", "gristmill.steps.dedup.exact", "write 'dedup.exact'"),
        ("steps", "no_such_package_gm.part", "there is no module 'no_such_package_gm' to import"),
        ("steps", "./none.py", "there is no file"),
        ("steps", "", "unknown step ''"),
        ("steps", "__init__", "unknown step"),
        ("steps", "dedup.__init__", "unknown step"),
        ("steps", "..dedup.exact", "unknown step"),
        ("steps", "dedup/exact", "unknown step"),
        ("steps", "a b\n", "unknown step 'a b\\n'"),
        ("sources", "formats.jsonl", "source 'formats.jsonl': its module must hold exactly one public Source class"),
    ],
)
def test_unknown(kind, name, phrase, tmp_path):
    with pytest.raises(ConfigError) as caught:
        find(kind, name, tmp_path)
    assert phrase in str(caught.value)


def test_a_path_that_is_nearly_there(tmp_path):
    (tmp_path / "legal.py").write_text(FILTER)
    with pytest.raises(ConfigError, match=r"did you mean 'legal.py'\?"):
        find("steps", "./leagl.py", tmp_path)

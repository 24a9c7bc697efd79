"""Finds a part by its name: the file is the registry. The one place of the package that imports by name.

`dedup.exact` among the steps is `gristmill/steps/dedup/exact.py`; `mycorp.steps.legal` is a module of an installed
package; `./legal.py` is a file, from the config's folder. The part is the one public class of the module that is a
Source, a Step or an Export. Not here: building it from parameters (`core.params`). Invariants: listing imports nothing;
finding imports that one module; there is no table to forget an entry in.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple, TypeAlias, overload

from gristmill.core.errors import ConfigError, MissingExtra
from gristmill.core.export import Export
from gristmill.core.modules import spec_of
from gristmill.core.source import Source
from gristmill.core.step import Step

Kind: TypeAlias = Literal["sources", "steps", "exports"]
PartType: TypeAlias = type[Source] | type[Step] | type[Export]

_HOME = Path(__file__).resolve().parent.parent
_BASES: dict[Kind, type[Source] | type[Step] | type[Export]] = {"sources": Source, "steps": Step, "exports": Export}
_BASE_NAMES: dict[Kind, set[str]] = {
    "sources": {"Source"},
    "steps": {"Step", "Transform", "Filter", "GlobalStep"},
    "exports": {"Export", "FileExport", "Load"},
}
_ONE: dict[Kind, str] = {"sources": "source", "steps": "step", "exports": "export"}
_MODULE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")


class Part(NamedTuple):
    """A part as the listing sees it. summary: the first line of its module's docstring."""

    kind: Kind
    name: str
    summary: str


@overload
def find(kind: Literal["sources"], name: str, folder: Path) -> type[Source]: ...
@overload
def find(kind: Literal["steps"], name: str, folder: Path) -> type[Step]: ...
@overload
def find(kind: Literal["exports"], name: str, folder: Path) -> type[Export]: ...
def find(kind: Kind, name: str, folder: Path) -> PartType:
    """Import the module that `name` stands for and give its part.

    Args:
        kind: sources, steps or exports.
        name: as in the config: `dedup.exact`, `mycorp.steps.legal` or `./legal.py`.
        folder: where a path starts from: the config's folder.

    Raises:
        ConfigError: there is no such part, or its module is not a part; suggests the near miss.
        MissingExtra: the part needs a package that is not installed.
    """
    own = _own_file(kind, name)
    if own:
        try:
            module = importlib.import_module(f"gristmill.{kind}.{name}")
        except ImportError as error:
            if (error.name or "").partition(".")[0] == "gristmill":
                raise
            raise _missing(kind, name, own, error) from error
    elif is_path(name):
        module = _from_file(kind, name, folder)
    elif _is_installed(name):
        module = _from_package(kind, name)
    else:
        raise ConfigError(unknown(kind, name))
    return _one_class(kind, name, module)


def exists(kind: Kind, name: str) -> bool:
    """Tell whether `name` stands for a module (or for a path, there or not), without importing it."""
    return bool(_own_file(kind, name)) or is_path(name) or _is_installed(name)


def is_path(name: str) -> bool:
    """Tell whether a part is named by the path of its file."""
    return name.endswith(".py") and (name.startswith(("./", "../", "/")) or "/" in name)


def unknown(kind: Kind, name: str) -> str:
    """Give the sentence for a name that is no part of this kind."""
    listed = parts()
    names = [part.name for part in listed if part.kind == kind]
    elsewhere = [part.kind for part in listed if part.name == name and part.kind != kind]
    if elsewhere:
        hint = f"; it belongs under {elsewhere[0]}:"
    elif name.startswith("gristmill."):
        hint = f"; write {name.removeprefix(f'gristmill.{kind}.')!r}"
    elif _MODULE_NAME.fullmatch(name) and (_HOME / kind / name.replace(".", "/")).is_dir():
        hint = f"; it is a group: {', '.join(n for n in names if n.startswith(name + '.'))}"
    else:
        hint = suggestion(name, names, by_last=True)
        if not hint and "." in name:
            hint = f"; there is no module {name.partition('.')[0]!r} to import"
    stop = "" if hint.endswith("?") else ";"
    return (
        f"unknown {_ONE[kind]} {name!r}{hint}{stop} `gristmill parts` lists all, "
        "your own goes by mycorp.module or ./file.py"
    )


def suggestion(word: str, options: list[str], *, by_last: bool = False) -> str:
    """Give `; did you mean 'x'?` for the option nearest to a word, or nothing; `by_last`: `minhash` finds `a.minhash`."""
    near = near_miss(word, options)
    if near is None and by_last:
        last = {option.rpartition(".")[2]: option for option in reversed(options)}
        found = near_miss(word.rpartition(".")[2], list(last))
        near = last[found] if found else next((option for option in options if word and word in option), None)
    return f"; did you mean {near!r}?" if near else ""


def near_miss(word: str, options: list[str]) -> str | None:
    """Give the option most like a word, if any is like it at all."""
    plain = {option.lower().replace("-", "_"): option for option in reversed(options)}
    wanted = word.lower().replace("-", "_")
    slips = {option: _slips(wanted, option) for option in plain if abs(len(option) - len(wanted)) <= 2}
    closest = min(slips, key=lambda option: slips[option], default="")
    # A slip or two for a word of this length; beyond that, what looks alike as a whole.
    if closest and slips[closest] <= min(2, len(wanted) // 3):
        return plain[closest]
    near = difflib.get_close_matches(wanted, list(plain), n=1, cutoff=0.6)
    return plain[near[0]] if near else None


def _slips(left: str, right: str) -> int:
    """Count the letters added, left out, changed or swapped with their neighbour between two words."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, letter in enumerate(left):
        last, before, row = before, row, [i + 1]
        for j, other in enumerate(right):
            cost = min(before[j] + (letter != other), before[j + 1] + 1, row[j] + 1)
            if i and j and letter == right[j - 1] and left[i - 1] == other:
                cost = min(cost, last[j - 1] + 1)
            row.append(cost)
    return row[-1]


def parts() -> list[Part]:
    """List the parts of the package, by reading their files; nothing is imported."""
    found: list[Part] = []
    for kind in _BASES:
        for path in sorted((_HOME / kind).rglob("*.py")):
            name = ".".join(path.relative_to(_HOME / kind).with_suffix("").parts)
            summary = _summary(kind, path)
            if summary is not None:
                found.append(Part(kind, name, summary))
    return found


def part_name(cls: type) -> str:
    """Give the name a class goes by in a config: `dedup.exact` for gristmill.steps.dedup.exact.Exact."""
    module = cls.__module__
    for kind in _BASES:
        if module.startswith(f"gristmill.{kind}."):
            return module.removeprefix(f"gristmill.{kind}.")
    file = getattr(sys.modules.get(module), "__file__", None)
    return str(file) if module.startswith(_FILE_PREFIX) and file else module


def code_hash(cls: type) -> str:
    """Give the sha256 of the file a part of the user stands in; empty for a part of the package."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if cls.__module__.startswith("gristmill.") or not file:
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _own_file(kind: Kind, name: str) -> Path | None:
    if not _MODULE_NAME.fullmatch(name):
        return None
    path = (_HOME / kind / name.replace(".", "/")).with_suffix(".py")
    return path if path.is_file() and path.stem != "__init__" else None


def _is_installed(name: str) -> bool:
    top, dot, _ = name.partition(".")
    if not dot or not _MODULE_NAME.fullmatch(name) or top == "gristmill":
        return False
    try:
        return importlib.util.find_spec(top) is not None
    except ValueError:
        return False


def _from_package(kind: Kind, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigError(
                f"unknown {_ONE[kind]} {name!r}: there is no module {error.name!r}; it must be importable here"
            ) from error
        raise _missing(kind, name, None, error) from error
    except (SyntaxError, NameError, AttributeError, TypeError, ValueError) as error:
        raise _broken(kind, name, error) from error


# Modules loaded from a path get a name made from it, the same in every process.
_FILE_PREFIX = "gristmill_part_"


def _from_file(kind: Kind, name: str, folder: Path) -> ModuleType:
    path = (folder / name).resolve()
    module_name = _FILE_PREFIX + hashlib.sha256(str(path).encode()).hexdigest()[:12]
    if module_name in sys.modules:
        return sys.modules[module_name]
    if not path.is_file():
        near = suggestion(path.name, [file.name for file in path.parent.glob("*.py")])
        raise ConfigError(f"unknown {_ONE[kind]} {name!r}: there is no file {str(path)!r}{near}")
    spec = spec_of(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{_ONE[kind]} {name!r}: {str(path)!r} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    loaded = False
    try:
        spec.loader.exec_module(module)
        loaded = True
    except ImportError as error:
        raise _missing(kind, name, path, error) from error
    except (SyntaxError, NameError, AttributeError, TypeError, ValueError) as error:
        raise _broken(kind, name, error) from error
    finally:
        if not loaded:
            del sys.modules[module_name]
    return module


def _one_class(kind: Kind, name: str, module: ModuleType) -> PartType:
    found = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, _BASES[kind])
        and value.__module__ == module.__name__
        and not key.startswith("_")
    ]
    if len(found) == 1:
        return found[0]
    what = ", ".join(cls.__name__ for cls in found) if found else "none"
    raise ConfigError(
        f"{_ONE[kind]} {name!r}: its module must hold exactly one public {_BASES[kind].__name__} class; "
        f"{module.__file__} holds {what}" + ("; give the others a leading underscore" if found else "")
    )


def _missing(kind: Kind, name: str, file: Path | None, error: ImportError) -> MissingExtra:
    extra = _constant(file, "EXTRA") if file else None
    install = f'pip install "gristmill[{extra}]"' if extra else "install the package that provides it"
    return MissingExtra(f"{_ONE[kind]} {name!r} needs what is not installed ({error}); {install}")


def _broken(kind: Kind, name: str, error: Exception) -> ConfigError:
    where = f" at {error.filename}:{error.lineno}" if isinstance(error, SyntaxError) else ""
    what = error.msg if isinstance(error, SyntaxError) else error
    return ConfigError(f"{_ONE[kind]} {name!r} cannot be imported: {type(error).__name__}{where}: {what}")


def _constant(file: Path, name: str) -> str | None:
    for node in ast.parse(file.read_bytes()).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if (
            any(_last(target) == name for target in targets)
            and isinstance(node, ast.Assign | ast.AnnAssign)
            and node.value
        ):
            return str(ast.literal_eval(node.value))
    return None


def _summary(kind: Kind, path: Path) -> str | None:
    """Give the first docstring line of a file that holds one part, else None."""
    if path.name.startswith("_") or "formats" in path.relative_to(_HOME).parts:
        return None
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return None
    bases = set(_BASE_NAMES[kind])
    public = 0
    documented = ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and bases & {_last(base) for base in node.bases}:
            bases.add(node.name)
            public += not node.name.startswith("_")
            documented = documented or ast.get_docstring(node) or ""
    return (documented.splitlines() or [""])[0] if public == 1 else None


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""

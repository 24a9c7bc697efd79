"""Modules of the user's own: `package.module` or `./file.py`, found without importing them, and imported.

For what a config names by `place:function` (custom steps, dlt resources). Not here: parts, which `core.find` finds. Invariants: a file is
imported once a process, and again after its content changes; what runs is what the file holds, never what Python once compiled of it; a file
that fails to import leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType


class _Source(SourceFileLoader):
    """Compiles what the file holds.

    Python's cache knows a file by its size and the second it was written in: of two versions with both alike it runs the older one.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def spec_of(name: str, path: Path) -> ModuleSpec | None:
    """Give how a file is imported under a name; None if it is called otherwise than a Python file."""
    if path.suffix != ".py":
        return None
    return importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))


def is_file(place: str) -> bool:
    """Tell `./file.py` from `package.module`."""
    return place.endswith(".py") or "/" in place


def source_of(place: str, folder: Path) -> Path | None:
    """Give the file that `./file.py` or `package.module` stands for, None where there is none; no package is imported to find it."""
    if is_file(place):
        path = folder / place
        return path if path.is_file() else None
    if place in sys.modules:
        file = getattr(sys.modules[place], "__file__", None)
        return Path(file) if file and file.endswith(".py") else None
    try:
        parts = place.split(".")
        spec = importlib.util.find_spec(parts[0])
        for depth in range(2, len(parts) + 1):
            if spec is None:
                return None
            spec = PathFinder.find_spec(".".join(parts[:depth]), spec.submodule_search_locations)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def load(place: str, folder: Path) -> ModuleType:
    """Import a module, or a file under a name made of its path and content.

    Raises:
        ImportError: there is no such module, or the file is no Python; whatever importing it raises.
    """
    if not is_file(place):
        return importlib.import_module(place)
    path = folder / place
    digest = hashlib.sha256(str(path.resolve()).encode() + path.read_bytes()).hexdigest()[:16]
    name = f"_gristmill_own_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_of(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look a class's module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module

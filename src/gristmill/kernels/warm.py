"""Warming up: every kernel compiled ahead (`gristmill warmup`, container images), and whether that has been done.

Importing a kernel module compiles its kernels or loads them from Numba's cache, which lies beside the source, or
under `NUMBA_CACHE_DIR`, or in the user's cache folder where the install is read-only. Not here: what the CLI prints.
Invariant: `is_warm` imports nothing heavy and never fails; a wrong answer costs one line on the terminal.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent


def warm() -> None:
    """Compile every kernel, or load it from the cache."""
    from gristmill.kernels import (
        characters,
        counts,
        hashing,
        jsonl,
        lowercase,
        normal,
        parse,
        profile,
        punctuation,
        remove,
        whitespace,
    )

    assert all((characters, counts, hashing, jsonl, lowercase, normal, parse, profile, punctuation, remove, whitespace))


def is_warm() -> bool:
    """Tell if compiled kernels of this source and this Python lie in one of Numba's caches (best effort)."""
    try:
        folders = _cache_folders()
        return all(_is_cached(name, folders) for name in kernel_modules())
    except OSError:
        return False


def kernel_modules() -> list[str]:
    """Give the names of the modules of this folder that hold kernels, sorted."""
    holds_kernel = re.compile(r"^@(kernel|njit)\(", re.MULTILINE)
    return sorted(path.stem for path in HERE.glob("*.py") if holds_kernel.search(path.read_text("utf-8")))


def _is_cached(name: str, folders: list[Path]) -> bool:
    # Numba keeps the digest of the source in the index (numba.core.caching.get_source_stamp).
    digest = hashlib.sha256((HERE / f"{name}.py").read_bytes()).digest()
    pattern = f"{name}.*py{sys.version_info.major}{sys.version_info.minor}*.nbi"
    return any(digest in index.read_bytes() for folder in folders for index in folder.glob(pattern))


def _cache_folders() -> list[Path]:
    """Give where Numba may keep these kernels: it names folders after the source's, with a hash behind."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return list(Path(chosen).glob(f"{HERE.name}_*"))
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"
    return [HERE / "__pycache__", *user.glob(f"{HERE.name}_*")]

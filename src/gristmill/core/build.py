"""What build of gristmill runs here: its own source, and the libraries that the bytes it writes depend on.

Not here: the config's fingerprint (`config.changes`). Invariant: two processes with the same build make the same bytes of the same task; it
goes into no fingerprint, so that an upgrade alone changes no record.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import unicodedata
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
_LIBRARIES = ("numba", "numpy", "pyarrow")


@functools.cache  # what a process has imported stays what it was, whatever becomes of the files
def code_fingerprint(folder: Path = PACKAGE) -> str:
    """Give a digest of this gristmill's own source: recorded in the manifest, never part of the config's fingerprint."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def build() -> dict[str, str]:
    """Give what must be the same wherever tasks of one run are done."""
    return {
        "gristmill": code_fingerprint()[:12],
        "python": platform.python_version(),
        "unicode": unicodedata.unidata_version,
        **{name: version(name) for name in _LIBRARIES},
    }

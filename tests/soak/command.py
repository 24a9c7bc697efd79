"""The warm process whose children are command lines: `gristmill VERB ...` in a folder, without the imports.

    python -m tests.soak.command LOG

`PRELOAD` names a file with the names of modules; they are imported before the first child is forked. Not here: the runs of the
first crash tests (`child`), which call the pipeline. Invariant: a child does what the installed command does, from the arguments to
the exit code; what it says goes to a file beside its folder.
"""

import contextlib
import ctypes
import importlib
import os
import resource
import sys
from pathlib import Path

from tests.soak import loaded

from gristmill import cli
from gristmill.core import stopping
from gristmill.testing import crash


def command(folder: str, *argv: str) -> int:
    """Do `gristmill ARGV -c FOLDER/gristmill.yml` in a folder; `LIMIT_MB` in the environment: so much more memory than it has now; `SAID`: where it speaks to."""
    handle = os.open(os.environ.get("SAID") or said(Path(folder)), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    for fd in (1, 2):
        os.dup2(handle, fd)
    if "SHIM_STATE" in os.environ:
        ctypes.CDLL(None).shim_arm()
    if "LIMIT_MB" in os.environ:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = used + (int(os.environ["LIMIT_MB"]) << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.chdir(folder)
    stopping.stop_by_sigterm()
    if "MODULES" in os.environ:
        code = cli.perform([*argv, "-c", f"{folder}/gristmill.yml"])
        Path(os.environ["MODULES"]).write_text("\n".join(sys.modules), "utf-8")
        return code
    return cli.perform([*argv, "-c", f"{folder}/gristmill.yml"])


def said(tree: Path) -> Path:
    """Give the file that holds what the commands in a folder said."""
    return tree.with_name(f"{tree.name}.said")


def preload(names: list[str]) -> None:
    """Import modules; one that cannot be imported by its name alone is left out."""
    for name in names:
        if not name.startswith(("__", "tests.")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


if __name__ == "__main__":
    loaded.load()
    preload(Path(os.environ["PRELOAD"]).read_text("utf-8").splitlines() if "PRELOAD" in os.environ else [])
    crash.serve(command, sys.argv[1])

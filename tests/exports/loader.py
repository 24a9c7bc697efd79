"""The warm process of the kill tests: imports what a load needs, then forks a load for each question.

python -m tests.exports.loader LOG
"""

import sys
from pathlib import Path

import gristmill.database.loading
import gristmill.database.readback
import gristmill.database.writing  # noqa: F401
from gristmill.config import bind
from gristmill.core.errors import GristmillError
from gristmill.engine import loads
from gristmill.exports.sql import Sql
from gristmill.sources.files import Files
from gristmill.store.layout import Layout
from gristmill.store.snapshot import read_manifest
from gristmill.testing import crash


def load(folder: str, dsn: str, seq: str) -> int:
    """Load a snapshot as a run does, with its retries."""
    layout = Layout(Path(folder) / "corpus")
    config = bind.from_parts(str(layout.root), [Files(path=f"{folder}/data/*.jsonl")])
    export = Sql(dsn=dsn, table="docs", wait="20s")
    try:
        done = loads.load("rows", export, config, layout, read_manifest(layout.manifest(int(seq))), thorough=False)
    except GristmillError as error:
        sys.stdout.write(f"{seq}: {type(error).__name__}: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{seq}: {done}\n")
    return 0


if __name__ == "__main__":
    crash.serve(load, sys.argv[1])

"""The warm process of the crash tests: imports gristmill whole, then forks a run for each question.

python -m tests.soak.child LOG
"""

import os
import sys
from pathlib import Path

from tests.soak import loaded
from tests.soak.results import say

from gristmill import Pipeline
from gristmill.core.errors import GristmillError, Stopped
from gristmill.engine import run as engine_run
from gristmill.testing import crash


def run(folder: str, workers: str, wait_s: str = "0") -> int:
    """Run the pipeline in a folder; more than one worker means worker processes, however small the work is."""
    if workers != "1":
        engine_run.INLINE_BYTES = 0
    try:
        report = Pipeline.from_file(Path(folder) / "gristmill.yml").run(workers=int(workers), wait_s=float(wait_s))
    except (GristmillError, Stopped) as error:
        say(f"{os.getpid()} {folder}: {type(error).__name__}: {error}")
        return error.exit_code
    say(f"{os.getpid()} {folder}: {report.status} {report.run} {report.errors}")
    return 0


if __name__ == "__main__":
    loaded.load()
    crash.serve(run, sys.argv[1])

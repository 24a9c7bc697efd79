"""The warm process of the state machine, which forks runs that may be killed.

python -m tests.properties.child LOG
"""

import sys
from pathlib import Path
from unittest.mock import patch

from tests.soak import loaded

from gristmill import Pipeline
from gristmill.store import index
from gristmill.testing import crash

SMALL = {"ROW_GROUP_ROWS": 2, "COMPACT_RUNS": 2, "COMPACT_ROWS": 9}  # of an index: its runs are compacted early


def run(folder: str) -> int:
    """Run the pipeline in a folder; anything but a good end is told in the log and leads to 1."""
    with patch.multiple(index, **SMALL):
        report = Pipeline.from_file(Path(folder) / "gristmill.yml").run(workers=1)
    return 0 if report.status in {"published", "nothing_new"} else 1


if __name__ == "__main__":
    loaded.load()
    crash.serve(run, sys.argv[1])

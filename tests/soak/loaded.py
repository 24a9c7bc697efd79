"""What a run loads, loaded before runs are forked: each would load it anew, a second of processor time against half of one for the run.

Not here: what a pipeline of its own has beside this (`PRELOAD` of `tests.soak.command`). Invariant: things are imported and nothing is run, so that
no thread is alive when a run is forked.
"""

import importlib

from gristmill import cli

LOADED = (
    "gristmill.dataset",
    "gristmill.engine.executors.inline",
    "gristmill.engine.executors.preload",
    "gristmill.exports.jsonl",
    "gristmill.exports.parquet",
    "gristmill.pipeline",
    "gristmill.report.page",
    "gristmill.sources.files",
    "gristmill.steps.clean.lowercase",
    "gristmill.steps.clean.text",
    "gristmill.steps.custom",
    "gristmill.steps.dedup.exact",
    "gristmill.steps.filter.length",
    "gristmill.steps.require",
    "numpy.ma",
    "pyarrow.dataset",
)


def load() -> None:
    """Import it, make the command, and let it read a command line: what reads those is loaded then."""
    for name in LOADED:
        importlib.import_module(name)
    cli.command().commands["log"].make_context("log", [])

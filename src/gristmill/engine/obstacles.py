"""What keeps a run from beginning, whatever its sources bring: told by `check` and `plan`, asked again by the run itself.

Not here: each of the questions (`engine.begin`, `engine.rights`, `engine.ownfiles`, `config.changes`). Invariant: nothing is changed, though modules of
the user's own are imported; what a run refuses before it asks its sources, these tell.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable
from functools import partial

from gristmill.config import changes, load
from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import ConfigError, GristmillError
from gristmill.engine import begin, drift, ownfiles, rights
from gristmill.engine.work import Mode
from gristmill.observe import channels
from gristmill.store.layout import Layout


def of_parts(config: PipelineConfig, layout: Layout, *, every: bool = False) -> list[str]:
    """Say what no run can begin with: parts, places, distributions there are not, what Ray lacks; that loads only if it is asked for.

    every: what keeps an export from being made too, which a run publishes without.
    """
    found = [*_of_names(), *changes.problems(config, sources=False), *rights.unwritable(config, layout, every=every)]
    found += [*layout.files.problems(), *drift.strangers(config)]
    if config.run.engine == "local":
        return found
    from gristmill.engine.executors import ray

    return [*found, *ray.problems(config.file, config.run.ray.address)]


def obstacles(config: PipelineConfig, layout: Layout, mode: Mode = "forward", *, every: bool = False) -> list[str]:
    """Say what keeps a run in this mode from beginning: `of_parts`, modules that do not import, what the newest snapshot has not."""
    found: list[str] = []
    _ask(found, config, lambda: found.extend(of_parts(config, layout, every=every)))
    _ask(found, config, partial(begin.check_steps, config))
    if not found:  # else the dataset may be no folder
        _ask(found, config, partial(begin.check_newest, config, layout, mode))
    return found


def examine(config: PipelineConfig, layout: Layout) -> tuple[list[str], list[str]]:
    """Give all that would stop a run, with this overlay or another, or leave people untold of it, its sources and exports asked too, and notes on what would not."""
    found, notes = changes.examine(config)
    if (file := config.file) is not None:
        _ask(found, config, lambda: found.extend(load.in_overlays(file)))
    untold, unsure = channels.problems(config.alerts)
    found += [told for bound in config.sources if (told := ownfiles.problem(bound, config, layout))]
    found += [*obstacles(config, layout, every=True), *rights.textfile_problems(config), *untold]
    absent = [seq for seq in config.retention.pinned if not layout.manifest(seq).exists()]
    notes += unsure
    notes += [f"retention.pinned: there is no snapshot {seq} in {layout.name} now" for seq in absent]
    return list(dict.fromkeys(found)), notes


def _of_names() -> list[str]:
    """Say so where Python takes names of files for something else than UTF-8: units and ids would be others than elsewhere."""
    found = sys.getfilesystemencoding()
    if codecs.lookup(found).name == "utf-8":
        return []
    told = "set LC_ALL=C.UTF-8, or PYTHONUTF8=1, and run again"
    return [
        f"this process takes the names of files for {found}: units and ids would be others than under UTF-8; {told}"
    ]


def _ask(found: list[str], config: PipelineConfig, question: Callable[[], None]) -> None:
    try:
        question()
    except ConfigError as error:
        found += error.problems
    except GristmillError as error:
        found.append(config.redact(str(error)))

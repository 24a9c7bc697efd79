"""Where the dataset of a config lies, and how its files are reached.

Not here: what a place is (`store.layout`). Invariant: every process of a run gets its layout here, so that all see the same files.
"""

from __future__ import annotations

from gristmill.config.settings import PipelineConfig
from gristmill.store.layout import Layout, locate


def layout_of(config: PipelineConfig) -> Layout:
    """Give the layout of a config's dataset."""
    work_dir = config.folder / config.work_dir if config.work_dir is not None else None
    return locate(config.dataset, config.storage, work_dir, config.run.lease_s)

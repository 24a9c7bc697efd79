"""The page of a run, made and written: the way into this room.

Not here: what stands on it (`model`), where it comes from (`stored`). Invariant: writing a page changes nothing else, and readers of the
file see the old page or the new one whole.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gristmill.core import access
from gristmill.report import model, render, stored
from gristmill.store.layout import Layout

Json = dict[str, Any]


def make(layout: Layout, report: Json) -> str:
    """Give the page of the run that `report` tells of."""
    return render.render("report.html", {"page": model.page(report, stored.gather(layout, report))})


def write(layout: Layout, report: Json) -> Path:
    """Write `report.html` of a run; it can be made again at any time, so it is not synced."""
    path = layout.page(report["run"])
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    page = make(layout, report).encode()
    with access.create(scratch) as file:
        file.write(page)
    scratch.replace(path)
    return path

"""Views for notebooks: a report, a dataset, a pipeline as a few lines of HTML.

Not here: the whole page of a run (`page`). Invariants: a view is small, styles nothing but itself, and is as harmless as a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gristmill.report import model, render, words

Json = dict[str, Any]

SHOWN = 8


def report(plain: Json) -> str:
    """Give what a run did: verdict, figures, both laws, the commonest reasons of drops."""
    counts = plain["counts"]
    told = [(name, n) for key in ("dropped", "duplicates", "quarantined") for name, n in counts[key].items()]
    values = {
        "verdict": model.verdict(plain),
        "run": plain["run"],
        "cards": model.cards(plain),
        "laws": model.laws(plain),
        "lost": sorted(told, key=lambda item: (-item[1], item[0]))[:SHOWN],
        "left": max(0, len(told) - SHOWN),
    }
    return render.render("notebook_report.html", values)


def dataset(path: str, runs: Sequence[Json]) -> str:
    """Give how a dataset stands: its newest runs."""
    values = {"name": words.last_part(path), "runs": list(runs)[-SHOWN:][::-1], "all": len(runs)}
    return render.render("notebook_dataset.html", values)


def pipeline(path: str, parts: Sequence[tuple[str, str, str]]) -> str:
    """Give what a pipeline is made of. parts: kind, name, what it is."""
    return render.render("notebook_pipeline.html", {"name": words.last_part(path), "parts": list(parts)})

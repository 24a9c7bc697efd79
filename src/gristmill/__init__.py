"""gristmill: production ETL for LLM training data.

Not here: anything but the public names, loaded when asked for, so that `import gristmill` costs nothing. Invariant:
what stands in `__all__` is what others may rely on.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Batch": "core.batch",
    "BoundStep": "core.step",
    "ConfigError": "core.errors",
    "Counts": "core.counts",
    "Dataset": "dataset",
    "Drop": "steps.custom",
    "Export": "core.export",
    "Filter": "core.step",
    "Gate": "config.settings",
    "GateRefused": "core.errors",
    "GlobalStep": "core.step",
    "GristmillError": "core.errors",
    "LockedError": "core.errors",
    "Pipeline": "pipeline",
    "Report": "engine.report",
    "RunSettings": "config.settings",
    "Source": "core.source",
    "Step": "core.step",
    "Transform": "core.step",
}

__all__ = [*_WHERE, "__version__"]  # noqa: PLE0604  every key is a string


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _WHERE:
        raise AttributeError(
            f"module 'gristmill' has no attribute {name!r}; public names: {', '.join(sorted(__all__))}"
        )
    value = getattr(import_module(f"gristmill.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Give the public names."""
    return sorted(__all__)

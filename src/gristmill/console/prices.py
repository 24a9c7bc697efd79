"""What estimates and the trend of costs look like on a terminal.

Not here: making them (`engine.estimate`, `engine.cost`). Invariant: whatever is shown says its unit.
"""

from __future__ import annotations

from typing import Any

from gristmill.console.terminal import size, table, visible, wrap

Json = dict[str, Any]


def estimate_lines(told: Json | None, room: int | None) -> list[str]:
    """Give what a run will take; nothing without an estimate."""
    if told is None:
        return []
    where = f"{told['machines']} machine" + ("s" if told["machines"] > 1 else "")
    exports = sum(told["exports"].values())
    lines = [
        f"estimate, from doing {size(told['sampled_bytes'])} of {size(told['bytes'])} on this machine:",
        f"  time       {duration(told['seconds'])} on {where} with {told['cores']} cores ({told['mb_per_s']:.1f} MB/s as stored)",
        f"  processor  {duration(told['cpu_seconds'])} of a core",
        f"  memory     {told['memory_mb']:,.0f} MB a machine",
        f"  storage    {size(told['dataset_bytes'])} in the dataset"
        + (f" and once more {size(exports)} in exports, which hold the same texts" if exports else "")
        + f"; {size(told['staging_bytes'])} more while it runs",
    ]
    if told["cost"]:
        parts = ", ".join(f"{name} {value:.4g}" for name, value in told["cost"]["parts"].items())
        lines.append(f"  cost       {told['cost']['total']:.4g} {told['cost']['currency']} ({parts})")
    else:
        lines.append("  cost       the config has no prices (cost.core_hour, cost.gb_month)")
    lines += table(("step", "MB/s a core"), [[step["name"], step["mb_per_s"]] for step in told["steps"]], room)
    for name, why in told["unknown"].items():
        lines += wrap(visible(f"{name}: {why}"), "  not estimated: ", room)
    return lines


def trend_lines(costs: list[Json], room: int | None) -> list[str]:
    """Give what the last runs cost."""
    rows = [[run["run"], f"{run['total']:.4g}", run["currency"], f"{run['per_gb']:.4g}"] for run in costs]
    return ["", *table(("run", "cost", "in", "a GB read"), rows, room)] if rows else []


def duration(seconds: float) -> str:
    """Give a span of time as people read it."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"

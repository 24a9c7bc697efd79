"""The verbs `diff`, `rollback`, `gc` and `upgrade`: what is done with snapshots that are there.

Not here: how (`audit.compare`, `engine.rollback`, `engine.garbage`, `engine.upgrade`). Invariants: `diff` and `gc --dry-run` change nothing
and take no lock; the others wait for it if asked to, and say on standard output what they did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gristmill.console import session
from gristmill.console.options import Setting, Wait
from gristmill.console.session import answer, open_dataset, open_to_read, room, tell
from gristmill.console.terminal import count, plural, size, table, visible, wrap

if TYPE_CHECKING:
    from gristmill.dataset import Dataset

Json = dict[str, Any]

_WHATS = {"added": "came", "gone": "went", "changed": "changed"}


def diff(
    old: Annotated[int, typer.Argument(metavar="A", help="a snapshot")],
    new: Annotated[int | None, typer.Argument(metavar="B", show_default=False, help="default: the newest")] = None,
    n: Annotated[int, typer.Option("-n", min=0, metavar="N", help="ids to show of each kind")] = 10,
) -> None:
    """Show what came, went and changed from one snapshot to another."""
    found = open_to_read()[1].diff(old, new, n=n)
    answer(found, lambda: difference_lines(found, room()))


def rollback(
    seq: Annotated[int, typer.Argument(metavar="SEQ", help="the snapshot whose rows are wanted back")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="kept in the lineage")] = "",
    wait: Wait = 0.0,
    setting: Setting = None,
) -> None:
    """Publish the rows of an earlier snapshot as a new one."""
    pipeline, dataset = open_dataset(setting)
    raise typer.Exit(
        session.conduct(
            pipeline,
            lambda events: dataset.rollback(seq, why=why, config=pipeline.config, wait_s=wait, events=events),
        )
    )


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go; change nothing")] = False,
    keep_last: Annotated[int | None, typer.Option(min=1, metavar="N", help="keep the newest N snapshots whole; default: as the config says")] = None,
    keep_days: Annotated[int | None, typer.Option(min=1, metavar="D", help="keep snapshots younger than D days whole")] = None,
    pin: Annotated[int | None, typer.Option(metavar="SEQ", help="from now on keep this snapshot; nothing is removed")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="with --pin: what the pin is called")] = None,
    unpin: Annotated[str | None, typer.Option(metavar="SEQ|NAME", help="take a pin away; nothing is removed")] = None,
    wait: Wait = 0.0,
    setting: Setting = None,
) -> None:  # fmt: skip
    """Remove what no snapshot needs, and old snapshots by retention."""
    if name is not None and pin is None:
        raise typer.BadParameter("--name belongs to --pin SEQ")
    if (pin is not None) + (unpin is not None) + (dry_run or keep_last is not None or keep_days is not None) > 1:
        raise typer.BadParameter("pin, unpin or collect: one at a time")
    pipeline, dataset = open_dataset(setting)
    if pin is not None or unpin is not None:
        before = dataset.pins()
        if pin is not None:
            pins = dataset.pin(pin, name, wait_s=wait)
        else:
            pins = dataset.unpin(unpin or "", config=pipeline.config, wait_s=wait)
        answer({"pins": pins}, lambda: [f"pinned: {visible(each)}: snapshot {seq}" for each, seq in pins.items()])
        if unpin is not None and pins == before:
            tell(f"note: there is no pin {visible(unpin)}")
        if not pins:
            tell("nothing is pinned")
        return
    found = dataset.gc(pipeline.config, keep_last=keep_last, keep_days=keep_days, dry_run=dry_run, wait_s=wait)
    answer(found, lambda: garbage_lines(found))


def upgrade(wait: Wait = 0.0, setting: Setting = None) -> None:
    """Bring the dataset forward to the newest format."""
    pipeline, dataset = open_dataset(setting)
    with session.listening() as events:
        found = dataset.upgrade(pipeline.config, wait_s=wait, events=events)
    answer(found, lambda: upgraded_lines(found))


def status_of(line: Json) -> str:
    """Give how a run of the log ended, whether it was a rollback, and what became of its snapshot since."""
    told = [line["status"]]
    told += [f"rollback to {line['rolled_back_to']}"] if line.get("rolled_back_to") else []
    return ", ".join([*told, "collected"] if line.get("collected") else told)


def notes_on(dataset: Dataset, report: Json) -> list[str]:
    """Give what is to be said of a run's snapshot beside its report."""
    when = dataset.collected(report["run"]) if report.get("run") else None
    return [f"note: gc collected this snapshot on {when}: its rows are gone, this report stays"] if when else []


# --- lines -------------------------------------------------------------------------------------------------------


def difference_lines(found: Json, width: int | None) -> list[str]:
    """Give a difference as lines: how many, by source, how long, the reasons, the runs, the config, the first ids."""
    old, new = found["old"], found["new"]
    lines = [
        f"snapshot {old['snapshot']}: {plural(old['rows'], 'document')}, {size(old['bytes'])}",
        f"snapshot {new['snapshot']}: {plural(new['rows'], 'document')}, {size(new['bytes'])}",
    ]
    rows = [
        [_WHATS[what], found[what]["records"], *(_length(found[what]["chars"], name) for name in ("p10", "p50", "p90"))]
        for what in _WHATS
    ]
    lines += table(("", "documents", "chars p10", "p50", "p90"), rows, width)
    names = sorted({name for what in _WHATS for name in found[what]["sources"]})
    if names:
        by_source = [[name, *(found[what]["sources"].get(name, 0) for what in _WHATS)] for name in names]
        lines += ["", *table(("source", *_WHATS.values()), by_source, width)]
    reasons = [[what, why, n] for what, whys in found["reasons"].items() for why, n in sorted(whys.items())]
    if reasons:
        lines += ["", *table(("in the runs between", "reason", "records"), reasons, width)]
    lines += _runs(found, width)
    for what, told in _WHATS.items():
        lines += wrap(", ".join(map(visible, found[what]["ids"])), f"{told}: ", width) if found[what]["ids"] else []
    return lines


def _length(chars: Json, name: str) -> object:
    return chars.get(name)


def _runs(found: Json, width: int | None) -> Iterator[str]:
    for run in found["runs"]:
        numbers = ", ".join(f"{name} {count(run[name])}" for name in ("read", "published", "withdrawn"))
        yield f"run {run['run']}: {numbers}"
        for entry in run["lineage"]:
            yield from wrap(", ".join(f"{key}: {visible(value)}" for key, value in entry.items()), "  ", width)
    for change in found["config"]:
        yield from wrap(visible(change), "config: ", width)


def garbage_lines(found: Json) -> list[str]:
    """Give what gc removed, or would."""
    rows = [[kind, found["files"][kind], size(found["bytes"][kind])] for kind in found["files"] if found["files"][kind]]
    would = "would go" if found["dry_run"] else "gone"
    lines = table(("kind", "files", would), rows) if rows else []
    lines.append(f"{would}: {size(found['total_bytes'])}")
    if found["collected"]:
        lines.append(f"no longer whole: {_numbers(found['collected'])}")
    return [*lines, f"whole: {_numbers(found['kept']) or 'none yet'}"]


def _numbers(seqs: Iterable[int]) -> str:
    """Give numbers as ranges: 1-3, 7."""
    runs: list[list[int]] = []
    for seq in sorted(seqs):
        if runs and seq == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], seq]
        else:
            runs.append([seq, seq])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def upgraded_lines(found: Json) -> list[str]:
    """Give what an upgrade did."""
    if not found["steps"]:
        return [f"there is nothing to do: the dataset has format {found['newest']}, the newest"]
    lines = [f"format {found['found']} became {found['newest']} with snapshot {found['snapshot']}"]
    return [*lines, *(f"  {visible(step)}" for step in found["steps"])]

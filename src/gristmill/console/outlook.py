"""The outlook: what a run would do and how a dataset stands, as lines of text.

Not here: finding it (`survey`), how a text or table is fitted to a terminal (`terminal`). Invariant: what was not asked
for or could not be asked is told as that, never as a number.
"""

from __future__ import annotations

from typing import Any

from gristmill.console.terminal import plural, size, table, visible, wrap

Json = dict[str, Any]

_CHOICES = {
    "forward": "for what is new only; earlier records keep their verdicts (the default)",
    "redecide": "applies the changed thresholds to stored signals",
    "full-refresh": "reads all there is again and decides about it anew",
}
_SHOWN = 5  # units of a source that cannot be read


def plan_lines(plan: Json, room: int | None) -> list[str]:
    """Give what a run would find and do."""
    now = f"snapshot {plan['snapshot']}" if plan["snapshot"] else "empty"
    lines = [f"dataset {visible(plan['dataset'])}, {now}"]
    head = ("source", "new", "changed", "gone", "unreadable", "unchanged", "to read")
    asked = {name: found for name, found in plan["sources"].items() if found["left_out"] is None}
    rows = [
        [name, *(found[key] for key in ("new", "changed", "gone")), len(found["failed"]), found["unchanged"], size(found["bytes"])]
        for name, found in asked.items()
    ]  # fmt: skip
    lines += table(head, rows, room) if rows else []
    for name, found in asked.items():
        for unit, code, detail in found["failed"][:_SHOWN]:
            lines += wrap(visible(f"{name}: {unit}: {code}: {detail}"), "  ! ", room)
        more = len(found["failed"]) - _SHOWN
        lines += [f"  ! {visible(name)}: and {more:,} more"] if more > 0 else []
    for name, found in plan["sources"].items():
        if found["failure"] is not None:
            lines += wrap(visible(f"{name} failed and would be left out: {found['failure']}"), "  ! ", room)
    for name, found in plan["sources"].items():
        if found["again"]["tasks"]:
            again = f"{plural(found['again']['tasks'], 'task')} over {size(found['again']['bytes'])}"
            lines += wrap(f"{visible(name)}: read again, although nothing in it is new: {again}", "", room)
    others = [name for name, found in plan["sources"].items() if not found["asked"]]
    lines += wrap(f"not asked: {', '.join(map(visible, others))}", "", room) if others else []
    if plan["config_changes"]:
        lines.append("the config changed since the snapshot:")
        lines += [line for told in plan["config_changes"] for line in wrap(visible(told), "  ~ ", room)]
        for choice, told in plan["choices"].items():
            touches = plural(told["records"], "record") if not told["why_not"] else "not now"
            lines += wrap(f"--{choice}: {_CHOICES[choice]}: {touches}", "  ", room)
            lines += (
                wrap(visible(told["why_not"].removeprefix(f"--{choice}: ")), "      ", room) if told["why_not"] else []
            )
    if plan["unfinished"]:
        lines.append(f"run {plan['unfinished']} did not end; a run goes on with it if the config is the same")
    if plan["nothing_new"]:
        return [*lines, "nothing new: a run would publish nothing"]
    steps = ", ".join(map(visible, plan["steps"]))
    work = f"{plural(plan['tasks'], 'task')} over {size(plan['bytes'])}"
    lines += wrap(f"{work}: {steps}" if steps else work, "would run: ", room)
    after = ", ".join(map(visible, plan["exports"]))
    return [*lines, *wrap("gate, commit" + (f", exports {after}" if after else ""), "then: ", room)]


def status_lines(status: Json, room: int | None) -> list[str]:
    """Give how the dataset stands."""
    newest = f"snapshot {status['snapshot']}, {status['rows']:,} documents" if status["snapshot"] else "no snapshot yet"
    lines = [f"dataset {visible(status['dataset'])}: {newest}"]
    last = status["last_run"]
    if last:
        going = status["lock"] and last["status"] == "unfinished"
        ended = "not ended yet" if going else last["status"].replace("_", " ")
        lines.append(f"last run {last['run']}: {ended}, started {last['started']}")
    if status["unfinished"]:
        lines.append(f"run {status['unfinished']} did not end; `gristmill run` goes on with it")
    if status["pins"]:
        pins = [str(seq) if name == str(seq) else f"{seq} ({visible(name)})" for name, seq in status["pins"].items()]
        lines += wrap(", ".join(pins), "pinned: snapshot ", room)
    if status["lock"]:
        lines.append(f"held by {visible(status['lock'])}")
    if status["sources"]:
        rows = [[name, found["units"], found["bad"], size(found["bytes"])] for name, found in status["sources"].items()]
        lines += ["", *table(("source", "units", "bad", "stored"), rows, room)]
    if status["exports"]:
        rows = [
            [name, found["state"], found["docs"], found["chunks"], found["path"]]
            for name, found in status["exports"].items()
        ]
        lines += ["", *table(("export", "state", "documents", "chunks", "path"), rows, room)]
    return lines

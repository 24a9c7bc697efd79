"""Options that several verbs take, each declared once.

Not here: what verbs do with them (`cli`), those that every verb takes (`cli.each_verb`). Invariant: an option means the same in every verb.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from gristmill.console.session import complain

Setting = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a config value")]
Workers = Annotated[int | None, typer.Option(min=1, metavar="N", help="worker processes; default: one a core")]
Accept = Annotated[list[str] | None, typer.Option(metavar="RULE", help="a gate rule that need not hold (with --why)")]
Why = Annotated[str, typer.Option(metavar="TEXT", help="why it need not hold; kept in the lineage")]
Source = Annotated[str | None, typer.Option(metavar="NAME", help="this source only; the others stay as they are")]
Window = Annotated[
    str | None,
    typer.Option(
        metavar="SINCE..UNTIL", help="with --source: this part of it, by its cursor; with both ends a backfill"
    ),
]


def _seconds(value: float) -> float:
    """Refuse what is no time to wait; Click reads `nan`, which would be for ever."""
    if not value >= 0:
        raise typer.BadParameter("it takes seconds, 0 or more; without a number it is for ever")
    return value


Wait = Annotated[
    float,
    typer.Option(
        metavar="[SECONDS]", show_default=False, callback=_seconds, help="wait for a run that holds the dataset"
    ),
]
Seq = Annotated[int | None, typer.Argument(metavar="SEQ", show_default=False, help="default: the newest")]


def each_decider(
    forward: Annotated[bool, typer.Option("--forward", help="decide about what is new only (the default)")] = False,
    redecide: Annotated[bool, typer.Option("--redecide", help="apply changed thresholds of filters to stored signals")] = False,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="read all there is again, and decide about it anew")] = False,
) -> None:  # fmt: skip
    """Declare what `plan` and `run` may be told about records that were decided before."""


def mode_of(asked: Any) -> Literal["forward", "redecide", "full-refresh"]:
    """Give what is to be done about records that were decided before.

    Raises:
        BadParameter: two things at once.
    """
    if asked.forward + asked.redecide + asked.full_refresh > 1:
        raise typer.BadParameter("give one of --forward, --redecide and --full-refresh")
    return "full-refresh" if asked.full_refresh else "redecide" if asked.redecide else "forward"


def must_be_none(problems: list[str]) -> None:
    """Tell what would stop a run, and end the verb with exit code 2 if there is anything.

    Raises:
        Exit: there is.
    """
    complain(*problems)
    if problems:
        raise typer.Exit(2)

"""The verb `test`: the steps on the config's own example records, against what is expected of them.

Not here: running them (`engine.examples`). Invariant: the text that is shown is the config's own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from gristmill.console import terminal
from gristmill.console.options import Setting
from gristmill.console.session import ASKED, complain, open_pipeline, out, out_json, tell


def try_out(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False, help="default: all of them")] = None,
    setting: Setting = None,
) -> None:  # fmt: skip
    """Run the config's own tests: example records through the steps."""
    pipeline = open_pipeline(setting)
    done = pipeline.test(names)
    failed = sum(not each.ok for each in done)
    redact = pipeline.config.redact  # a text may hold what a reference stood for
    plain: list[dict[str, Any]] = [
        {"name": each.name, "ok": each.ok, "differences": [redact(told) for told in each.differences]} for each in done
    ]
    if ASKED.json:
        out_json({"ok": not failed, "passed": len(done) - failed, "failed": failed, "tests": plain})
    else:
        out(*_lines(plain, terminal.Ink(sys.stdout)))
    if not done:
        tell("the config has no tests; docs/how-to/test.md shows how to write some")
    if failed:
        complain(f"{terminal.plural(failed, 'test')} of {len(done)} failed")
        raise typer.Exit(1)


def _lines(tests: list[dict[str, Any]], ink: terminal.Ink) -> Iterator[str]:
    for each in tests:
        yield f"{ink('good', 'ok    ') if each['ok'] else ink('bad', 'FAILED')}  {terminal.visible(each['name'])}"
        for difference in each["differences"]:
            yield from (f"        {terminal.visible(line)}" for line in difference.split("\n"))

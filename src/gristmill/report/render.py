"""Rendering: the templates of this room (and of `ui`) with what keeps a page harmless.

All text is escaped; before that, everything that could act or hide in it is made visible (`core.visible`); a name a template does not
find is an error. Not here: what stands on a page (`model`). Invariants: a page has one style block, named by its hash in the policy, and
nothing else that is not text or shapes; it asks for nothing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from gristmill.core.visible import visible
from gristmill.report import words
from gristmill.report.bars import bar
from gristmill.report.bins import Bin
from gristmill.report.shapes import Shape

_BREAKS = re.compile(r"(?<=[:/_.?=#-])(?=\w)")
TEMPLATES = Path(__file__).parent / "templates"


@cache
def style() -> Markup:
    """Give the one style block of every page."""
    return Markup((TEMPLATES / "style.css").read_text("utf-8"))  # noqa: S704 - ours, and no data in it


@cache
def policy(forms: str = "'none'") -> str:
    """Give the content security policy: no script, no request, this style alone. forms: where a form may be sent to."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action {forms}"


def _compiled() -> jinja2.BytecodeCache | None:
    """Give where compiled templates are kept: beside Python's own for this room, if it can be written. Compiling takes 0.3 s."""
    folder = Path(__file__).parent / "__pycache__"
    return jinja2.FileSystemBytecodeCache(str(folder)) if os.access(folder, os.W_OK) else None


@cache
def environment(*more: Path) -> jinja2.Environment:
    """Give the templates; `more`: folders of others, which may build on ours."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([TEMPLATES, *more]),
        bytecode_cache=_compiled(),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": words.count,
        "short": words.cut,
        "name": _name,
        "share": lambda share: words.percent(share, 1),
        "size": words.size,
        "seconds": words.seconds,
        "counted": lambda pairs: [(name, words.count(n)) for name, n in pairs],
        "series_key": lambda series: [(name.partition(" ")[0], name) for name in series],
        "word_bar": _word_bar,
        "lines": _lines,
    }
    return made


def render(template: str, values: dict[str, Any], *more: Path, forms: str = "'none'") -> str:
    """Give a page."""
    return environment(*more).get_template(template).render({"style": style(), "csp": policy(forms)} | values)


def _finalize(value: Any) -> Any:
    """Make a value that goes into a page harmless; markup comes from our own templates only."""
    if isinstance(value, Markup | jinja2.Undefined) or value is None:
        return "" if value is None else value
    return visible(value)


def _name(text: str) -> Markup:
    """Give a name, cut, with places where a line may end: behind what joins its parts."""
    return Markup("<wbr />").join(_BREAKS.split(visible(words.cut(text))))


def _lines(text: str) -> Markup:
    """Give a text of several lines, each safe; for a block that keeps line ends and tabs."""
    return escape(visible(text, keep="\n\t"))


def _word_bar(found: Bin, shape: Shape) -> list[Any]:
    """Give the bar of a word: its share of what was published, or of what there is."""
    at = shape.series.index("published") if "published" in shape.series else 0
    return bar([(shape.series[at].partition(" ")[0], found.counts[at])], sum(one.counts[at] for one in shape.bins))

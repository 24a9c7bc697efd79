"""Marks: a text with what a verdict points at highlighted in it.

A verdict's `spans` is JSON text: a list of [first, end] or [first, end, word], counted in characters of the text its step saw.
Not here: how pages look. Invariants: every character of the text stands in the result once, made safe; spans that are not of that form,
or outside the text, mark nothing.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from markupsafe import Markup, escape

from gristmill.core.visible import visible


class Span(NamedTuple):
    """A part of a text, and what it was taken for."""

    first: int
    end: int
    word: str = ""


def spans_of(text: str | None) -> list[Span]:
    """Read a verdict's spans, sorted; what overlaps an earlier one is left out."""
    try:
        plain = json.loads(text or "[]")
    except ValueError:
        return []
    found = [
        Span(each[0], each[1], str(each[2]) if len(each) == 3 else "")
        for each in (plain if isinstance(plain, list) else [])
        if isinstance(each, list) and len(each) in {2, 3} and all(type(at) is int for at in each[:2])
    ]
    kept: list[Span] = []
    for span in sorted(found):
        if 0 <= span.first < span.end and (not kept or span.first >= kept[-1].end):
            kept.append(span)
    return kept


def marked(text: str, spans: list[Span], most: int) -> Markup:
    """Give the first `most` characters of a text, for a block that keeps line ends, with the spans marked."""
    parts, at = [], 0
    for span in spans:
        if span.end > min(len(text), most):
            break
        parts.append(_safe(text[at : span.first]))
        title = Markup(' title="{}"').format(visible(span.word)) if span.word else Markup("")
        parts.append(Markup("<mark{}>{}</mark>").format(title, _safe(text[span.first : span.end])))
        at = span.end
    return Markup("").join([*parts, _safe(text[at:most]), "…" if len(text) > most else ""])


def _safe(text: str) -> Markup:
    return escape(visible(text, keep="\n\t"))

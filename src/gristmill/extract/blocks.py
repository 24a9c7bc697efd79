"""Text as blocks, and which of them are the text proper: link density and length in context, after boilerpipe and jusText.

The blocks are the lines of resiliparse's minimal HTML: paragraphs, headings, list items, lines of preformatted text, each
with its links. Not here: choosing an extractor (`main_text`). A *good* block is long and hardly linked, or code; a *bad* one
is mostly links; the others count as what they stand beside. Invariants: linear; blocks keep their order and their words,
preformatted lines their spaces; without a good block only the bad ones go.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

_GOOD_CHARS = 60
_GOOD_LINKED, _BAD_LINKED = 0.33, 0.5
_CODE_CHARS = 40
_LINK = re.compile(r'<a\b(?:[^>"]|"[^"]*")*>(.*?)(?:</a>|$)')
_TAG = re.compile(r'</?[a-z](?:[^>"]|"[^"]*")*>')
_HEADING = re.compile(r"<h[1-6]\b")
_SENTENCE_END = re.compile(r"[.!?…:;\"”»)。！？]\s*$")
_DENSE = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)  # scripts that say in one character what others do in two


class Block(NamedTuple):
    """A line of text. width: its length, dense scripts counted twice; linked: share of it that is link text; gap: blank lines before."""

    text: str
    width: int
    linked: float
    is_heading: bool
    is_item: bool
    is_code: bool
    gap: bool

    @property
    def is_good(self) -> bool:
        """Whether it is text proper on its own."""
        if self.is_code:
            return self.width > _CODE_CHARS
        return self.width >= _GOOD_CHARS and self.linked < _GOOD_LINKED

    @property
    def is_bad(self) -> bool:
        """Whether it is mostly links."""
        return not self.is_code and self.linked > _BAD_LINKED

    @property
    def is_sentence(self) -> bool:
        """Whether it ends as a sentence does."""
        return _SENTENCE_END.search(self.text) is not None


class Found(NamedTuple):
    """All blocks of a text, and those of them that are the text proper."""

    all: list[Block]
    kept: list[Block]


def read(minimal_html: str) -> Found:
    """Cut minimal HTML into blocks and choose."""
    every = list(_blocks(minimal_html))
    good = [at for at, block in enumerate(every) if block.is_good]
    if not good:
        return Found(every, [block for block in every if not block.is_bad])
    start, end = good[0], good[-1] + 1
    while start > 0 and (every[start - 1].is_heading or (not every[start - 1].is_bad and every[start - 1].is_sentence)):
        start -= 1
    while end < len(every) and not every[end].is_bad and (every[end].is_sentence or every[end].is_item):
        end += 1
    return Found(every, [block for block in every[start:end] if not block.is_bad])


def text(blocks: list[Block]) -> str:
    """Give blocks as text: a blank line where there was one."""
    return "".join(("\n\n" if block.gap else "\n") + block.text for block in blocks).strip()


def chars(blocks: list[Block]) -> int:
    """Give the characters of all blocks."""
    return sum(len(block.text) for block in blocks)


def fluff(blocks: list[Block]) -> float:
    """Give the share of text in short blocks that do not end as sentences do: menus, tags, names, dates."""
    short = [block for block in blocks if not block.is_code and block.width < _GOOD_CHARS and not block.is_sentence]
    return chars(short) / max(chars(blocks), 1)


def _blocks(minimal_html: str) -> Iterator[Block]:
    is_code = gap = False
    numbers: list[int | None] = []  # of the open lists; None: bullets
    mark = ""
    for line in minimal_html.split("\n"):
        starts_code = "<pre" in line
        is_code = is_code or starts_code
        if not is_code:
            mark = _marked(line, numbers) or mark
        bare = html.unescape(_TAG.sub("", line))
        bare = bare.rstrip() if is_code else bare.strip()
        if bare.strip():
            linked = sum(len(html.unescape(_TAG.sub("", link)).strip()) for link in _LINK.findall(line))
            width = len(bare) + len(_DENSE.findall(bare))
            share = min(linked / len(bare), 1.0)
            yield Block(mark + bare, width, share, bool(_HEADING.search(line)), bool(mark), is_code, gap)
            gap, mark = False, ""
        elif not line.strip():
            gap = True
        if "</pre" in line:
            is_code, gap = False, True


def _marked(line: str, numbers: list[int | None]) -> str:
    """Follow lists over a line; give the mark of the item that begins in it."""
    mark = ""
    for tag in re.findall(r"</?(?:ul|ol|li)\b", line):
        if tag in {"<ul", "<ol"}:
            numbers.append(None if tag == "<ul" else 0)
        elif tag in {"</ul", "</ol"} and numbers:
            numbers.pop()
        elif tag == "<li":
            number = numbers[-1] if numbers else None
            if number is not None:
                numbers[-1] = number + 1
            indent = "  " * max(len(numbers) - 1, 0)
            mark = f"{indent}{number + 1}. " if number is not None else f"{indent}• "
    return mark

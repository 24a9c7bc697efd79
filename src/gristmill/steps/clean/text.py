r"""Cleans the text by a list of operations, in the order they are given.

    nfc, nfkc              Unicode normalisation: canonical, or compatibility (also folds widths, ligatures, circles)
    strip_control          removes control characters (not \t \n \r), the byte order mark and noncharacters
    tidy_whitespace        line ends become \n, no blanks before one, at most one blank line, none at the ends
    collapse_whitespace    each run of white space becomes one space, none at the ends (paragraphs are lost)
    remove_urls            removes http, https, ftp and www addresses
    remove_emails          removes mail addresses
    keep_chars: CLASS      keeps what is inside the regular expression class [CLASS], such as \w\s.,!?-

Reads: text.
Changes: text. The plain Python that each operation equals stands in `kernels/{normal,whitespace,characters,remove}.py`.
Drops: nothing; a text may become empty (drop it with `filter.length` or `require`).
Cost: one pass an operation, most of them a scan where nothing changes; keep_chars and
    collapse_whitespace next to each other are one pass for both.
Source: UAX #15 for normalisation; the rest is this project's own.

Not here: what is private (`steps.pii`), markup (`sources`). Invariant: each operation is linear, and doing it
twice is doing it once (but for removed addresses: what stood around one may make another).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias, get_args

import msgspec

from gristmill.core.batch import Batch, Bytes, Int32s, utf8_buffers, utf8_column
from gristmill.core.step import Transform
from gristmill.kernels import choices

Word: TypeAlias = Literal[
    "nfc", "nfkc", "strip_control", "tidy_whitespace", "collapse_whitespace", "remove_urls", "remove_emails"
]
Kernel: TypeAlias = Callable[[Bytes, Int32s], tuple[Bytes, Int32s]]

WORDS = get_args(Word)
DEFAULT: tuple[Word, ...] = ("nfc", "strip_control", "tidy_whitespace")


class Text(Transform, frozen=True, kw_only=True):
    """Cleans the text. `ops`: the operations in order; a word, or {keep_chars: CLASS}."""

    ops: list[Word | dict[Literal["keep_chars"], str]] = msgspec.field(default_factory=lambda: list(DEFAULT))

    def __post_init__(self) -> None:
        if not self.ops:
            raise ValueError(f"ops is empty; give at least one of {', '.join(WORDS)}, {{keep_chars: CLASS}}")
        for at, op in enumerate(self.ops):
            problem = _problem(op)
            if problem:
                raise ValueError(f"ops[{at}]: {problem}")

    def apply(self, batch: Batch) -> Batch:
        """Give the batch with the text cleaned."""
        data, offsets = before = utf8_buffers(batch.text)
        for kernel in _kernels(self.ops):
            data, offsets = kernel(data, offsets)
        return batch if data is before[0] else batch.with_text(utf8_column(data, offsets), batch.errors)


def _problem(op: object) -> str:
    """Give what is wrong with one operation: what was found, what is allowed; empty if nothing is."""
    if op in WORDS:
        return ""
    if isinstance(op, dict) and list(op) == ["keep_chars"] and isinstance(op["keep_chars"], str):
        try:
            choices.kept(op["keep_chars"])
        except ValueError as error:
            return f"keep_chars {op['keep_chars']!r} is not the inside of a character class: {error}"
        return ""
    found = next(iter(op), "") if isinstance(op, dict) else op
    near = difflib.get_close_matches(str(found), [*WORDS, "keep_chars"], n=1)
    hint = f"did you mean {near[0]!r}? " if near and near[0] != found else ""
    return f"{op!r} is no operation; {hint}allowed: {', '.join(WORDS)}, {{keep_chars: CLASS}}"


def _kernels(ops: list[Word | dict[Literal["keep_chars"], str]]) -> list[Kernel]:
    """Give the kernels to run, in order; keep_chars and a collapse_whitespace next to it are one."""
    from gristmill.kernels import characters

    kernels: list[Kernel] = []
    left = list(ops)
    while left:
        match left:
            case ["collapse_whitespace", {"keep_chars": body}, *left]:
                kernels.append(partial(characters.choose, choice=choices.collapsed_then_kept(body)))
            case [{"keep_chars": body}, "collapse_whitespace", *left]:
                kernels.append(partial(characters.choose, choice=choices.kept_then_collapsed(body)))
            case [{"keep_chars": body}, *left]:
                kernels.append(partial(characters.choose, choice=choices.kept(body)))
            case [str(word), *left]:
                kernels.append(_kernel(word))
    return kernels


def _kernel(word: Word) -> Kernel:
    from gristmill.kernels import characters, normal, remove, whitespace

    match word:
        case "nfc":
            return partial(normal.normalize, form="NFC")
        case "nfkc":
            return partial(normal.normalize, form="NFKC")
        case "strip_control":
            return remove.controls
        case "tidy_whitespace":
            return whitespace.tidy
        case "collapse_whitespace":
            return partial(characters.choose, choice=choices.collapsed())
        case "remove_urls":
            return remove.urls
        case "remove_emails":
            return remove.emails

"""What is no JSON: which code and detail the bytes have that the strict parser refused.

Not here: decoding (orjson, in the formats), what is JSON and odd (`core.oddities`). Invariants: slow, and asked only of failures;
linear on hostile input; no detail quotes the bytes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from gristmill.core.errors import Transient

MAX_DEPTH = 1024  # orjson's own limit on reading


def why_malformed(data: bytes, error: Exception) -> tuple[str, str]:
    """Give code and detail for bytes that orjson refused.

    Raises:
        Transient: the bytes are fine, memory was short (orjson says so with the same exception).
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as bad:
        return "text.encoding", f"not UTF-8 at byte {bad.start} of {len(data)}"
    if text_deeper_than(text, MAX_DEPTH):
        return "json.depth", f"nested more than {MAX_DEPTH} levels deep"
    constants: list[str] = []
    decoder = json.JSONDecoder(parse_constant=constants.append, parse_int=float)
    stripped = text.lstrip(" \t\r\n")
    try:
        value, end = decoder.raw_decode(stripped)
        if constants:
            return "json.nan", "NaN or Infinity is no JSON"
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return "text.surrogate", "an escape gives half a surrogate pair"
    except json.JSONDecodeError as bad:
        return "json.syntax", f"{bad.msg.partition(':')[0].removesuffix(' at')} at character {bad.pos}"
    except RecursionError:
        return "json.depth", "nested too deeply"
    except ValueError:  # allow_nan=False
        return "json.nan", "a number is too large for a 64-bit float"
    if stripped[end:].strip(" \t\r\n"):
        return "json.extra", f"more follows the value that ends at character {end}"
    if "memory" in str(error):  # only now: orjson says it of deep nesting too
        raise Transient(f"not enough memory to decode a record of {len(data)} bytes; run with fewer workers")
    return "json.syntax", "refused by the strict parser"


def deeper_than(value: Any, limit: int) -> bool:
    """Tell if objects and lists lie in each other in more than `limit` levels."""
    level = [value]
    for _ in range(limit):
        inner = [each for outer in level for each in (outer.values() if type(outer) is dict else outer)]
        level = [each for each in inner if type(each) in {dict, list}]
        if not level:
            return False
    return True


_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


def text_deeper_than(text: str, limit: int) -> bool:
    """Tell the same of JSON text, well-formed or not."""
    depth = 0
    for token in _BRACKETS.finditer(text):
        mark = token[0]
        if mark in "[{":
            depth += 1
            if depth > limit:
                return True
        elif mark in "]}":
            depth -= 1
    return False

"""Real text by source, and what may become of a source from one day to the next."""

import base64
import random
import re
import zlib
from collections import defaultdict
from pathlib import Path

import orjson
from backports import zstd
from tests.properties.lab import jsonl

BANNER = "We use cookies to give you the best experience. By going on you accept our terms. Accept all. Settings. "


def corpus(shared: Path, parts: int = 4) -> dict[str, list[dict[str, str]]]:
    """Give the records of the corpus by source: its origin, and for the help pages their language too."""
    found = defaultdict(list)
    for part in range(parts):
        with zstd.open(shared / "corpus" / f"part-{part:04d}.jsonl.zst") as lines:
            for record in map(orjson.loads, lines):
                origin = re.split("[=@]", record["source"])[0].partition(":")[2].replace("/", "-")
                found[origin].append({name: record[name] for name in ("id", "text", "lang")})
    return dict(found)


def binary(text: str) -> str:
    """Give what a compressed page looks like where nobody unpacked it."""
    return zlib.compress(text.encode()).decode("latin-1")


def base64_of(text: str) -> str:
    """Give a text as a mail's attachment has it."""
    return base64.b64encode(text.encode()).decode()


def boilerplate(text: str) -> str:
    """Give what is left of a page when only its frame was fetched."""
    return BANNER + text[:20]


def cut(text: str) -> str:
    """Give a teaser instead of the whole text."""
    return text[:200]


def glued(text: str) -> str:
    """Give a text whose white space an extractor lost."""
    return "".join(text.split())


ACCIDENTS = {"binary": binary, "base64": base64_of, "boilerplate": boilerplate, "cut": cut, "glued": glued}


def halves(rows: list[dict[str, str]], seed: int) -> tuple[bytes, bytes]:
    """Give two random halves of some records."""
    shuffled = random.Random(seed).sample(rows, len(rows))
    return jsonl(shuffled[::2]), jsonl(shuffled[1::2])


def changed(rows: list[dict[str, str]], accident: str) -> bytes:
    """Give new records with the texts of these after an accident."""
    spoil = ACCIDENTS[accident]
    return jsonl([{**row, "id": f"{accident}-{row['id']}", "text": spoil(row["text"])} for row in rows])

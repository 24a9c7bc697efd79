"""The classic tutorial pipeline in plain Python: load, clean by regex, deduplicate, validate, write chunks.

It is the specification of examples/tutorial/gristmill.yml (a test holds the two against each other, text by text) and
the baseline of the benchmarks. It holds everything in memory, on one core, and forgets everything afterwards.

    python examples/tutorial/reference.py OUT_FOLDER FILE...
"""

import gzip
import json
import re
import sys
from pathlib import Path

KEEP = r"\w\s.,!?;:'\"()@/-"
WHITESPACE = re.compile(r"\s+")
SPECIAL = re.compile(f"[^{KEEP}]")
URL = re.compile(r"""(?i)(?<!\w)(?:https?://|ftp://|www\.)[^\s<>"]*[^\s<>".,;:!?'")\]}]""")
EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
MIN_CHARS = 50
DOCS_PER_CHUNK = 10_000


def clean(text):
    """Clean one text: whitespace, special characters, URLs, e-mail addresses, lower case, in this order."""
    text = WHITESPACE.sub(" ", text).strip()
    text = SPECIAL.sub("", text)
    text = URL.sub("", text)
    text = EMAIL.sub("", text)
    return text.lower()


def load(paths):
    """Give (id, text) of every line that is an object with a text; count the others."""
    records, bad = [], 0
    for path in paths:
        for line in Path(path).read_bytes().splitlines():
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                records.append((record["id"], record["text"] + ""))
            except (ValueError, KeyError, TypeError):
                bad += 1
    return records, bad


def keep(records):
    """Clean, drop the short ones, keep the first of equal texts; give the kept (id, text) and the counts."""
    kept, seen = [], set()
    short = duplicates = 0
    for id_, raw in records:
        text = clean(raw)
        if len(text) < MIN_CHARS:
            short += 1
        elif text in seen:
            duplicates += 1
        else:
            seen.add(text)
            kept.append((id_, text))
    return kept, {"short": short, "duplicates": duplicates, "kept": len(kept)}


def validate(kept):
    """Give the share of the kept records that pass the last check."""
    return sum(len(text) >= MIN_CHARS for _, text in kept) / len(kept) if kept else 0.0


def write_chunks(kept, folder):
    """Write the kept records as gzip JSON lines, so many a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, start in enumerate(range(0, len(kept), DOCS_PER_CHUNK)):
        with gzip.open(folder / f"chunk_{n:05d}.jsonl.gz", "wt", encoding="utf-8") as file:
            for id_, text in kept[start : start + DOCS_PER_CHUNK]:
                file.write(json.dumps({"id": id_, "text": text}, ensure_ascii=False) + "\n")


def main(out, *paths):
    """Run all of it and print what became of the records, as JSON."""
    records, bad = load(paths)
    kept, counts = keep(records)
    if validate(kept) < 0.8:
        sys.exit("the gate refused: the quality score is under 0.8")
    write_chunks(kept, Path(out))
    print(json.dumps({"read": len(records) + bad, "bad": bad, **counts}))


if __name__ == "__main__":
    main(*sys.argv[1:])

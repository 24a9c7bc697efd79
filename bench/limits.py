"""The limit of the machine: read, decompress, parse and compress the same bytes on one core, and do nothing else.

`python -m bench.limits FOLDER` prints MB of JSON lines a second of CPU time, alone and together. No pipeline that reads
and writes JSON lines in one pass on one core can be faster than `together` with these libraries.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson
from backports import zstd

from bench import corpus
from bench.machine import MB, cores, measure, python
from bench.results import Measure, median

LEVEL = 1  # of zstd, as the table and the chunks are written


def run(folder: Path, repeats: int) -> dict[str, Measure]:
    """Measure in a process of its own, pinned to one core."""
    runs = [
        json.loads(measure(python("-m", "bench.limits", str(folder)), pin=cores()[:1]).output) for _ in range(repeats)
    ]
    return {
        f"limit_{name}": median([rates[name] for rates in runs], "MB/s", f"one core, {what}")
        for name, what in {
            "read": "reading the files",
            "decompress": "zstd decompression of the same lines",
            "parse": "orjson, line by line",
            "compress": f"zstd level {LEVEL}",
            "together": "read + parse + compress, nothing else",
            "together_zst": "read + decompress + parse + compress, nothing else",
        }.items()
    }


def rates(folder: Path) -> dict[str, float]:
    """Give MB/s of each part and of all together, by CPU time in this process."""
    spent = dict.fromkeys(("read", "decompress", "parse", "compress"), 0.0)
    total = 0
    for path in corpus.files(folder):
        content = _timed(spent, "read", path.read_bytes)
        packed = zstd.compress(content, LEVEL)
        _timed(spent, "decompress", partial(zstd.decompress, packed))
        _timed(spent, "parse", partial(_parse, content))
        _timed(spent, "compress", partial(zstd.compress, content, LEVEL))
        total += len(content)
    found = {name: total / MB / seconds for name, seconds in spent.items()}
    found["together"] = total / MB / (spent["read"] + spent["parse"] + spent["compress"])
    found["together_zst"] = total / MB / sum(spent.values())
    return found


def _timed(spent: dict[str, float], name: str, function: Callable[[], bytes]) -> bytes:
    started = time.process_time()
    result = function()
    spent[name] += time.process_time() - started
    return result


def _parse(content: bytes) -> bytes:
    for line in content.splitlines():
        orjson.loads(line)
    return b""


if __name__ == "__main__":
    print(json.dumps(rates(Path(sys.argv[1]))))

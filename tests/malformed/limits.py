"""Bombs and a line without end, read by a process that may have 400 MB of memory.

    python -m tests.malformed.limits [MIB]

What is read expands to MIB mebibytes (1,024): a line of that size, in UTF-8 and in UTF-16, and bombs in gzip, bzip2, xz, zstd, zip and tar.gz, each as it is by default
(`size.cap`), and once more with the caps on expansion lifted, so that all of it goes by; and Parquet that becomes so much. Of lines
that are bad or empty there are MIB thousands. The limit is on private memory (RLIMIT_DATA), with the
peak of resident memory told besides; the last line is for the soak (`tests.soak.commands`). Exits 1 if one is not stopped by its code, or the limit
was not enough.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from tests.malformed import parquet
from tests.soak import commands

from gristmill.core.files import zstd
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.files import Files

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 400
LINE = b'{"text": "good"}\n'
PART_MIB = 16
# Without these libraries reserve address space by the core, which counts as private and is never touched.
FRUGAL = {
    "MALLOC_ARENA_MAX": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
LIFTED = {"max_ratio": 1 << 40}


def bombs(mib):
    """Give name and bytes of files that expand to so much."""
    part = bytes(PART_MIB << 20)
    times = mib // PART_MIB
    packers = {
        "a.jsonl.gz": gzip.compress,
        "a.jsonl.bz2": bz2.compress,
        "a.jsonl.xz": lambda data: lzma.compress(data, preset=0),
        "a.jsonl.zst": zstd.compress,
    }
    for name, pack in packers.items():
        yield name, pack(LINE) + pack(part) * times + pack(b"\n" + LINE)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.jsonl", "w") as member:
        member.write(LINE)
        member.writelines(part for _ in range(times))
        member.write(b"\n" + LINE)
    yield "a.zip", out.getvalue()
    info = tarfile.TarInfo("a.jsonl")
    info.size = (times * PART_MIB << 20) + 2 * len(LINE) + 1
    tail = b"\n" + LINE + bytes(-info.size % 512 + 1024)
    yield "a.tar.gz", gzip.compress(info.tobuf() + LINE) + gzip.compress(part) * times + gzip.compress(tail)


def peak_mb():
    """Give the peak of resident memory since this program began; `getrusage` would tell that of its parent, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) >> 10


def child(folder, parameters):
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_MB << 20, LIMIT_MB << 20))
    source = Files(**({"path": "**/*"} | json.loads(parameters)))
    plan = source.plan(None, PlanContext(Path(folder)))
    rows, rejects, failed = Counter(), Counter(), [code for _, code, _ in plan.failed]
    for split in plan.splits:
        for page in source.read(split, ReadContext(Path(folder), 8 << 20, go_on=True)):
            if (
                page.failed is not None
            ):  # what came of it before is to be dropped; no file here has rejects before it fails
                failed.append(page.failed.code)
                rows.pop(page.unit, None)
            rows[page.unit] += page.rows.num_rows
            rejects.update(reject.code for reject in page.rejects)
    told = {"rows": rows.total(), "rejects": rejects, "failed": failed, "peak_mb": peak_mb()}
    sys.stdout.write(json.dumps(told))


def attempt(folder, parameters):
    """Read a folder in a child under the limit; give what came out, or how it ended."""
    command = [sys.executable, "-m", "tests.malformed.limits", str(folder), json.dumps(parameters)]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | FRUGAL, capture_output=True, text=True, check=False, timeout=600
    )
    told = json.loads(done.stdout) if done.returncode == 0 else {"ends": done.returncode, "words": done.stderr[-500:]}
    return told | {"seconds": round(time.monotonic() - began, 1)}


def stopped(folder):
    """Give what came out of a folder with a bomb, and whether that is right."""
    told = attempt(folder, {})
    codes = [*told.get("failed", []), *told.get("rejects", {})]
    return told, codes == ["size.cap"] and told.get("peak_mb", LIMIT_MB) < LIMIT_MB


def trials(mib):
    """Give name, what came out, and whether that is right, of every bomb."""
    for name, make in parquet.BOMBS.items():
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "a.parquet").write_bytes(make(mib))
            yield name, *stopped(folder)
    for name, data in bombs(mib):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, name).write_bytes(data)
            yield name, *stopped(folder)
            told = attempt(folder, LIFTED)
            whole = (told.get("rows"), told.get("rejects"), told.get("failed")) == (2, {"size.cap": 1}, [])
            yield f"{name}, caps lifted: a line of {mib} MiB", told, whole and told["peak_mb"] < LIMIT_MB
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "a.jsonl").open("wb") as file:
            file.write(LINE + b'{"text": "')
            file.writelines(b"x" * (1 << 20) for _ in range(mib))
            file.write(b'"}\n' + LINE)
        told = attempt(folder, {})
        whole = (told.get("rows"), told.get("rejects"), told.get("failed")) == (2, {"size.cap": 1}, [])
        yield f"a plain line of {mib} MiB", told, whole and told["peak_mb"] < LIMIT_MB
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "a.jsonl").open("wb") as file:
            file.write((LINE.decode() + '{"text": "').encode("utf-16"))
            file.writelines(b"x\0" * (1 << 19) for _ in range(mib))
            file.write(('"}\n' + LINE.decode()).encode("utf-16-le"))
        told = attempt(folder, {"encoding": "utf-16"})
        whole = (told.get("rows"), told.get("rejects"), told.get("failed")) == (2, {"size.cap": 1}, [])
        yield f"a line of {mib} MiB in UTF-16", told, whole and told["peak_mb"] < LIMIT_MB
    for name, line, code in (("bad", b"x\n", "json.syntax"), ("empty", b"\n", "")):
        with tempfile.TemporaryDirectory() as folder:
            with Path(folder, "a.jsonl").open("wb") as file:
                file.write(LINE)
                file.writelines(line * 1000 for _ in range(mib))
                file.write(LINE)
            told = attempt(folder, {})
            codes = {code: mib * 1000} if code else {}
            whole = (told.get("rows"), told.get("rejects"), told.get("failed")) == (2, codes, [])
            yield f"{mib},000 {name} lines", told, whole and told["peak_mb"] < LIMIT_MB


def main():
    if len(sys.argv) == 3:
        child(*sys.argv[1:])
        return 0
    done, wrong, most_mb = 0, [], 0
    for name, told, is_right in trials(int(sys.argv[1]) if len(sys.argv) > 1 else 1024):
        done, most_mb = done + 1, max(most_mb, told.get("peak_mb", 0))
        wrong += [] if is_right else [f"{name}: {told}"]
        sys.stdout.write(f"{'ok   ' if is_right else 'WRONG'} {name}: {told}\n")
    sys.stdout.write(commands.told(done, wrong, note=f"Peak of resident memory {most_mb} MB.") + "\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

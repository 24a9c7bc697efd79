"""Every made file with what must become of it, and what does: the table `generated.tsv`.

    python -m tests.malformed.made.table [--write]

Reads all of them, twice: at once, and in small pieces. Prints each line that is not as the rules say, how many were read, and the peak of memory;
exits 1 if there is one. `--write` puts what the rules say, and nothing that was read, into `generated.tsv`.
"""

import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from tests.malformed.limits import peak_mb
from tests.malformed.made import archives, packs, warcs
from tests.malformed.made.outcome import Made, line_of
from tests.sources.conftest import read_split

from gristmill.core.source import PlanContext
from gristmill.sources.files import Files
from gristmill.sources.warc import Warc

TABLE = Path(__file__).parents[1] / "generated.tsv"
HEADER = "name\tsource\tparams\trows\tcodes\twarnings"
SOURCES = {"files": Files, "warc": Warc}
_TOGETHER = {"html", "pdf", "misnamed"}  # of formats whose extractor is a process that takes its time to begin
_PIECE_BYTES = 150


def every() -> Iterator[Made]:
    """Make every file."""
    yield from packs.made()
    yield from archives.made()
    yield from warcs.made()


def written() -> list[str]:
    """Give the lines of the committed table."""
    return TABLE.read_text("utf-8").splitlines()[1:]


def differences(cases: Iterable[Made]) -> Iterator[tuple[str, str]]:
    """Read some files, at once and in pieces; give name and sentence for each that is not as it must be."""
    groups: dict[Any, list[Made]] = {}
    for case in cases:
        key = (case.source, msgspec.json.encode(dict(case.params)), case.name.partition("/")[0] in _TOGETHER)
        groups.setdefault(key, []).append(case)
    for (_, _, together), members in groups.items():
        with tempfile.TemporaryDirectory() as scratch:
            for case in members:
                path = Path(scratch, case.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(case.data)
            yield from _read(members, Path(scratch), {}, 8 << 20, together=together)
            yield from _read(members, Path(scratch), {"split_bytes": _PIECE_BYTES}, 300, together=together)
            if left := {p.relative_to(scratch).as_posix() for p in Path(scratch).rglob("*") if p.is_file()} - {case.name for case in members}:  # fmt: skip
                yield members[0].name, f"something was laid down: {sorted(left)}"


def _read(cases: list[Made], folder: Path, pieces: dict[str, int], batch_bytes: int, *, together: bool) -> Iterator[tuple[str, str]]:  # fmt: skip
    """Read the files of a folder, which have the same source and parameters."""
    kind = SOURCES[cases[0].source]
    source = msgspec.convert({"path": "**/*"} | dict(cases[0].params) | pieces, kind)
    plan = source.plan(None, PlanContext(folder))
    rows, codes, warned, taken, failed = Counter(), {}, {}, Counter(), {}
    for split in plan.splits:
        parts = [split] if together else [msgspec.structs.replace(split, spec=split.spec | {"files": [piece]}, units=[piece["unit"]]) for piece in split.spec["files"]]  # fmt: skip
        for part in parts:
            pages, bad = read_split(source, part, folder, batch_bytes)
            failed |= {unit: code for unit, (code, _) in bad.items()}
            for page in pages:
                rows[page.unit] += page.rows.num_rows
                taken[page.unit] += page.bytes_in
                codes.setdefault(page.unit, Counter()).update(reject.code for reject in page.rejects)
                warned.setdefault(page.unit, Counter()).update(page.warnings)
    for case in cases:
        name = case.name
        found = codes.get(name, {}) if name not in failed else {failed[name]: 1}
        one = (0, found, {}) if name in failed else (rows[name], found, warned.get(name, {}))
        line = line_of(name, case.source, case.params, *one)
        if line != case.line:
            yield name, f"must be {case.line.split(chr(9))[3:]}, is {line.split(chr(9))[3:]}"
        elif case.inside >= 0 and taken[name] != case.inside:
            yield name, f"{taken[name]} of {case.inside} bytes are accounted for"


def main() -> int:
    """Hold all of them against the rules."""
    warnings.simplefilter("error")
    began, cases = time.monotonic(), list(every())
    if "--write" in sys.argv:
        TABLE.write_text("\n".join([HEADER, *(case.line for case in cases)]) + "\n", "utf-8")
    bad = dict(differences(cases))
    told = [f"{name}: {what}" for name, what in bad.items()]
    end = f"{len(cases)} made files read twice: {len(bad)} not as the rules say"
    sys.stdout.write("\n".join([*told, f"{end}; peak {peak_mb()} MB, {time.monotonic() - began:.0f} s"]) + "\n")
    return len(bad) > 0


if __name__ == "__main__":
    sys.exit(main())

"""Reads every file of ../shared/data/malformed, packs taken apart, and tells what became of each: rows, codes, warnings.

    python -m tests.malformed.table FOLDER [--write]

FOLDER: the data set's `malformed`. Prints the outcomes as JSON, and the memory it took. `--write` puts them into `expected.tsv`, where the reasons
stay as they stand: whoever writes it judges every line that changed.
"""

import io
import json
import resource
import sys
import tarfile
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from tests.malformed.limits import peak_mb
from tests.sources.conftest import read_split

from gristmill.core.files import zstd
from gristmill.core.source import PlanContext
from gristmill.sources.files import Files

EXPECTED = Path(__file__).with_name("expected.tsv")
ANY = "{{any}}"  # a text that every record has, so that each that can be read is a row
# folder of the files -> how they are read; a longer name wins over a shorter
HOW = {
    "": {"text": ANY},
    "arrow_testing.tar.zst/data/csv": {"text": ANY, "format": "csv"},
    "arrow_testing.tar.zst/data/parquet": {"text": ANY, "format": "parquet"},
    "json_test_suite.tar.zst": {"text": ANY, "format": "json"},
    "gzip": {"format": "text"},
    "zstd": {"format": "text"},
    "html5lib/encoding": {"format": "text"},
}


def files_of(folder):
    """Give path and bytes of every file, those inside of packs with the pack's name before theirs."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, data = path.relative_to(folder).as_posix(), path.read_bytes()
        if not name.endswith(".tar.zst"):
            yield name, data
            continue
        with tarfile.open(fileobj=io.BytesIO(zstd.decompress(data))) as pack:
            for member in pack:
                if member.isfile() and not member.name.rpartition("/")[2].startswith("."):  # `**/*` passes them over
                    yield f"{name}/{member.name.removeprefix('./')}", pack.extractfile(member).read()


def how(name):
    return HOW[max((folder for folder in HOW if name.startswith(folder)), key=len)]


def outcomes(folder):
    """Read all files, those that are read alike together; give what became of each."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        groups = {}
        for name, data in files_of(folder):
            groups.setdefault(json.dumps(how(name)), []).append(name)
            path = Path(scratch, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for parameters, names in groups.items():
            source = Files(path="**/*", **json.loads(parameters))
            plan = source.plan(None, PlanContext(Path(scratch)))
            for split in plan.splits:
                wanted = [unit for unit in split.units if unit in names]
                spec = {"files": [piece for piece in split.spec["files"] if piece["unit"] in wanted]}
                pages, failed = read_split(source, type(split)(split.id, spec, wanted, 0, True), Path(scratch), 8 << 20)
                found |= {unit: {"rows": 0, "failed": "", "rejects": {}, "warnings": {}} for unit in wanted}
                for page in pages:
                    told = found[page.unit]
                    told["rows"] += page.rows.num_rows
                    told["rejects"] = Counter(told["rejects"]) + Counter(reject.code for reject in page.rejects)
                    told["warnings"] = Counter(told["warnings"]) + Counter(page.warnings)
                for unit, (code, _) in failed.items():
                    found[unit]["failed"] = code
    return found


def line_of(name, told, reason):
    counts = [" ".join(f"{code}={n}" for code, n in sorted(told[kind].items())) for kind in ("rejects", "warnings")]
    return "\t".join([name, str(told["rows"]), told["failed"], *counts, reason])


def expected():
    """Give the table: name -> (the line without its reason, the reason)."""
    rows = [line.split("\t") for line in EXPECTED.read_text("utf-8").splitlines()[1:]]
    return {row[0]: ("\t".join(row[:5]), row[5]) for row in rows}


def main():
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    found = outcomes(Path(sys.argv[1]))
    if "--write" in sys.argv:
        reasons = {name: reason for name, (_, reason) in (expected().items() if EXPECTED.exists() else ())}
        lines = [line_of(name, found[name], reasons.get(name, "")) for name in sorted(found)]
        EXPECTED.write_text("\n".join(["file\trows\tfailed\trejects\twarnings\treason", *lines]) + "\n", "utf-8")
    sys.stdout.write(
        json.dumps({"peak_mb": peak_mb(), "files": {n: line_of(n, told, "") for n, told in found.items()}})
    )


if __name__ == "__main__":
    main()

"""What must hold of any malformed file, checked from outside: by reading it twice, and from what was known of it before."""

import signal
import tempfile
from collections import Counter
from pathlib import Path

from tests.malformed.cases import Case
from tests.sources.conftest import Everything, read_everything

LIMIT_S = 20


class Hung(Exception):
    """Reading took too long."""


def read(case: Case, folder: Path, batch_bytes: int, **parameters: object) -> Everything:
    def ring(number, frame):
        raise Hung

    (folder / case.name).write_bytes(case.data)
    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LIMIT_S)
    try:
        return read_everything(folder, batch_bytes, **(case.parameters | parameters))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def broken(case: Case) -> list[str]:
    """Give what does not hold of a case: a sentence each."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        once = read(case, folder, 8 << 20)
        again = read(case, folder, 300, split_bytes=max(len(case.data) // 20, 1))
        left = sorted(path.name for path in folder.rglob("*"))
    found = []
    if left != [case.name]:
        found.append(f"something was laid down: {left}")
    if (
        not once.failed
        and not again.failed
        and (once.rows, sorted(once.rejects)) != (again.rows, sorted(again.rejects))
    ):
        found.append("read in other pieces it gives something else")
    if once.failed != again.failed:
        found.append(f"read in other pieces it fails otherwise: {once.failed}, {again.failed}")
    for out in (once, again):
        found += _of_one(case, out)
    return found


def _of_one(case: Case, out: Everything) -> list[str]:
    found = []
    texts = [row["text"] for row in out.rows]
    unit = case.name
    if set(out.failed) - {unit}:
        found.append(f"units that are not there have failed: {out.failed}")
    if case.is_whole and (out.failed or out.rejects or texts != case.texts):
        found.append(f"it is whole, and gives {len(texts)} of {len(case.texts)}, {out.rejects[:3]}, {out.failed}")
    if case.is_checked and not case.what.startswith("attack") and Counter(texts) - Counter(case.texts):
        found.append("something else came out of it than was put in, past its checksums")
    if case.inside >= 0 and not out.failed and out.bytes_in[unit] != case.inside:
        found.append(f"{out.bytes_in[unit]} of {case.inside} bytes are accounted for")
    if case.what.startswith("attack") and any(not row["origin"].startswith(unit) for row in out.rows):
        found.append("an origin that does not begin with its file")
    if case.data.strip() and not (out.rows or out.rejects or out.failed or out.warnings) and case.texts:
        found.append("nothing is said of it at all")
    return found

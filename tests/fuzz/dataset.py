"""What a dataset says of itself: manifest, claim, plan, journal, heartbeat, memory. Damaged, it is told; never believed, never a traceback."""

import contextlib
import json

from tests.fuzz.reading import place

from gristmill.core.errors import GristmillError
from gristmill.engine import plan
from gristmill.engine.work import TaskResult
from gristmill.observe import memory, pulse
from gristmill.store import claim, journal, snapshot
from gristmill.store.layout import Layout

MANIFEST = json.dumps(
    {"format": 1, "seq": 1, "parent": 0, "shards": [], "index": [], "tombstones": [], "states": {}, "promotions": [],
     "exports": {}, "counts": {}, "sources": {}, "summary": {}, "config": "", "code": "", "pipeline": {}, "lineage": []}
).encode()  # fmt: skip
SEEDS = [
    MANIFEST,
    b'{"format":1,"seq":1,"parent":0,"config":"c","boot":"b","pid":1,"host":"h","time":"2024-01-01T00:00:00Z"}',
    b'{"format":1,"seq":1,"parent":0,"config":"c","code":"d","tasks":[],"sources":{}}',
    b'{"id":"r-000000"}\n',
    b'{"format":99}',
    b"[" * 3000,
]


def one(data: bytes) -> None:
    """Read it as each of them."""
    layout = Layout(place() / "set")
    run = layout.run(1)
    (run / "tasks").mkdir(parents=True, exist_ok=True)
    for path, read in (
        (layout.manifest(1), lambda: snapshot.read_manifest(layout.manifest(1))),
        (layout.claim(1), lambda: claim.read_claim(layout, 1)),
        (layout.plan(1), lambda: plan.read_plan(layout, 1)),
        (layout.task(1, "t"), lambda: journal.find(layout, 1, "t", TaskResult)),
        (layout.heartbeat(1), lambda: pulse.read(layout.heartbeat(1))),
        (run / "memory.json", lambda: memory.load(run / "memory.json")),
    ):
        path.write_bytes(data)
        with contextlib.suppress(GristmillError):
            read()
        path.unlink(missing_ok=True)

"""Upgrade: the newest snapshot published anew in the newest format, row for row the same.

Earlier snapshots stay as they are; they are lifted each time they are read (`store.formats`). Not here: the steps themselves. Invariants:
no committed file is changed; a dataset that is of the newest format already is left alone; what is newer than this gristmill is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gristmill.config.settings import PipelineConfig
from gristmill.core.counts import Counts
from gristmill.engine import ends
from gristmill.engine.rollback import Republishing, watched
from gristmill.observe.events import Events
from gristmill.store import claim, formats, snapshot
from gristmill.store.formats import MIGRATIONS, Migration
from gristmill.store.layout import Layout


class Upgraded(msgspec.Struct, frozen=True):
    """What came of it. found, newest: formats; steps: what was or is to be done; snapshot: the newest one now, None: none yet."""

    found: int
    newest: int
    steps: list[str]
    snapshot: int | None


def upgrade(
    layout: Layout,
    config: PipelineConfig | None,
    events: Events,
    wait_s: float = 0.0,
    migrations: Sequence[Migration] = MIGRATIONS,
) -> Upgraded:
    """Bring a dataset forward to the newest format, if it is of an earlier one.

    Raises:
        StoreError: it is of a format this gristmill does not know.
        LockedError: a run holds the dataset.
    """
    newest = len(migrations) + 1
    with claim.DatasetLock(layout, wait_s):
        seq = snapshot.head_seq(layout)
        if not seq:
            return Upgraded(newest, newest, [], None)
        path = layout.manifest(seq)
        found = formats.on_disk(path)
        formats.check(path, found, newest, oldest=1)
        if found == newest:
            ends.close(layout, snapshot.head(layout))
            return Upgraded(found, newest, [], seq)
        steps = [step.title for step in migrations[found - 1 :]]
        raw = formats.lifted(path, msgspec.json.decode(path.read_bytes()), migrations)
        head = msgspec.convert(raw, snapshot.Manifest)
        lineage = [{"upgraded_from": found, "to": newest, "steps": steps}]
        sources = {name: Counts() for name in head.sources}
        with watched(config, events) as listening:
            making = Republishing(layout, f"upgrade-{found}-{newest}", head, listening.events)
            wanted = msgspec.structs.replace(head, counts=Counts(), sources=sources, lineage=lineage)
            report = listening.over(making.publish(wanted, config, newest))
        return Upgraded(found, newest, steps, report.snapshot)

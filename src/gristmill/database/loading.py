"""A load: one transaction after which a table holds a snapshot, and the ledger says which.

Not here: sessions (`writing`), rows as they are written (`outgoing`), the SQL of each step (`steps`). Invariants: what
the table holds is what its ledger row says, which is written in the transaction that changes the rows; a transaction ends
with as many rows in the table as the snapshot has, or is rolled back; rows that no load put there are never deleted unless
`extra` says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.schema import AddConstraint, CreateTable

from gristmill.core.errors import ConfigError, ExportError, SourceError
from gristmill.core.failpoints import failpoint
from gristmill.core.load import Loaded, Wanted
from gristmill.database import tables
from gristmill.database import target as catalogue
from gristmill.database.outgoing import Column, Outgoing
from gristmill.database.spec import Spec
from gristmill.database.steps import Place, Plain, Staged, Steps
from gristmill.database.target import Target
from gristmill.database.writing import Writer

_NOTHING = 0  # the snapshot in the ledger of a table that was made and not loaded yet
# What `column_type` makes in PostgreSQL, as its catalogue calls it.
_EXACT = {
    "text": "text",
    "int": "int8",
    "real": "float4",
    "float": "float8",
    "bool": "bool",
    "time": "timestamptz",
    "json": "jsonb",
    "bytes": "bytea",
}


class Entry(msgspec.Struct, frozen=True):
    """A row of the ledger."""

    dataset: str
    snapshot: int
    manifest: str
    rows: int
    config: str


def columns_of(family: str, target: Target, spec: Spec) -> list[Column]:
    """Give the columns as they are written into the table there is, or that will be made."""
    return [Column(each.name, each.field, catalogue.settled(family, target, each)[0]) for each in spec.columns]


def entry_of(session: Any, ledger: sa.Table, table: str, *, lock: bool = False) -> Entry | None:
    """Read what the ledger says of a table. lock: and hold the row until the transaction ends."""
    names = ("dataset", "snapshot", "manifest", "row_count", "config")
    asked = sa.select(*(ledger.c[name] for name in names)).where(ledger.c.target == sa.literal(table, sa.Text))
    found = session.rows(asked.with_for_update() if lock else asked)
    return Entry(*found[0]) if found else None


class Loading:
    """One load. force: do it even if the ledger says that nothing is to be done."""

    def __init__(self, writer: Writer, spec: Spec, wanted: Wanted, *, force: bool) -> None:
        self._writer = writer
        self._spec = spec
        self._wanted = wanted
        self._force = force
        self._target = catalogue.look(writer, spec.schema, spec.table)
        self._ledger = tables.ledger_table(self._target.schema, spec.ledger, writer.collation)
        self._made = False

    def run(self) -> Loaded:
        """Do it.

        Raises:
            Transient: worth another try.
            ConfigError: the table, or what is in it, is not what the config says.
            ExportError: it failed; nothing is changed.
        """
        writer = self._writer
        done = False
        if writer.ddl_commits:
            self._make()
            self._enter()
        writer.begin(f"{self._target.schema}.{self._target.table}")
        try:
            if not writer.ddl_commits:
                self._target = catalogue.look(writer, self._spec.schema, self._spec.table)  # as it is under the lock
                self._make()
            loaded = self._in_transaction()
            if loaded.how != "nothing":
                failpoint("load.before_commit")
                writer.commit()
                done = True
                failpoint("load.committed")
            return loaded
        finally:
            if not done:
                writer.rollback()

    # Making what is not there.

    def _make(self) -> None:
        """Make table, columns and ledger where they are not; refuse a table that will not do."""
        writer, spec = self._writer, self._spec
        told = catalogue.problems(writer.family, self._target, spec)
        if told:
            raise ConfigError(*told)
        if catalogue.look(writer, self._target.schema, spec.ledger).columns is None:
            if not spec.create:
                raise ConfigError(without_ledger(self._target, self._ledger, writer.dialect))
            writer.lock(f"{self._target.schema}.{spec.ledger}")  # another table's load may be about to make it
            writer.execute(CreateTable(self._ledger, if_not_exists=True))
        if self._target.columns is None:
            # PostgreSQL's key is made when the rows are in: sorting them costs less than an insert each.
            table = self._table(keyed=writer.family != "postgresql")
            writer.execute(CreateTable(table, if_not_exists=writer.ddl_commits))
            self._made = True
            return
        for column in catalogue.missing(writer.family, self._target, spec):
            of = tables.column_type(writer.family, column.stored, collation=writer.collation)
            writer.execute(tables.add_column(writer.dialect, self._table(), column.name, of))

    def _table(self, *, keyed: bool = True) -> sa.Table:
        target, spec = self._target, self._spec
        return tables.target_table(
            self._writer.family, target.schema, target.table, spec.columns, self._writer.collation, keyed=keyed
        )

    def _enter(self) -> None:
        """Put a row for the table into the ledger, for others to lock; where a transaction cannot make tables."""
        table = self._target.table
        if entry_of(self._writer, self._ledger, table) is None:
            try:
                self._writer.execute(sa.insert(self._ledger).values(self._row(_NOTHING, "", 0)))
            except SourceError:
                self._writer.rollback()
                if entry_of(self._writer, self._ledger, table) is None:  # nobody else was faster: it is something else
                    raise
        self._writer.commit()

    def _row(self, snapshot: int, manifest: str, rows: int) -> dict[str, Any]:
        return {
            "target": self._target.table,
            "dataset": self._wanted.dataset,
            "snapshot": snapshot,
            "manifest": manifest,
            "row_count": rows,
            "config": self._spec.config,
            "loaded_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    # The transaction.

    def _in_transaction(self) -> Loaded:
        wanted, spec = self._wanted, self._spec
        entry = entry_of(self._writer, self._ledger, self._target.table, lock=self._writer.family != "sqlite")
        if entry is not None and entry.snapshot != _NOTHING and entry.dataset != wanted.dataset:
            raise ConfigError(of_another(self._target, spec.ledger))
        count = 0 if self._made and not self._writer.ddl_commits else self._count()
        held = entry.rows if entry is not None else 0
        if count > held and spec.extra == "fail":
            raise ConfigError(foreign(self._target, count, held))
        at = (entry.snapshot, entry.manifest) if entry is not None else (_NOTHING, "")
        intact = entry is not None and at[0] != _NOTHING and entry.config == spec.config and count == held
        current = intact and at == (wanted.seq, wanted.sha256)
        if current and not self._force:
            return Loaded("nothing", count)
        outgoing = Outgoing(
            self._writer.family, columns_of(self._writer.family, self._target, spec), refuse=spec.unfit == "fail"
        )
        steps = self._steps(outgoing)
        loaded = None
        if intact and not current and (changes := wanted.since(*at, outgoing.fields)) is not None:
            put, taken = steps.follow(changes)
            if self._count() == wanted.rows:  # else others deleted as many as they inserted
                loaded = Loaded("changes", wanted.rows, put, taken, dict(outgoing.unfit))
            outgoing.unfit.clear()
        if loaded is None:
            put, taken = self._all(steps, outgoing, empty=count == 0, only_ours=current)
            loaded = Loaded("all", wanted.rows, put, taken, dict(outgoing.unfit))
        failpoint("load.rows_written")
        self._write_entry(new=entry is None)
        return loaded

    def _all(self, steps: Steps, outgoing: Outgoing, *, empty: bool, only_ours: bool) -> tuple[int, int]:
        """Write all rows. only_ours: the table should hold this snapshot already, so what is too much was put by others."""
        rows = self._wanted.live(outgoing.fields)
        put, taken = steps.fill(rows) if empty else steps.equal(rows)
        if self._made and self._writer.family == "postgresql":
            self._writer.execute(AddConstraint(self._table().primary_key))
        if only_ours and taken and self._spec.extra == "fail" and isinstance(steps, Staged):
            raise ConfigError(foreign(self._target, self._wanted.rows + taken, self._wanted.rows))
        unseen = self._made and not self._writer.ddl_commits  # made in this transaction: nobody else can write to it
        count = put if unseen else self._count()
        if count != self._wanted.rows:
            raise ExportError(
                f"{self._target.called()} would hold {count} rows in place of {self._wanted.rows}, so nothing is changed; does "
                f'its column "{self._spec.key.name}" take different ids for the same (its collation), or does a trigger or rule '
                "keep rows out?"
            )
        return put, taken

    def _steps(self, outgoing: Outgoing) -> Steps:
        family = self._writer.family
        types = [catalogue.settled(family, self._target, each)[1] for each in self._spec.columns]
        exact = family != "postgresql" or all(
            of in {"", _EXACT[kind]} for of, kind in zip(types, outgoing.kinds, strict=True)
        )
        columns = [(each.name, kind) for each, kind in zip(self._spec.columns, outgoing.kinds, strict=True)]
        table = tables.written_table(self._target.schema, self._target.table, columns, family)
        key = f"c{self._spec.columns.index(self._spec.key)}"
        place = Place(table, key, self._spec.batch_rows, exact, types)
        return (Plain if family == "other" else Staged)(self._writer, place, outgoing)

    def _count(self) -> int:
        ((count,),) = self._writer.rows(sa.select(sa.func.count()).select_from(self._table()))
        return int(count)

    def _write_entry(self, *, new: bool) -> None:
        row = self._row(self._wanted.seq, self._wanted.sha256, self._wanted.rows)
        if new:
            self._writer.execute(sa.insert(self._ledger).values(row))
        else:
            ours = self._ledger.c.target == sa.literal(self._target.table, sa.Text)
            self._writer.execute(sa.update(self._ledger).where(ours).values(row))


# --- sentences ----------------------------------------------------------------------------------------------------


def foreign(target: Target, count: int, held: int) -> str:
    """Say that there are rows no load put there."""
    return (
        f"{target.called()} holds {count} rows, {held} of which gristmill put there; an export's table holds nothing else. "
        "Name another table, remove the others, or set extra_rows: delete to have them deleted"
    )


def of_another(target: Target, ledger: str) -> str:
    """Say that another dataset is loaded there."""
    return (
        f"{target.called()} holds another dataset, by its row in {ledger}; name another table, or delete that row and set "
        "extra_rows: delete to have this one take its place"
    )


def without_ledger(target: Target, ledger: sa.Table, dialect: Any) -> str:
    """Say how to make the ledger."""
    statement = " ".join(str(CreateTable(ledger).compile(dialect=dialect)).split())
    return f"there is no ledger beside {target.called()}; set create: true, or run: {statement}"

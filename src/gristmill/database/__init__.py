"""What reading and loading tables needs: composing statements, connections, values that are written down, and Arrow turned into pages.

Not here: what is new in a table and what a run must read of it (`sources/sql.py`); when a table is loaded (`exports`, `engine.loads`).
Rooms: `dsn` where a database is; `values` what stands in a cursor; `relation` a table or query and its columns; `compose`
statements; `postgresql`, `sqlite` and `other` what each family of databases needs; `connect` the connections; `keyset`
reading on from the last key; `pages` Arrow into pages. For loads: `spec` what is asked; `target` the table there is, `rights`,
`tables` those that are made; `outgoing` rows as they are written; `writing` sessions that write; `steps` and `loading` the
transaction; `readback` what is in a table now. Invariants: identifiers reach SQL only through SQLAlchemy's composer (or the
driver's own quoting), values only as typed literals, bound, or by COPY; every session but those of `writing` is read-only where
the database has that; no DSN, no secret and no document text enters a message.
"""

"""What reading tables needs: composing statements, connections, values that are written down, and Arrow turned into pages.

Not here: what is new in a table and what a run must read of it (`sources/sql.py`); writing to databases (`exports`).
Rooms: `dsn` where a database is; `values` what stands in a cursor; `relation` a table or query and its columns; `compose`
statements; `postgresql`, `sqlite` and `other` what each family of databases needs; `connect` the connections; `keyset`
reading on from the last key; `pages` Arrow into pages. Invariants: identifiers reach SQL only through SQLAlchemy's
composer, values only as typed literals or bound; every session is read-only where the database has that; no DSN, no
secret and no document text enters a message.
"""

"""The network room: guarded fetching over HTTP, retries, credentials, pagination, and what keeps it polite.

Not here: what an answer means (`sources/`), text out of HTML (`extract/`). Invariants: no connection is opened to an
address that was not looked at, no body is read without a cap and a deadline, and no message of this room holds a secret:
URLs appear in it without user, query and fragment.
"""

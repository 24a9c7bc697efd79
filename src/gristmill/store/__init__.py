"""The store: what a dataset is on disk, and the only code that writes its lasting files.

Not here: what is decided about records (`engine`), or exports, which lie elsewhere. Invariant: nothing becomes visible
to a reader except by the one Delta commit in `snapshot.py`.
"""

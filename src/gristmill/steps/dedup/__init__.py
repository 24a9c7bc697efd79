"""Deduplication: steps that drop a record because an earlier one is like it.

Not here: the index they ask (`store.index`), when they are merged (`engine.merge`). Invariant: an earlier record wins,
in this run or any before, so that increments equal one full run.
"""

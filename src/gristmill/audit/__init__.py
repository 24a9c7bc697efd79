"""The audit: looking at what earlier runs left. Explain a record, sample what was kept or not, verify a snapshot.

Not here: anything that writes. Invariant: answers come from files of finished runs alone.
"""

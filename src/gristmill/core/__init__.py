"""The ground floor: the contracts of the parts and what they stand on.

Not here: anything that runs, stores or knows a concrete part. Invariant: imports nothing else of gristmill.
"""

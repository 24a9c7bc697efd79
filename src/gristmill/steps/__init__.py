"""Steps: what is done to records, one file a step; the file's path is its name in the config.

Not here: the three kinds of step (`core.step`), when a step runs (`engine.flow`), hot loops (`kernels`). Invariants: a
step is its parameters and sees one batch; what it says of a record does not depend on the records beside it; steps do
not import each other (only `signals`, which is no step).
"""

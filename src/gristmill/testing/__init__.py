"""What ships for those who test parts and datasets: an independent checker and tiny corpora.

Not here: tests of gristmill itself (`tests/`). Invariant: nothing in this room changes what a run does, and `laws`
imports nothing else of gristmill, so it cannot share a mistake with what it checks.
"""

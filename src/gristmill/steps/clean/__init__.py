"""Cleaning: steps that change the text and keep every row.

Not here: dropping (`steps.filter`), what is private (`steps.pii`). Invariant: same rows, same order, whatever the text.
"""

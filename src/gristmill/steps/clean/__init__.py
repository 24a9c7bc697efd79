"""Cleaning: steps that change the text and keep every row.

Not here: dropping (`steps.filter`), what is private (`steps.pii`). Invariant: cleaning twice is cleaning once.
"""

"""Filters: steps that drop rows by what is measured on them and never edit a text.

Not here: the measuring (`steps.signals`), the limits a finished record must keep (`steps.require`). Invariant: each
drop has one reason word, and `RULES` names the signal and the parameter behind it.
"""

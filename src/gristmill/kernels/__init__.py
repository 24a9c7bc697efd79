"""Kernels: the hot loops, compiled by Numba; arrays in, arrays out.

A text column is two arrays: `data`, uint8 (valid UTF-8), and `offsets`, int32 (n + 1 for n rows, not always beginning
at 0: the column may be a slice). Kernels borrow them read-only, release the GIL and keep no state, so any number of
threads may run one. A kernel that changes text gives the very arrays it got when no row changes, else new ones whose
offsets begin at 0.

Not here: Arrow columns and records (`core.batch`), parameters and reasons (`steps`). Invariants: nothing of gristmill
outside this folder is imported; each kernel equals the few lines of plain Python in `tests/kernels` on any Unicode;
input is valid UTF-8 with offsets in range (sources see to that). Files here share `utf8`, `tables` and `rows` and
nothing else.
"""

"""Exports: the formats a snapshot is copied into, one file a format.

Not here: which rows go into which chunk (`core.export`), when chunks are made, named and swapped in (`engine`).
Invariant: a chunk's bytes depend on its rows and the export's parameters alone; imports core and kernels only.
"""

"""Formats: one file a format, each with one `read` that turns the bytes of a file into pages.

Not here: which files, their compression, their changes (`sources/files.py`, `core.files`), field mapping
(`core.mapping`). Invariant: a format imports `core` only; the bytes its pages report add up to the bytes it was given.
"""

"""Sources: one file a kind of place where records come from; the file's name is its name in the config.

Not here: what a source must do (`core.source`), how bytes of one format are read (`formats/`), state and identity
(`engine`). Invariant: a source imports `core` and `sources.formats` only, never another source.
"""

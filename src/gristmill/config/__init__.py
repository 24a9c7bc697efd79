"""The config: what a pipeline is, typed and frozen, read from a file or made in Python, and how two of them differ.

Not here: running it (`engine`), building one part from its parameters (`core.params`). Invariant: a config that exists is valid, and nothing
outside this room knows the config file's shape.
"""

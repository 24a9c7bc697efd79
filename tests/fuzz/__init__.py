"""Fuzz targets: one module a reader, with `SEEDS` and `one(data)`, which must hold whatever the bytes are."""

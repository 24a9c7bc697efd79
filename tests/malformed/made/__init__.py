"""Damaged files whose outcome is known by how they were made: rows, codes and warnings follow from `docs/guarantees.md`, not from what was read."""

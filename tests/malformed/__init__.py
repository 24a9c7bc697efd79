"""Malformed files: real ones with a table of what must become of each, and made ones with what must hold of any (`python -m tests.malformed`)."""

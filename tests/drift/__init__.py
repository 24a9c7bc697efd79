"""Drift on real text: what must be told, and how often chance is taken for it (`python -m tests.drift`)."""

"""The determinism matrix: one pipeline under many circumstances, one digest of every lasting byte."""

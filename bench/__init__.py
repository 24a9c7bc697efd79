"""The benchmarks: `python -m bench`. Figures are ratios to something measured in the same run, never bare numbers."""

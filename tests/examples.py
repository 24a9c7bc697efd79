"""How many examples a property test tries: a few in `make test`, many more under `make soak`."""

import os

SOAK = int(os.environ.get("GRISTMILL_SOAK", "0") or 0)


def examples(n: int) -> int:
    """Give how many examples to try where `make test` tries n."""
    return n * (SOAK or 1)

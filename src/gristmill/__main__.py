"""`python -m gristmill`: the same as the command `gristmill`.

Invariant: imported by a worker process it does nothing, as a worker is no command line.
"""

from __future__ import annotations

if __name__ == "__main__":
    from gristmill.cli import main

    main()

"""Arrow without pandas: in our own processes pyarrow does not load pandas until somebody else does.

With the first value it converts, pyarrow (26) loads pandas wherever that is installed, 0.2 s in each process, only to ask whether the
value is one of pandas; there are none in gristmill. Not here: anything that works with frames. Invariants: whoever imports pandas finds
it, and from then on pyarrow knows its values, as in any other process; a process that has loaded pandas stays as it is.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAME = "pandas"


class _Later:
    """An import hook: turns pyarrow away once, and has it look again when pandas is imported after all."""

    def __init__(self) -> None:
        self.turning_away = True

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Give the place of pandas; None for what is not pandas. Raises ModuleNotFoundError while pyarrow is turned away."""
        if name != _NAME:
            return None
        if self.turning_away:
            raise ModuleNotFoundError("pandas is not loaded yet", name=name)
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_tell(module: ModuleType) -> None:
                run(module)
                import pyarrow as pa

                pa.schema([]).empty_table().to_pandas()  # what needs pandas makes pyarrow look for it again

            spec.loader.exec_module = run_and_tell  # type: ignore[method-assign]
        return spec


def spare_pandas() -> None:
    """Have pyarrow do without pandas in this process until somebody imports it. Costs pyarrow's own import."""
    if _NAME in sys.modules or any(isinstance(finder, _Later) for finder in sys.meta_path):
        return
    import pyarrow as pa

    later = _Later()
    sys.meta_path.insert(0, later)
    try:
        pa.scalar(0)
    finally:
        later.turning_away = False

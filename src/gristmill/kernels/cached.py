"""Kernels out of Numba's cache, without what Numba needs to compile.

Before it looks whether a function lies in its cache, Numba loads all it can compile: how each function of Python and NumPy is done. That is a
fifth of the processor time of a small run. Here it is loaded only where a kernel is to be compiled. Not here: where the cache lies (`frozen`,
`warm`), what a kernel is (`utf8.kernel`). Invariant: whatever is not in the cache, or is not found this way because another
Numba has other names for its parts, is done in Numba's own way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache
from numba.core.runtime import rtsys


class _Cache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Give what was compiled for a signature, None where it is not in the cache."""
        try:
            rtsys.initialize(target_context)  # what counts arrays: code that makes one links to it
            with self._guard_against_spurious_io_errors():
                found = self._load_overload(sig, target_context)
        except AttributeError:
            found = None
        return super().load_overload(sig, target_context) if found is None else found


def jitted(function: Callable[..., Any], signature: Any) -> Any:
    """Compile a function for one signature, or load it from the cache; it releases the interpreter's lock.

    Raises:
        RuntimeError: there is no place for a cache.
        OSError: the cache cannot be written.
    """
    made = njit(nogil=True, cache=True)(function)
    if hasattr(made, "compile"):  # it is the function itself under NUMBA_DISABLE_JIT
        made._cache = _Cache(function)  # noqa: SLF001  as `enable_caching` does
        made.compile(signature)
        made.disable_compile()
    return made

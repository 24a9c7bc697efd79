"""A kernel cache that is read and never written: for container images, whose root is read-only when they run.

Numba looks here where `NUMBA_CACHE_LOCATOR_CLASSES` names `gristmill.kernels.frozen.Frozen` (the Dockerfile does). It finds what `gristmill warmup`
left under `NUMBA_CACHE_DIR`, which Numba's own way passes over when it cannot write there. Not here: filling the cache (`kernels.warm`).
Invariant: a kernel that is not in it (another processor than the image is for) is compiled for this process alone, and works.
"""

from __future__ import annotations

from pathlib import Path

from numba.core.caching import UserProvidedCacheLocator


class Frozen(UserProvidedCacheLocator):  # type: ignore[misc]
    """Where Numba keeps kernels under `NUMBA_CACHE_DIR`, whether it may write there or not."""

    def ensure_cache_path(self) -> None:
        """Ask only that the folder is there.

        Raises:
            FileNotFoundError: it is not.
        """
        if not Path(self.get_cache_path()).is_dir():
            raise FileNotFoundError(self.get_cache_path())

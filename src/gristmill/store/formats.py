"""Format versions: what this gristmill reads, refuses, and how manifests of earlier formats are read and brought forward.

    MIGRATIONS[n - 1] leads from format n to n + 1; there is none yet: format 1 is the only one there was

Not here: bringing a dataset forward for good (`engine.upgrade`). Invariants: what is newer than this gristmill is refused with the place
and what to do, never guessed at; a file that is committed is never written again: a manifest of an earlier format is lifted each time it is
read, and a run builds on one only after `gristmill upgrade` has published it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gristmill.core.errors import FormatError, StoreError, raise_of_system
from gristmill.store.layout import FORMAT

Json = dict[str, Any]


class Migration(msgspec.Struct, frozen=True):
    """One step forward. title: what changes, for people; lift: gives a manifest of the next format, and changes no file."""

    title: str
    lift: Callable[[Json], Json]


MIGRATIONS: tuple[Migration, ...] = ()


def check(path: Path, found: object, newest: int = FORMAT, oldest: int = FORMAT) -> None:
    """Refuse a file whose format is not one from `oldest` to `newest`.

    Raises:
        FormatError: it is newer or older.
        StoreError: it is no number.
    """
    if isinstance(found, int) and oldest <= found <= newest:
        return
    older = isinstance(found, int) and 0 < found < oldest
    raise (FormatError if isinstance(found, int) else StoreError)(
        f"{path} has format {found!r}, this gristmill knows {newest}; {'run `gristmill upgrade`' if older else 'upgrade gristmill'}"
    )


def lifted(path: Path, raw: Json, migrations: Sequence[Migration] = MIGRATIONS) -> Json:
    """Give a manifest as one of the newest format.

    Raises:
        StoreError: it is of a format that is not known.
    """
    newest = len(migrations) + 1
    check(path, raw.get("format"), newest, oldest=1)
    for at in range(raw["format"], newest):
        raw = migrations[at - 1].lift(raw) | {"format": at + 1}
    return raw


def on_disk(path: Path) -> int:
    """Give the format a manifest was written with.

    Raises:
        StoreError: it is missing or damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Format).format
    except (OSError, msgspec.MsgspecError) as error:
        raise_of_system(error, path)
        raise StoreError(
            f"{path} cannot be read ({type(error).__name__}); restore it or start a new dataset"
        ) from error


class _Format(msgspec.Struct, frozen=True):
    """Of any file that carries a format, that."""

    format: int

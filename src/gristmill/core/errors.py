"""The exceptions of gristmill, drawn as a tree; nothing else raises on purpose.

    GristmillError                  exit 1: failed, and safe to rerun
      ConfigError                   exit 2: the config or the command line is wrong; carries file:line:column
        MissingExtra                exit 2: a part needs an extra; carries the install command
        SourceMisconfigured         exit 2: a source has not what the config asks of it (a SourceError too)
      SourceError                   a source cannot be listed or read
        Transient                   worth another try (the only type that is retried on another attempt)
          FetchFailed               a request failed in passing (`net.fetch`)
        FetchRefused                a request that is not to be made, or an answer that will not change (`net.fetch`)
        PageMissing                 a page of a listing is not there (`net.listing`)
        UnitFailed                  one file of a source is bad: the task is redone without it, it is quarantined
      StepError                     a step failed outside a record
      ExportError                   an export cannot be made; the snapshot stands, the next run tries again
      TooManyErrors                 the quarantine budget is used up (over 1 % of the records)
      StoreError                    the dataset on disk is not what its manifest says
        StaleError                  another run committed in between
      LockedError                   exit 5: another run holds the dataset
      UnbalancedError               the accounting laws do not hold; nothing is published
      GateRefused                   exit 3: the gate refused the candidate
      DamageError                   exit 4: verify found damage
    Stopped                         exit 130/143: a signal asked the run to stop; no Exception, so that no step can take it for one

Not here: quarantine codes of records, which are data (`core.source.Reject`). Invariant: a message says what was found
(quoted, never document text or a secret), where, and what to do now; retry is decided by type, never by words.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let what the system says within be about `path`: of a file that is open already, and through Arrow, it tells none.

    A library in Rust tells the system's number in words alone; it is given back its place, for people: nothing is decided by it.
    """
    try:
        yield
    except OSError as error:
        told = re.search(r"\(os error (\d+)\)", str(error)) if error.errno is None else None
        if told is not None:
            raise OSError(int(told[1]), os.strerror(int(told[1])), os.fspath(path)) from error
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def raise_of_system(error: Exception, path: str | os.PathLike[str]) -> None:
    """Raise what the system said of a file that is there: a disk that cannot be read is no damage, and may be mended."""
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


class GristmillError(Exception):
    """Base of all errors raised on purpose. `exit_code` is the process exit code it leads to."""

    exit_code = 1


class ConfigError(GristmillError):
    """The config or the command line is wrong. `problems` holds one complete sentence each, with its place."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class MissingExtra(ConfigError):
    """A part needs an optional dependency that is not installed."""


class SourceError(GristmillError):
    """A source cannot be listed or read."""


class SourceMisconfigured(ConfigError, SourceError):
    """A source has not what the config asks of it: a column, a table, a cursor of that kind. Raised in planning only.

    It is a SourceError too: what a database has may change, and `on_error: skip` leaves the source out.
    """


class Transient(SourceError):
    """A passing failure of a source or store: the task may be tried again."""


class UnitFailed(SourceError):
    """One unit (file) of a split is bad from `code` on: nothing of it is kept; the task goes on with the next, or is redone without it."""

    def __init__(self, unit: str, code: str, detail: str, *, advance: bool = True) -> None:
        super().__init__(f"{unit}: {code}: {detail}")
        self.unit = unit
        self.code = code
        self.detail = detail
        self.advance = advance

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the fields when the error crosses a process border."""
        return (_unit_failed, (self.unit, self.code, self.detail, self.advance))


def _unit_failed(unit: str, code: str, detail: str, advance: bool) -> UnitFailed:
    return UnitFailed(unit, code, detail, advance=advance)


class StepError(GristmillError):
    """A step failed in a way that no single record explains."""


class ExportError(GristmillError):
    """An export cannot be made now. The snapshot stands, and the next run tries again."""


class TooManyErrors(GristmillError):
    """More than the allowed share of the records made a step raise."""


class StoreError(GristmillError):
    """The dataset on disk is not what its manifest says, or its format is not known."""


class FormatError(StoreError):
    """A file of the dataset is of another gristmill's format: nothing is damaged."""


class StaleError(StoreError):
    """Another run has committed since this one was planned."""


class LockedError(GristmillError):
    """Another run holds the dataset."""

    exit_code = 5


class UnbalancedError(GristmillError):
    """The accounting does not balance: nothing is published."""


class GateRefused(GristmillError):
    """The gate refused the candidate: nothing is published."""

    exit_code = 3


class DamageError(GristmillError):
    """`verify` found damage."""

    exit_code = 4


class Stopped(BaseException):
    """A signal asked the run to stop; what is done is kept and the next run goes on from it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}; run again to go on from here")
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the signal number when the error crosses a process border."""
        return (Stopped, (self.exit_code - 128,))

"""Track the results of flushes or claims in this process, for readiness."""

from collections.abc import Callable

import asyncpg

from app.domain.database_refusals import NONE, Refusals


class DatabaseResults:
    """The latest database results. Written by flushes and claims, read by readiness."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._refusals: Refusals = NONE
        self._is_proven = False  # whether anything succeeded since the process started

    def succeeded(self) -> None:
        """Record a success."""
        self._refusals, self._is_proven = NONE, True

    def refused(self, error: BaseException) -> None:
        """Record a failure, unless the written values caused it."""
        if not _is_at_fault(error):
            self._refusals = self._refusals.refused(self._monotonic())

    @property
    def are_refused(self) -> bool:
        """Return whether the database has refused every statement for some time."""
        return self._refusals.are_lasting

    @property
    def want_probe(self) -> bool:
        """Return whether a probe should test the database now."""
        return not self._is_proven or self._refusals.may_probe(self._monotonic())

    def probed(self) -> None:
        """Record that a probe succeeded."""
        self._is_proven = True
        if self._refusals.are_lasting:
            self._refusals = self._refusals.probed()


def _is_at_fault(error: BaseException) -> bool:
    """Return whether the written values caused the error: the database can still store other values."""
    state = str(getattr(error, "sqlstate", None) or "")
    # A missing partition is a check violation, and no request causes it.
    return state.startswith(("22", "23")) and state != asyncpg.CheckViolationError.sqlstate

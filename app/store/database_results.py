"""Record whether the database lately refused the flushes or claims of this process, for readiness."""

from collections.abc import Callable

import asyncpg

from app.domain.database_refusals import NONE, Refusals


class DatabaseResults:
    """Records whether the database accepts the statements of this process. `monotonic` returns seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._refusals: Refusals = NONE
        self._is_proven = False  # whether a statement or a probe succeeded since the process started

    def succeeded(self) -> None:
        """Record that a flush or a claim succeeded."""
        self._refusals, self._is_proven = NONE, True

    def refused(self, error: BaseException) -> None:
        """Record that a flush or a claim failed, unless the written values caused the error."""
        state = str(getattr(error, "sqlstate", None) or "")
        # Classes 22 and 23 concern values. A missing partition is a check violation that no value causes.
        if not state.startswith(("22", "23")) or state == asyncpg.CheckViolationError.sqlstate:
            self._refusals = self._refusals.refused(self._monotonic())

    @property
    def are_refused(self) -> bool:
        """Return whether the database has refused every flush or claim for some time."""
        return self._refusals.are_lasting

    @property
    def want_probe(self) -> bool:
        """Return whether readiness should test the database now by writing."""
        return not self._is_proven or self._refusals.may_probe(self._monotonic())

    def probed(self) -> None:
        """Record that the test of readiness succeeded."""
        self._is_proven = True
        if self._refusals.are_lasting:
            self._refusals = self._refusals.probed()

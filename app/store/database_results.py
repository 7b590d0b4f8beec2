"""How the flushes or claims of this process end: readiness follows them, not a row of its own alone."""

from collections.abc import Callable

import asyncpg

from app.domain.database_refusals import NONE, Refusals


class DatabaseResults:
    """What the database answered lately. Written where events are stored or claimed, read by readiness."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._refusals: Refusals = NONE
        self._is_proven = False  # whether anything succeeded since the process began

    def succeeded(self) -> None:
        """Note that the database did what was asked."""
        self._refusals, self._is_proven = NONE, True

    def refused(self, error: BaseException) -> None:
        """Note that the database did not do what was asked, unless what was asked is at fault."""
        if not _is_at_fault(error):
            self._refusals = self._refusals.refused(self._monotonic())

    @property
    def are_refused(self) -> bool:
        """Tell whether the database has refused everything for some time."""
        return self._refusals.are_lasting

    @property
    def want_probe(self) -> bool:
        """Tell whether a probe should find out now if the database does what is asked."""
        return not self._is_proven or self._refusals.may_probe(self._monotonic())

    def probed(self) -> None:
        """Note that a probe succeeded."""
        self._is_proven = True
        if self._refusals.are_lasting:
            self._refusals = self._refusals.probed()


def _is_at_fault(error: BaseException) -> bool:
    """Tell whether the values that were written are to blame, so that others may be stored."""
    state = str(getattr(error, "sqlstate", None) or "")
    # A missing partition is a check violation, and no post's fault.
    return state.startswith(("22", "23")) and state != asyncpg.CheckViolationError.sqlstate

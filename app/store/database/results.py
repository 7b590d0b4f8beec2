"""Record whether the database lately refused the flushes or claims of this process, for readiness."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.domain.database_refusals import LASTING_S, NONE, Refusals

# SQLSTATEs that the written values cause. No value causes the others of classes 22 and 23, such as an
# exhausted sequence and a missing partition.
_OF_VALUES = (
    "22001",
    "22003",
    "22007",
    "22008",
    "22021",
    "22P02",
    "22P03",
    "22P05",
    "23502",
    "23503",
    "23505",
)


class DatabaseResults:
    """Records whether the database accepts the statements of this process. `monotonic` returns seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._refusals: Refusals = NONE
        self._is_proven = False  # whether a statement or a probe succeeded since the process started
        self._flush_began: float | None = None  # the start of the running flush
        self._waiting_since = 0.0  # since when flushes run and none has succeeded
        self._idle_since = float("-inf")

    def succeeded(self) -> None:
        """Record that a flush or a claim succeeded."""
        self._refusals, self._is_proven = NONE, True
        self._waiting_since = self._monotonic()

    @contextmanager
    def flushing(self) -> Iterator[None]:
        """Record a flush as running during the block. Posts wait for it."""
        self._flush_began = now = self._monotonic()
        if now - self._idle_since >= LASTING_S:
            self._waiting_since = now
        try:
            yield
        finally:
            self._flush_began = None
            self._idle_since = self._monotonic()

    def refused(self, error: BaseException) -> None:
        """Record that a flush or a claim failed, unless the written values caused the error."""
        state = str(getattr(error, "sqlstate", None) or "")
        if state not in _OF_VALUES:
            self._refusals = self._refusals.refused(self._monotonic())

    @property
    def are_refused(self) -> bool:
        """Return whether the database has refused every flush or claim for some time, or a flush hangs."""
        return self._refusals.are_lasting or self.flush_age_s() >= LASTING_S

    def flush_age_s(self) -> float:
        """Return the seconds for which a flush has run, or flushes have run without a success.

        Return 0.0 without a flush.
        """
        if self._flush_began is None:
            return 0.0
        return self._monotonic() - min(self._waiting_since, self._flush_began)

    @property
    def want_probe(self) -> bool:
        """Return whether readiness should test the database now by writing."""
        return not self._is_proven or self._refusals.may_probe(self._monotonic())

    def probed(self) -> None:
        """Record that the test of readiness succeeded."""
        self._is_proven = True
        if self._refusals.are_lasting:
            self._refusals = self._refusals.probed()

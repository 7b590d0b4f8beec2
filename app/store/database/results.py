"""Record whether the database lately refused the flushes or claims of this process, for readiness.

A process that is not ready gets no requests, so no successful statement can show that the database works
again. A probe of the database therefore ends the state. But a probe writes other rows than a real statement:
after a probe, the next real statement decides. If it is refused, the state is lasting again at once and the
next probe comes later, so that readiness does not flap.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Refusals without a success between them are lasting if they span this long and are at least this many.
LASTING_S = 5.0
MIN_REFUSALS = 3
FIRST_HOLD_S = 10.0
LONGEST_HOLD_S = 60.0
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
        self._refusals = 0  # since the last success or probe
        self._first_refusal = 0.0
        self._lasting_from: float | None = None  # since when every statement is refused
        self._hold = 0.0  # no probe for this many seconds after `_lasting_from`
        self._is_proven = False  # whether a statement or a probe succeeded since the process started
        self._flush_began: float | None = None  # the start of the running flush
        self._waiting_since = 0.0  # since when flushes run and none has succeeded
        self._idle_since = float("-inf")

    def succeeded(self) -> None:
        """Record that a flush or a claim succeeded."""
        self._refusals, self._lasting_from, self._hold = 0, None, 0.0
        self._is_proven = True
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
        if str(getattr(error, "sqlstate", None) or "") in _OF_VALUES:
            return
        now = self._monotonic()
        if self._refusals == 0:
            self._first_refusal = now
        self._refusals += 1
        is_long = self._refusals >= MIN_REFUSALS and now - self._first_refusal >= LASTING_S
        if self._lasting_from is None and (is_long or self._hold > 0):
            self._lasting_from = now

    @property
    def are_refused(self) -> bool:
        """Return whether the database has refused every flush or claim for some time, or a flush hangs."""
        return self._lasting_from is not None or self.flush_age_s() >= LASTING_S

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
        is_due = self._lasting_from is not None and self._monotonic() >= self._lasting_from + self._hold
        return is_due or not self._is_proven

    def probed(self) -> None:
        """Record that the test of readiness succeeded."""
        self._is_proven = True
        if self._lasting_from is not None:
            self._refusals, self._lasting_from = 0, None
            self._hold = min(LONGEST_HOLD_S, max(FIRST_HOLD_S, self._hold * 2))

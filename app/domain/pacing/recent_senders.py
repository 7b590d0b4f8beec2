"""Which organisations send at present: those that posted within the last seconds. Pure.

Three modules have an instance of their own, because each module counts different posts. Admission control
counts every request with a body, because a request that stalls or is refused later uses memory too. The loop
limiter counts small posts. Group commit counts posts whose events it stores.
"""

from app.domain.pacing.owner_queue import Owner


class RecentSenders:
    """The two organisations that posted last, each with the time of its last post.

    An organisation counts as sending for `seconds` after its last post. Times are monotonic seconds.
    """

    __slots__ = ("_last", "_last_at", "_other_at", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: Owner = None
        self._last_at = self._other_at = float("-inf")  # the last post of each of the two

    def record(self, organisation: Owner, now: float) -> None:
        if organisation != self._last:
            self._last, self._other_at = organisation, self._last_at
        self._last_at = now

    def are_several(self, now: float) -> bool:
        """Return whether more than one organisation sends."""
        return now - self._other_at <= self._seconds

    def include_other(self, organisation: Owner, now: float) -> bool:
        """Return whether an organisation other than this one sends."""
        posted_at = self._other_at if organisation == self._last else self._last_at
        return now - posted_at <= self._seconds

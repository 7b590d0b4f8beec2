"""Decide when to park a destination because Amazon returns 404 for its requests.

Amazon does not document the cause: probably it does not know the path or the account. The events are not the
cause, so they wait. A probe request is sent from time to time until Amazon does not return 404. Times are in
seconds.
"""

from dataclasses import dataclass, replace
from typing import Final

from app.domain.outcomes.outcome import Missing, Outage, Reply, ServerError, TransportError


@dataclass(frozen=True, slots=True)
class EndpointPolicy:
    """Park a destination after `times` 404s in a row within at least `over` seconds, then probe it."""

    times: int = 3
    over: float = 60.0
    probe_every: float = 300.0


ENDPOINT_POLICY: Final = EndpointPolicy()
PROBE_EVERY: Final = f"every {ENDPOINT_POLICY.probe_every / 60:g} minutes"  # for sentences


@dataclass(frozen=True, slots=True)
class MissingRun:
    """The number of 404s in a row that a destination got, and the time of the first."""

    since: float
    times: int = 0

    def after(self, reply: Reply, now: float) -> "MissingRun":
        """Return the run after another reply. A failure with another cause leaves the run unchanged."""
        match reply:
            case Missing():
                return replace(self, times=self.times + 1) if self.times else MissingRun(now, 1)
            case ServerError() | TransportError():
                return self
            case _:
                return MissingRun(now)

    def is_too_long(self, policy: EndpointPolicy, now: float) -> bool:
        """Return whether the destination should be parked now."""
        return self.times >= policy.times and now - self.since >= policy.over


def has_answered(reply: Reply) -> bool:
    """Return whether a reply shows that Amazon knows the path and the account."""
    return not isinstance(reply, Outage)

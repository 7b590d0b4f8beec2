"""A 404 for a whole request: when a destination stops being tried with every event. Pure; times in seconds.

Amazon's contract names no cause; an unknown path or account is inferred. No event is to blame, so none dies
of it: they wait, and one request is tried now and then until Amazon answers.
"""

from dataclasses import dataclass, replace
from typing import Final

from app.domain.outcomes.outcome import Missing, Reply, ServerError, TransportError


@dataclass(frozen=True, slots=True)
class EndpointPolicy:
    """After `times` 404s in a row over `over` seconds the destination waits; `probe_every` one is tried."""

    times: int = 3
    over: float = 60.0
    probe_every: float = 300.0


ENDPOINT_POLICY: Final = EndpointPolicy()


@dataclass(frozen=True, slots=True)
class MissingRun:
    """The 404s in a row of one destination, `since` the first of them."""

    since: float
    times: int = 0

    def after(self, reply: Reply, now: float) -> "MissingRun":
        """Return the run after another reply. What says nothing of the endpoint neither adds nor ends."""
        match reply:
            case Missing():
                return replace(self, times=self.times + 1) if self.times else MissingRun(now, 1)
            case ServerError() | TransportError():
                return self
            case _:
                return MissingRun(now)

    def is_over(self, policy: EndpointPolicy, now: float) -> bool:
        """Tell whether the destination should wait from now on."""
        return self.times >= policy.times and now - self.since >= policy.over


def has_answered(reply: Reply) -> bool:
    """Tell whether a reply shows that Amazon knows the path and the account."""
    return not isinstance(reply, Missing | ServerError | TransportError)

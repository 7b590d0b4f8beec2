"""The dependencies of delivery: Amazon's events call, the clock and the random source."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from app.domain.destination import Region
from app.domain.outcomes.outcome import SentRequest


class EventsApi(Protocol):
    """The events call."""

    async def send(
        self,
        region: Region,
        *,
        access_token: str,
        advertiser_id: str,
        conversions: list[bytes],
        deadline_s: float = ...,
    ) -> SentRequest: ...


@dataclass(frozen=True, slots=True)
class Environment:
    """Clock and random source, as arguments: monotonic seconds, jitter in [0, 1)."""

    monotonic: Callable[[], float]
    jitter: Callable[[], float]

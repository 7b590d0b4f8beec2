"""Everything that a use case may use: connections, keys, Amazon, the delivery pipeline, the clock.

Routes, pages and commands receive it from the process that they run in.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.amazon.tokens import SignIn
from app.crypto import Vault
from app.domain.admission import Limits
from app.domain.conversion.consent import ConsentSettings
from app.domain.destination import Region
from app.domain.ids import DestinationNumber
from app.domain.outcomes.outcome import Unauthorized
from app.store.clock import DatabaseClock
from app.store.database_results import DatabaseResults

logger = logging.getLogger("app.admin.context")


FindAdvertiser = Callable[[Region, str, str], Awaitable[Visible | NotVisible | CannotTell | Unauthorized]]
"""Tell whether the advertiser (third) is visible in the region to the access token (second)."""


class DeliveryControl(Protocol):
    """What the acts on a destination ask of the road that its events travel."""

    async def quiesce(self, destination: DestinationNumber) -> None:
        """Return once every attempt that was started for the destination has settled or timed out."""
        ...

    async def waiting(self, connection: AsyncConnection, destination: DestinationNumber) -> int:
        """Return how many accepted events are still owed to Amazon."""
        ...

    async def discard(self, connection: AsyncConnection, destination: DestinationNumber) -> int:
        """Make what is still owed dead, with reason `discarded`, and return how many events that were."""
        ...

    async def wake(self, destination: DestinationNumber) -> None:
        """Tell workers that a destination changed; they would find out by themselves, only later."""
        ...


def _now() -> datetime:
    return datetime.now(UTC)


def _none_waiting() -> int:
    return 0


def _none_late() -> frozenset[str]:
    return frozenset()


async def _nothing() -> None:
    """Stand where nothing is to be done."""


@dataclass(frozen=True, slots=True, repr=False)
class AppContext:
    """Everything a route may use. `bootstrap_key_digest` is the SHA-256 of BOOTSTRAP_ADMIN_KEY, if set."""

    engine: AsyncEngine
    vault: Vault
    sign_in: SignIn
    find_advertiser: FindAdvertiser
    delivery_control: DeliveryControl
    public_url: str
    development: bool = False
    # False when AMAZON_CLIENT_ID or its secret is missing: connecting would fail at Amazon.
    amazon_configured: bool = True
    # Whether STATUS_CALLBACK_URL is set: somebody can be told of final states.
    callback_configured: bool = False
    bootstrap_key_digest: bytes | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    now: Callable[[], datetime] = _now
    monotonic: Callable[[], float] = monotonic
    # What readiness follows besides a row of its own: how flushes end, and how far our clock is off.
    outcomes: DatabaseResults | None = None
    clock: DatabaseClock | None = None
    # What preview needs to judge an event as the door does; the pepper makes derived event ids (engine §4).
    pepper: bytes = b""
    max_event_age: timedelta = timedelta(days=21)
    warn_event_age: timedelta = timedelta(days=7)
    consent: ConsentSettings = field(default_factory=ConsentSettings)
    # The receiving half of the road, and the connections that its traces and figures are read through.
    intake: Any = None
    pool: Any = None
    # When to turn requests away unread, and how many events wait for a commit.
    bounds: Limits = field(default_factory=Limits)
    events_waiting: Callable[[], int] = _none_waiting
    # Destinations whose queues are longer than what comes now may grow old.
    late: Callable[[], frozenset[str]] = _none_late
    # Writes the outlines of events that this process took and has not written yet.
    write_schema_samples: Callable[[], Awaitable[None]] = _nothing

    async def wake(self, destination: DestinationNumber) -> None:
        """Tell workers of a committed change. A lost notice costs a moment, not the answer."""
        try:
            await self.delivery_control.wake(destination)
        except Exception as error:
            logger.warning("workers were not told: %s", type(error).__name__)

"""What the root hands down to the web: resources, and the few things the web asks of others.

The web imports nothing that knows Amazon (ADR 0010): connecting a destination asks through the protocols
here, and the root puts Amazon's client, or a test's fake, behind them.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.crypto import Vault
from app.domain.admission import Bounds
from app.domain.conversion.consent import ConsentSettings
from app.domain.destination import Region
from app.domain.ids import AdvertiserId, DestinationNumber
from app.store.clock import DatabaseClock
from app.store.database_results import Outcomes

logger = logging.getLogger("app.api.context")


@dataclass(frozen=True, slots=True, repr=False)
class Granted:
    """Amazon gave tokens for the code. `lifetime_s` is the access token's, in seconds."""

    access_token: str
    refresh_token: str
    lifetime_s: int


@dataclass(frozen=True, slots=True)
class Declined:
    """Amazon did not take the code, used or expired or another client's, or not the token it gave for it."""


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Amazon does not know this application, or its secret: the operator's to mend, not the user's."""


@dataclass(frozen=True, slots=True)
class CannotTell:
    """Amazon gave no answer that can be relied on; asking again may help."""


class AmazonSignIn(Protocol):
    """Login with Amazon, as far as connecting a destination needs it."""

    def authorize_url(self, region: Region, *, state: str, code_verifier: str) -> str:
        """Return the page where the user clicks Allow; the verifier's S256 challenge travels in it."""
        ...

    async def exchange(
        self, region: Region, *, code: str, code_verifier: str
    ) -> Granted | Declined | Misconfigured | CannotTell:
        """Exchange a code for tokens, once."""
        ...


@dataclass(frozen=True, slots=True)
class Visible:
    """The signed-in user can see the advertiser; its name and currency, where Amazon said them."""

    name: str | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class NotVisible:
    """The signed-in user cannot see the advertiser in this region; the first ones that he sees."""

    ids: tuple[str, ...] = ()


class FindAdvertiser(Protocol):
    """Ask Amazon whether an advertiser is visible to an access token."""

    async def __call__(
        self, region: Region, *, access_token: str, advertiser_id: AdvertiserId
    ) -> Visible | NotVisible | CannotTell | Declined: ...


class Road(Protocol):
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
class Wiring:
    """Everything a route may use. `bootstrap_key_digest` is the SHA-256 of BOOTSTRAP_ADMIN_KEY, if set."""

    engine: AsyncEngine
    vault: Vault
    sign_in: AmazonSignIn
    find_advertiser: FindAdvertiser
    road: Road
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
    outcomes: Outcomes | None = None
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
    bounds: Bounds = field(default_factory=Bounds)
    events_waiting: Callable[[], int] = _none_waiting
    # Destinations whose queues are longer than what comes now may grow old.
    late: Callable[[], frozenset[str]] = _none_late
    # Writes the outlines of events that this process took and has not written yet.
    write_outlines: Callable[[], Awaitable[None]] = _nothing

    async def wake(self, destination: DestinationNumber) -> None:
        """Tell workers of a committed change. A lost notice costs a moment, not the answer."""
        try:
            await self.road.wake(destination)
        except Exception as error:
            logger.warning("workers were not told: %s", type(error).__name__)

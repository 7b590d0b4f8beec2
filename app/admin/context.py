"""The resources of use cases: database connections, encryption, Amazon, the delivery pipeline, the clock.

Also the settings that conversions depend on.

Routes, pages and commands receive the context from their process.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeAlias, TypeVar

from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.admin import NO_CALLER, Caller
from app.admin.access.people import PersonClaims
from app.amazon.accounts import Visibility
from app.amazon.tokens import SignIn
from app.computation_thread import ComputationThread
from app.crypto import OpaqueTexts, Vault
from app.domain.admission import Limits
from app.domain.conversion.results import DeploymentRules
from app.domain.destination import Region
from app.domain.ids import KeyId, OrganisationId
from app.domain.notifications import Channel
from app.domain.outcomes.outcome import SentRequest
from app.health import Readiness
from app.ingest.intake import Intake
from app.store import PipelineConnection, audit, transaction
from app.store.audit import AuditAction
from app.store.destinations.destinations import Destination
from app.store.organisations.scope import NONE, PipelinePool, scoped_engine, scoped_pool
from app.telemetry import OtlpSpans, describe_exception

if TYPE_CHECKING:
    from app.admin.destinations.delivery_control import DeliveryControl
    from app.oidc_client import OidcClient

logger = logging.getLogger("app.admin.context")

P = ParamSpec("P")
R = TypeVar("R")


FindAdvertiser = Callable[[Region, str, str], Awaitable[Visibility]]
"""Takes region, access token and advertiser id. Returns whether the token gives access to the advertiser."""


class SendConversions(Protocol):
    """Sends finished conversions to Amazon in one request, outside the delivery pipeline."""

    async def __call__(
        self, region: Region, *, access_token: str, advertiser_id: str, conversions: Sequence[bytes]
    ) -> SentRequest: ...


def _forget(id_: object) -> None:
    """Do nothing: this process has no cache."""


@dataclass(slots=True)
class RefusalLimit:
    """Counts refused sign-ins without an identity, and allows 60 a minute in the audit."""

    minute: int = 0
    count: int = 0

    def allows(self, now: float) -> bool:
        """Count one refusal. Return whether the audit records it."""
        minute = int(now // 60)
        self.count = self.count + 1 if minute == self.minute else 1
        self.minute = minute
        return self.count <= 60


Members: TypeAlias = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Update:
    """A transaction that changes the configuration or the pipeline's rows, and who acts in it."""

    connection: AsyncConnection
    driver: PipelineConnection
    by: str

    async def record(
        self, action: AuditAction, subject: str, before: Members = None, after: Members = None
    ) -> None:
        """Record an action of this transaction in the audit."""
        await audit.record(self.connection, self.by, action, subject, before=before, after=after)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """The deployment's settings that conversions depend on.

    `pepper` is the key of the event ids that the service derives, and of fingerprints of texts.
    """

    pepper: bytes = field(repr=False)
    deployment: DeploymentRules = field(default_factory=DeploymentRules)
    now: Callable[[], datetime] = _now


@dataclass(frozen=True, slots=True, repr=False)
class AppContext(EvaluationSettings):
    """The resources of a use case. `bootstrap_key_digest` is the SHA-256 of BOOTSTRAP_ADMIN_KEY, if set."""

    engine: AsyncEngine
    pool: PipelinePool  # connections for event history and statistics
    # The ingest pipeline. It also holds samples, rejections and counts of shadows that are not stored yet.
    intake: Intake
    vault: Vault
    sign_in: SignIn
    find_advertiser: FindAdvertiser
    send_conversions: SendConversions
    delivery_control: "DeliveryControl"
    readiness: Readiness
    public_url: str
    development: bool = False
    # Whether the public port serves /metrics, /docs and /openapi.json.
    publishes_reference: bool = True
    # False when AMAZON_CLIENT_ID or AMAZON_CLIENT_SECRET is missing; connecting would then fail.
    amazon_configured: bool = True
    # Whether STATUS_CALLBACK_URL is set.
    callback_configured: bool = False
    bootstrap_key_digest: bytes | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    spans: OtlpSpans | None = None
    monotonic: Callable[[], float] = monotonic
    # The OpenID Connect provider at which people sign in, if any, and the meaning of its claims.
    people: "OidcClient | None" = None
    people_claims: PersonClaims = field(default_factory=PersonClaims)
    refusals: RefusalLimit = field(default_factory=RefusalLimit)
    # Whether API keys can open the console.
    key_sign_in: bool = True
    # The limits of admission control.
    bounds: Limits = field(default_factory=Limits)
    # The destinations of each organisation whose queue is so long that a new event would expire before
    # delivery.
    late: Mapping[OrganisationId, Set[str]] = field(default_factory=dict)
    # The notification channels without their addresses, which are credentials.
    channels: Sequence[Channel] = ()
    rejection_days: int = 7
    # Remove a key or an organisation from the caches of this process, after a change was committed.
    forget_key: Callable[[KeyId], None] = _forget
    forget_organisation: Callable[[OrganisationId], None] = _forget
    # Who acts, for which organisation, and the threads for its computations: those that may take
    # seconds, such as a backtest, and those of up to 0.2 s, which would wait for them.
    caller: Caller = NO_CALLER
    organisation: OrganisationId = NONE
    computations: ComputationThread = field(default_factory=ComputationThread)
    short_computations: ComputationThread = field(default_factory=ComputationThread)

    @property
    def opaque(self) -> OpaqueTexts:
        """The texts that stand for numbers in responses."""
        return OpaqueTexts(self.pepper)

    def of_caller(self, caller: Caller) -> "AppContext":
        """Return the context in which this caller acts, within its organisation."""
        return self.within(caller.organisation, caller=caller)

    def within(self, organisation: OrganisationId, *, caller: Caller | None = None) -> "AppContext":
        """Return a context whose transactions see only the rows of this organisation."""
        return replace(
            self,
            caller=caller or self.caller,
            organisation=organisation,
            engine=scoped_engine(self.engine, organisation),
            pool=scoped_pool(self.pool, organisation),
        )

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PipelineConnection]:
        """Lend a connection of the pipeline whose queries all see the same state."""
        async with (
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Update]:
        """Begin a transaction of the caller."""
        async with transaction(self.engine) as (connection, driver):
            yield Update(connection, driver, self.caller.actor)

    async def compute(self, function: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
        """Return the function's result, computed outside the event loop. No transaction should be open."""
        return await self.computations.run(self.organisation, function, *args, **named)

    async def compute_short(self, function: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
        """Do the same for a computation of up to 0.2 s. It waits for no long computation."""
        return await self.short_computations.run(self.organisation, function, *args, **named)

    async def wake(self, destination: Destination) -> None:
        """Notify workers of a committed change. Never raises: a lost notification only delays delivery."""
        try:
            await self.delivery_control.wake(destination.lane)
        except Exception as error:
            fields = {"destination_id": destination.id, "error": describe_exception(error)}
            logger.warning("delivery.wake_failed", extra={"fields": fields})

"""What the roots open and close: connections, keys, Amazon's clients. Serves the roots only."""

import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import asyncpg
from pydantic import SecretStr
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random_exponential

from app.amazon.tokens import SignIn
from app.crypto import CannotDecrypt, Vault
from app.domain.ids import OrganisationId
from app.domain.pacing.lane_limits import TIMES
from app.oidc_client import OidcClient
from app.settings import DatabaseRole, Settings, SettingsError, named_keys
from app.store import keepalive, key_usage, organisation_scope
from app.store import secrets as stored_secrets
from app.store.clock import DatabaseClock
from app.store.database_results import DatabaseResults
from app.store.organisation_scope import EVERY, NONE
from app.telemetry import Telemetry

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.ext.asyncio import AsyncEngine

# Names of the application in pg_stat_activity, so that an operator can tell the connections apart.
_APPLICATION = "conversions"
_WRITERS = 64
# Commands that read or change what neither the API nor a worker may; all others act as the API.
_DATABASE_ROLES: Mapping[str, DatabaseRole] = {
    "worker": "worker",
    "rotate-keys": "owner",
    "audit": "owner",
    "balance": "owner",
}


@dataclass(frozen=True, repr=False)
class Resources:
    """Everything a process shares between its parts. `writer` names its rows in the counts."""

    settings: Settings
    role: str
    pool: asyncpg.Pool
    vault: Vault
    pepper: bytes
    writer: int
    name: str
    telemetry: Telemetry
    dsn: str
    outcomes: DatabaseResults
    clock: DatabaseClock

    async def connect(self) -> asyncpg.Connection:
        """Return a connection of its own, outside the pool; the caller closes it.

        It lives long and says few things over and over. Postgres plans them once, and not, as it would those
        on partitioned tables, every time anew: a sixth of what a flush of ten lone events costs it.
        """
        settings = session_settings("own", plans_once=True, organisation=EVERY)
        return await keepalive.connect(self.dsn, server_settings=settings, timeout=_patience_of(self.role))

    @cached_property
    def engine(self) -> "AsyncEngine":
        """The connections of the configuration's SQL, made when they are first asked for.

        The road does without them, and so does a worker that nobody watches: SQLAlchemy takes 20 MB.
        """
        from sqlalchemy import event
        from sqlalchemy.ext.asyncio import create_async_engine

        made = create_async_engine(
            "postgresql+asyncpg://",
            # The driver reads the address: it may name several servers, of which one can be written to.
            async_creator=lambda: keepalive.connect(
                self.dsn, server_settings=session_settings(self.role), timeout=_patience_of(self.role)
            ),
            pool_size=5,
            max_overflow=5,
            pool_timeout=_patience_of(self.role),
            pool_pre_ping=True,
            # An exception must never show the values of a statement: they may be a person's.
            hide_parameters=True,
        )

        organisation_scope.prepare_engine(made)

        @event.listens_for(made.sync_engine, "handle_error")
        def _count(context: "ExceptionContext") -> None:
            self.telemetry.count_database_error(context.original_exception)

        return made

    def engine_of(self, organisation: OrganisationId) -> "AsyncEngine":
        """Return the engine for transactions that act for an organisation."""
        return organisation_scope.scoped_engine(self.engine, organisation)

    async def close_engine(self) -> None:
        """Close the engine, where there is one."""
        if "engine" in vars(self):
            await self.engine.dispose()


@asynccontextmanager
async def open_resources(settings: Settings, *, role: str, pool_size: int) -> AsyncIterator[Resources]:
    """Open what a process of this role needs, wait for the database, and close it all at the end."""
    if settings.database_url is None or settings.encryption_keys is None:
        raise ValueError("DATABASE_URL and ENCRYPTION_KEYS must be known before resources are opened")
    dsn = settings.database_for(_DATABASE_ROLES.get(role, "api")).replace(
        "postgresql+asyncpg://", "postgresql://", 1
    )
    vault = Vault(named_keys(settings.encryption_keys))
    pool, pepper = await _opened_pool(dsn, vault, role=role, size=pool_size)
    try:
        resources = Resources(
            settings=settings,
            role=role,
            pool=pool,
            vault=vault,
            pepper=pepper,
            writer=random.randrange(_WRITERS),  # noqa: S311
            name=f"{role}-{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(3)}",
            telemetry=Telemetry(),
            dsn=dsn,
            outcomes=DatabaseResults(time.monotonic),
            clock=DatabaseClock(),
        )
        try:
            yield resources
        finally:
            await resources.close_engine()
    finally:
        await pool.close()


def amazon_sign_in(settings: Settings) -> SignIn:
    """Return the client of Amazon's sign-in; the caller closes it.

    Without an application's id and secret Amazon refuses: connecting says so before, and a destination waits.
    """
    return SignIn(
        settings.amazon_client_id or "",
        settings.amazon_client_secret or SecretStr(""),
        f"{settings.public_url.rstrip('/')}/oauth/amazon/callback",
        settings.amazon_base_url,
    )


def oidc_client(settings: Settings) -> OidcClient | None:
    """Return the client of the provider at which people sign in, or None where there is none."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    secret = settings.oidc_client_secret
    return OidcClient(
        settings.oidc_issuer,
        settings.oidc_client_id,
        None if secret is None else secret.get_secret_value(),
        f"{settings.public_url.rstrip('/')}/console/oidc/callback",
    )


async def _pepper(connection: asyncpg.pool.PoolConnectionProxy, vault: Vault) -> bytes:
    """Return the content hash's key, made once and kept sealed. It never rotates: retries would conflict."""
    place = "secrets/content_pepper"
    fresh = vault.seal(secrets.token_bytes(32), place=place)
    sealed = await stored_secrets.keep_first(connection, "content_pepper", fresh)
    return vault.open(sealed, place=place)


def _may_come(error: BaseException) -> bool:
    """Tell whether a database that cannot be used now may be later: no server yet, or one that is not ready.

    Not past its recovery, out of connections, being stopped; or of several servers none can be written to.
    """
    if isinstance(error, OSError | asyncpg.InternalClientError | asyncpg.TargetServerAttributeNotMatched):
        return True
    return str(getattr(error, "sqlstate", None) or "").startswith(("08", "53", "57"))


@retry(
    retry=retry_if_exception(_may_come),
    wait=wait_random_exponential(multiplier=0.2, max=3),
    stop=stop_after_delay(60),
    reraise=True,
)
async def _opened_pool(dsn: str, vault: Vault, *, role: str, size: int) -> tuple[asyncpg.Pool, bytes]:
    """Return the pool of a process and the pepper, once the database can be used."""
    pool = await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size,
        connect=keepalive.connect,
        server_settings=session_settings(role, plans_once=role == "worker", organisation=EVERY),
        # The road leaves nothing behind on a connection; a reset would cost a round trip each time.
        reset=_leave_as_is,
        timeout=_patience_of(role),
    )
    try:
        async with pool.acquire() as connection, connection.transaction():
            pepper = await _pepper(connection, vault)
            await key_usage.note(connection, vault.writes)
            return pool, pepper
    except CannotDecrypt as problem:
        pool.terminate()
        raise SettingsError(
            [f"ENCRYPTION_KEYS: do not open what the database holds: a secret is {problem}."]
        ) from None
    except BaseException:
        pool.terminate()
        raise


def _patience_of(role: str) -> float:
    """Return the seconds that a connection is waited for: callers of the API are answered within two."""
    return 1.5 if role == "api" else 10.0


async def _leave_as_is(connection: asyncpg.Connection) -> None:
    del connection


def session_settings(
    role: str, *, plans_once: bool = False, organisation: OrganisationId = NONE
) -> dict[str, str]:
    """Return what is said for a session. One that `plans_once` plans a statement once, whatever is asked.

    So for statements that are asked over and over, each for a few rows by their keys: over thirty
    partitions Postgres would plan them anew each time, which cost more than to carry them out.
    `organisation` is whom a transaction acts for that sets nothing else.
    """
    return {
        "application_name": f"{_APPLICATION}-{role}",
        # Said for every session, whatever the role or the database has as its default. 202 means on disk.
        "synchronous_commit": "on",
        # What is looked at after a lock must be what stood there when it was taken, not before.
        "default_transaction_isolation": "read committed",
        organisation_scope.SETTING: organisation,
        "timezone": "UTC",
        "jit": "off",
        "statement_timeout": "30s",
        # A worker that froze inside a transaction holds rows of lanes and batches: they must be free when its
        # leases end.
        "idle_in_transaction_session_timeout": f"{TIMES.silent_after * 1000:.0f}ms",
        "plan_cache_mode": "force_generic_plan" if plans_once else "auto",
        # A session of a process that is out of reach ends, and its locks with it.
        **keepalive.SERVER_SETTINGS,
    }

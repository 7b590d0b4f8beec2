"""Open and close the resources of a process: database connections and encryption keys.

A process waits for its database, and logs what it waits for.
"""

import asyncio
import logging
import os
import random
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import unquote, urlsplit

import asyncpg
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    stop_never,
    wait_random_exponential,
)

from app import health
from app.crypto import CannotDecrypt, Vault
from app.domain.ids import OrganisationId
from app.domain.pacing.lane_limits import TIMES
from app.setting_types import DatabaseRole
from app.settings import Settings, SettingsError
from app.store import encryption, transactions
from app.store.counts import WRITERS, CountWriter
from app.store.database import schema_revision
from app.store.database.clock import DatabaseClock
from app.store.database.results import DatabaseResults
from app.store.database.servers import COMMAND_TIMEOUT_S, SERVER_SETTINGS, Servers, servers_of
from app.store.errors import connection_problem
from app.store.organisations import scope
from app.telemetry import VERSION, OtlpSpans, Telemetry, configure_logging

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.ext.asyncio import AsyncEngine

Result = TypeVar("Result")
_REPORT_EVERY_S: Final = 30.0
_COMMAND_WAIT_S: Final = 60.0
_log = logging.getLogger(__name__)
# The database roles of processes and commands that do not connect as the API.
_DATABASE_ROLES: Mapping[str, DatabaseRole] = {
    "worker": "worker",
    "rotate-keys": "owner",
    "audit": "owner",
    "balance": "owner",
    "backup": "backup",
    "scan-personal-data": "owner",
    "database-roles": "owner",
    "migrate": "owner",
}


@dataclass(frozen=True, repr=False)
class Resources:
    """The resources of a process."""

    settings: Settings
    role: str
    pool: asyncpg.Pool
    vault: Vault
    pepper: bytes
    writer: CountWriter
    name: str
    telemetry: Telemetry
    dsn: str
    servers: Servers
    outcomes: DatabaseResults
    clock: DatabaseClock
    readiness: health.Readiness

    async def connect(self) -> asyncpg.Connection:
        """Open a long-lived connection outside the pool. The caller closes it.

        Postgres plans each statement of this connection only once. Planning over all partitions would take a
        sixth of the time of a flush of ten events.
        """
        settings = session_settings("own", plans_once=True, organisation=scope.EVERY)
        return await self.servers.connect(
            self.dsn, server_settings=settings, timeout=connect_timeout(self.role)
        )

    @cached_property
    def _engine(self) -> "AsyncEngine":
        """The SQLAlchemy engine for configuration, which acts for no organisation.

        It is created on first use: a worker never needs the 20 MB of SQLAlchemy.
        """
        from sqlalchemy import event
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(
            "postgresql+asyncpg://",
            # asyncpg parses the URL, because a URL may name several servers. Only one of them is writable.
            async_creator=lambda: self.servers.connect(
                self.dsn, server_settings=session_settings(self.role), timeout=connect_timeout(self.role)
            ),
            pool_size=5,
            max_overflow=5,
            pool_timeout=connect_timeout(self.role),
            pool_pre_ping=True,
            # Parameters may be personal data and must not appear in exceptions.
            hide_parameters=True,
        )

        scope.prepare_engine(engine)

        @event.listens_for(engine.sync_engine, "handle_error")
        def _count(context: "ExceptionContext") -> None:
            self.telemetry.count_database_error(context.original_exception)

        return engine

    def engine_of(self, organisation: OrganisationId) -> "AsyncEngine":
        """Return the engine for transactions that see only the rows of one organisation, or of EVERY one.

        Ingest and delivery do not use it.
        """
        return scope.scoped_engine(self._engine, organisation)

    async def close_engine(self) -> None:
        """Close the engine if it was created."""
        if "_engine" in vars(self):
            await self._engine.dispose()


@asynccontextmanager
async def open_resources(settings: Settings, *, role: str, pool_size: int) -> AsyncIterator[Resources]:
    """Wait for the database and open the resources of a process. Close them at the end of the block."""
    if settings.database_url is None or settings.encryption_keys is None:
        raise ValueError("DATABASE_URL and ENCRYPTION_KEYS must be known before resources are opened")
    dsn, servers = dsn_of(settings, role), Servers()
    vault = Vault(settings.named_keys)
    is_process = role in ("api", "worker")
    if is_process:
        _log_start(settings, dsn, role)
    elif not logging.getLogger().hasHandlers():
        configure_logging("warning")  # a command logs only what it waits for
    outcomes, clock = DatabaseResults(time.monotonic), DatabaseClock()
    async with AsyncExitStack() as stack:
        spans = None
        if is_process and settings.otlp_endpoint is not None:
            percent = settings.otlp_sample_percent
            try:
                spans = OtlpSpans(settings.otlp_endpoint, sample_percent=percent, role=role)
            except ImportError:
                raise SettingsError(["OTLP_ENDPOINT: the extra `otlp` is not installed."]) from None
            stack.callback(spans.close)
        # The check has its own connection, which it opens first when it is asked: a process is ready although
        # its other connections are in use.
        checks = _pool_of(dsn, servers, role, min_size=0, max_size=1)
        pool, pepper = await wait_for_database(
            partial(_open_pool, dsn, servers, vault, role=role, size=pool_size), dsn, forever=is_process
        )
        stack.push_async_callback(pool.close)
        resources = Resources(
            settings=settings,
            role=role,
            pool=pool,
            vault=vault,
            pepper=pepper,
            writer=CountWriter(
                random.randrange(WRITERS),  # noqa: S311
                callbacks_enabled=settings.status_callback_url is not None,
            ),
            name=f"{role}-{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(3)}",
            telemetry=Telemetry(spans),
            dsn=dsn,
            servers=servers,
            outcomes=outcomes,
            clock=clock,
            readiness=health.Readiness(
                await checks,
                time.monotonic,
                role=health.WORKER if role == "worker" else health.API,
                outcomes=outcomes,
                clock=clock,
            ),
        )
        stack.push_async_callback(checks.close)
        stack.push_async_callback(resources.close_engine)
        stack.callback(servers.close)
        resources.telemetry.age_limit.set(timedelta(days=settings.max_event_age_days).total_seconds())
        follower = asyncio.create_task(servers.follow(dsn))
        stack.callback(follower.cancel)
        yield resources


def _log_start(settings: Settings, dsn: str, role: str) -> None:
    fields = {
        "version": VERSION,
        "process": role,
        "address": f"{settings.host}:{settings.port}" if role == "api" else None,
        "metrics_port": settings.metrics_port,
        **place_of(dsn),
        "keys": ", ".join(key.id for key in settings.named_keys),
    }
    _log.info("process.started", extra={"fields": fields})


def database_role(role: str) -> DatabaseRole:
    """Return the database role of a process or command."""
    return _DATABASE_ROLES.get(role, "api")


def dsn_of(settings: Settings, role: str) -> str:
    """Return the URL, in asyncpg's form, with which a process of this role connects."""
    url = settings.database_for(database_role(role))
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


@asynccontextmanager
async def connected_as(
    settings: Settings,
    role: str,
    *,
    server_settings: Mapping[str, str] | None = None,
    command_timeout: float | None = COMMAND_TIMEOUT_S,
) -> AsyncIterator[asyncpg.Connection]:
    """Open one connection exactly as the pool of a process of this role does, and close it at the end.

    `server_settings` replace those of the pool. With a `command_timeout` of None, only the server limits the
    time of a statement.
    """
    connection = await Servers().connect(
        dsn_of(settings, role),
        server_settings=pool_settings(role) if server_settings is None else server_settings,
        timeout=connect_timeout(role),
        command_timeout=command_timeout,
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def _pepper(connection: asyncpg.pool.PoolConnectionProxy, vault: Vault) -> bytes:
    """Return the key of the content hash, which recognises repeated events. The first process creates it.

    The key is never rotated: with a new key, a repeated event would look like a different event with the same
    id.
    """
    return await encryption.keep_secret(connection, vault, "content_pepper", secrets.token_bytes(32))


async def _open_pool(
    dsn: str, servers: Servers, vault: Vault, *, role: str, size: int
) -> tuple[asyncpg.Pool, bytes]:
    """Return the connection pool and the key of the content hash."""
    pool = await _pool_of(dsn, servers, role, min_size=1, max_size=size)
    try:
        async with pool.acquire() as connection, connection.transaction():
            await schema_revision.require(connection)
            pepper = await _pepper(connection, vault)
            await encryption.note_key(connection, vault.writes)
            return pool, pepper
    except BaseException as error:
        pool.terminate()
        if isinstance(error, CannotDecrypt):
            problem = f"ENCRYPTION_KEYS: they cannot decrypt the database's secret: it is {error}."
            raise SettingsError([problem]) from None
        raise


def _pool_of(dsn: str, servers: Servers, role: str, *, min_size: int, max_size: int) -> asyncpg.Pool:
    """Return a pool whose connections act for every organisation. Awaiting it opens the first `min_size`."""
    return asyncpg.create_pool(
        dsn,
        min_size=min_size,
        max_size=max_size,
        connect=servers.connect,
        server_settings=pool_settings(role),
        # Our SQL leaves no state in a session, and a reset would cost a round trip for each use.
        reset=_no_reset,
        timeout=connect_timeout(role),
    )


def connect_timeout(role: str) -> float:
    """Return the seconds that a caller waits for a connection. The API must respond within two seconds."""
    return 1.5 if role == "api" else 10.0


async def _no_reset(connection: asyncpg.Connection) -> None:
    del connection


def pool_settings(role: str) -> dict[str, str]:
    """Return the settings of the sessions in the pool of a process."""
    return session_settings(role, plans_once=role == "worker", organisation=scope.EVERY)


def session_settings(
    role: str, *, plans_once: bool = False, organisation: OrganisationId = scope.NONE
) -> dict[str, str]:
    """Return the settings of a database session.

    `plans_once` forces generic plans. They suit repeated statements that find a few rows by key: to plan such
    a statement over 30 partitions costs more than to execute it. A transaction that sets no acting
    organisation acts for `organisation`.
    """
    return {
        "application_name": f"conversions-{role}",
        # A 202 promises that the event is on disk. The database may have another default.
        "synchronous_commit": "on",
        # After a lock, a statement must see the rows that other transactions wrote before the lock.
        "default_transaction_isolation": "read committed",
        scope.SETTING: organisation,
        "timezone": "UTC",
        "jit": "off",
        "statement_timeout": "30s",
        "lock_timeout": f"{transactions.LOCK_TIMEOUT_S * 1000:.0f}ms",
        # A worker that freezes in a transaction keeps rows locked. This timeout frees the rows when the
        # worker's leases expire.
        "idle_in_transaction_session_timeout": f"{TIMES.silent_after * 1000:.0f}ms",
        "plan_cache_mode": "force_generic_plan" if plans_once else "auto",
        # Statements of the pipeline find their rows by an index. Postgres would scan a table that was empty
        # at its last ANALYZE, however long it has become since.
        "enable_seqscan": "off" if organisation == scope.EVERY else "on",
        # Postgres ends the session of an unreachable process, and so releases its locks.
        **SERVER_SETTINGS,
    }


async def wait_for_database(open_: Callable[[], Awaitable[Result]], dsn: str, *, forever: bool) -> Result:
    """Call `open_` until the database is usable, and return its result.

    A command waits for a minute, and not for a migration. A process waits `forever`: another container may
    start the database or run `migrate` at any time. Any other error ends the wait.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(_is_transient if forever else _is_unreachable),
        wait=wait_random_exponential(multiplier=0.2, max=3),
        stop=stop_never if forever else stop_after_delay(_COMMAND_WAIT_S),
        before_sleep=_reporter(dsn, time.monotonic),
        reraise=True,
    )
    return await retrying(open_)


def place_of(dsn: str) -> Mapping[str, str]:
    """Return the log fields that say where a database is: servers, database and role, without password."""
    parts = urlsplit(dsn)
    return {
        "servers": ", ".join(f"{server.host}:{server.port}" for server in servers_of(dsn)),
        "database": unquote(parts.path.lstrip("/")),
        "database_role": unquote(parts.username or ""),
    }


def _reporter(dsn: str, monotonic: Callable[[], float]) -> Callable[[RetryCallState], None]:
    """Return a function that logs a warning at the first failed attempt, and then every 30 s."""
    next_at = float("-inf")

    def report(state: RetryCallState) -> None:
        nonlocal next_at
        if (now := monotonic()) < next_at or state.outcome is None:
            return
        next_at = now + _REPORT_EVERY_S
        error = state.outcome.exception()
        assert error is not None
        reason = connection_problem(error) or type(error).__name__
        _log.warning("database.waiting", extra={"fields": {**place_of(dsn), "reason": reason}})

    return report


def _is_transient(error: BaseException) -> bool:
    """Return whether the database may soon be usable."""
    return isinstance(error, schema_revision.NotMigrated) or _is_unreachable(error)


def _is_unreachable(error: BaseException) -> bool:
    """Return whether the database is unreachable, starting, stopping or full."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    if isinstance(error, OSError | asyncpg.InternalClientError | asyncpg.TargetServerAttributeNotMatched):
        return True
    return str(getattr(error, "sqlstate", None) or "").startswith(("08", "53", "57"))

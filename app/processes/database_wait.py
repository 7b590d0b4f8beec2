"""Wait for the database at the start of a process, and log what the process waits for."""

import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar
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

from app.store.database.schema_revision import NotMigrated
from app.store.database.servers import servers_of
from app.store.errors import connection_problem

Result = TypeVar("Result")
_REPORT_EVERY_S: Final = 30.0
_COMMAND_WAIT_S: Final = 60.0
_log = logging.getLogger(__name__)


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
    return isinstance(error, NotMigrated) or _is_unreachable(error)


def _is_unreachable(error: BaseException) -> bool:
    """Return whether the database is unreachable, starting, stopping or full."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    if isinstance(error, OSError | asyncpg.InternalClientError | asyncpg.TargetServerAttributeNotMatched):
        return True
    return str(getattr(error, "sqlstate", None) or "").startswith(("08", "53", "57"))

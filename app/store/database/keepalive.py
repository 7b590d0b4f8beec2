"""Open connections to Postgres with TCP keepalive, so that a half-open connection is noticed.

Only this module uses private parts of asyncpg, its transport and its parser of host lists.
`tests/commands/test_database_sessions.py` checks them with the pinned version.
"""

import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import _parse_hostlist  # type: ignore[attr-defined]

_T = TypeVar("_T")

IDLE_S: Final = 10  # silence before the first keepalive probe
INTERVAL_S: Final = 5  # between two probes
COUNT: Final = 3  # this number of unanswered probes ends the connection
UNACKNOWLEDGED_S: Final = 20  # unacknowledged data ends the connection after this time
# The client's timeout of one statement. If a device on the network acknowledges everything and forwards
# nothing, TCP detects no fault and only this timeout ends the wait. It is longer than the server's
# statement_timeout, whose error is more specific.
COMMAND_TIMEOUT_S: Final = 35.0
CLOSE_TIMEOUT_S: Final = 5.0  # the driver waits until the server has ended the session, too

# Keepalive of the server, so that it releases the locks of an unreachable client. The server ignores these
# settings on a Unix socket, and each setting that its operating system does not support.
SERVER_SETTINGS: Final[Mapping[str, str]] = {
    "tcp_keepalives_idle": str(IDLE_S),
    "tcp_keepalives_interval": str(INTERVAL_S),
    "tcp_keepalives_count": str(COUNT),
    "tcp_user_timeout": str(UNACKNOWLEDGED_S * 1000),
}


class ServerAddress(NamedTuple):
    """A server that a database URL names. `host` can be the folder of a Unix socket."""

    host: str
    port: int


def servers_of(dsn: str) -> list[ServerAddress]:
    """Return the servers of a URL in its order; none if it leaves them to the environment."""
    parts = urlsplit(dsn)
    given = parts.netloc.rpartition("@")[2]
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if not (given or query.get("host")):
        return []
    ports = None if given else [int(port) for port in query.get("port", "").split(",") if port]
    hosts, ports = _parse_hostlist(given or query["host"], ports, unquote=bool(given))
    return [ServerAddress(host, port) for host, port in zip(hosts, ports, strict=True)]


class Connection(asyncpg.Connection):
    """A connection that reports when a statement gets no answer within the client's timeout.

    The driver would wait for the answer without a limit before the next statement of the connection.
    `asked_at` is the monotonic time at which the statement in progress began.
    """

    on_silence: Callable[[], None]
    server: ServerAddress | None = None
    asked_at: float | None = None

    # One override is not enough: the driver runs `execute` without arguments in another way than the others.
    def execute(self, query: str, *arguments: Any, **options: Any) -> Coroutine[Any, Any, str]:
        statement = super().execute(query, *arguments, **options)
        return statement if arguments else self._answered(statement)

    def _execute(self, *arguments: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        return self._answered(super()._execute(*arguments, **options))  # type: ignore[misc]

    async def close(self, *, timeout: float | None = CLOSE_TIMEOUT_S) -> None:  # noqa: ASYNC109
        """Close the connection. If the server is silent, it is cut off after the timeout."""
        with contextlib.suppress(TimeoutError):
            await super().close(timeout=timeout)

    async def _answered(self, statement: Awaitable[_T]) -> _T:
        self.asked_at = time.monotonic()
        try:
            return await statement
        except TimeoutError:
            self.on_silence()
            raise
        finally:
            self.asked_at = None


async def connect(*arguments: Any, **options: Any) -> Connection:
    """Connect as `asyncpg.connect` does, with TCP keepalive."""
    options = {"command_timeout": COMMAND_TIMEOUT_S, **options, "connection_class": Connection}
    connection: Connection = await asyncpg.connect(*arguments, **options)
    connection.on_silence = connection.terminate
    _watch(connection._transport.get_extra_info("socket"))  # type: ignore[attr-defined]
    return connection


def _watch(sock: socket.socket) -> None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE_S),
        ("TCP_KEEPINTVL", INTERVAL_S),
        ("TCP_KEEPCNT", COUNT),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_S * 1000),
    ):
        # Some operating systems lack some of these options.
        with contextlib.suppress(AttributeError, OSError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

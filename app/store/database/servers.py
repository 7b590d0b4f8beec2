"""Connect to the server of DATABASE_URL that is in use, although another one is silent.

Each connection has TCP keepalive, so that a half-open connection is noticed.

Only this module uses private parts of asyncpg, its transport and its parser of host lists.
`tests/commands/test_database_sessions.py` checks them with the pinned version.
"""

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit
from weakref import WeakSet, WeakValueDictionary

import asyncpg
from asyncpg.connect_utils import _parse_hostlist  # type: ignore[attr-defined]

_T = TypeVar("_T")

# The keepalive of both ends of a connection: setting of the server, option of the client's socket, value.
_KEEPALIVE: Final = (
    # Seconds of silence before the first probe, and between two probes.
    ("tcp_keepalives_idle", "TCP_KEEPIDLE", 10),
    ("tcp_keepalives_interval", "TCP_KEEPINTVL", 5),
    # This number of unanswered probes ends the connection.
    ("tcp_keepalives_count", "TCP_KEEPCNT", 3),
    # Unacknowledged data ends the connection after this time, in milliseconds.
    ("tcp_user_timeout", "TCP_USER_TIMEOUT", 20_000),
)
# The client's timeout of one statement. If a device on the network acknowledges everything and forwards
# nothing, TCP detects no fault and only this timeout ends the wait. It is longer than the server's
# statement_timeout, whose error is more specific.
COMMAND_TIMEOUT_S: Final = 35.0
CLOSE_TIMEOUT_S: Final = 5.0  # the driver waits until the server has ended the session, too

# With its keepalive the server releases the locks of an unreachable client. The server ignores these settings
# on a Unix socket, and each setting that its operating system does not support.
SERVER_SETTINGS: Final = {setting: str(value) for setting, _, value in _KEEPALIVE}

STAGGER_S: Final = 0.25
SILENT_AFTER_S: Final = 2.0  # a server that does not answer a statement for this time may have failed
PRIMARY_CHECK_EVERY_S: Final = 0.25
PRIMARY_TIMEOUT_S: Final = 1.0
HANDSHAKE_S: Final = 10.0  # the longest time for a handshake, also if its caller waits for less
LATE: Final = 4  # handshakes of one kind of session that go on after their callers gave up


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
    `busy_since` is the monotonic time at which the statement in progress began.
    """

    on_silence: Callable[[], None]
    server: ServerAddress | None = None
    busy_since: float | None = None

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
        self.busy_since = time.monotonic()
        try:
            return await statement
        except TimeoutError:
            self.on_silence()
            raise
        finally:
            self.busy_since = None


async def connect(*arguments: Any, **options: Any) -> Connection:
    """Connect as `asyncpg.connect` does, with TCP keepalive."""
    options = {"command_timeout": COMMAND_TIMEOUT_S, **options, "connection_class": Connection}
    connection: Connection = await asyncpg.connect(*arguments, **options)
    connection.on_silence = connection.terminate
    _enable_keepalive(connection._transport.get_extra_info("socket"))  # type: ignore[attr-defined]
    return connection


def _enable_keepalive(sock: socket.socket) -> None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for _, option, value in _KEEPALIVE:
        # Some operating systems lack some of these options.
        with contextlib.suppress(AttributeError, OSError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class Attempts(dict[asyncio.Task[Connection], ServerAddress | None]):
    """Handshakes in progress, each with its server. A class of its own can be referenced weakly."""


class Servers:
    """Opens connections to the servers of a URL, and remembers which one answered last.

    A server that is frozen or cut off answers nothing, not even a refusal. The next server is therefore tried
    after 250 ms while the first still has time to answer, as RFC 8305 (Happy Eyeballs) does for addresses.

    A handshake may take longer than a caller can wait, for example because the server is busy. It goes on
    after the timeout, and the next caller that needs such a session gets it. Otherwise no connection would
    ever be opened.

    If a statement of one connection gets no answer, all connections are ended: the others, pooled and idle,
    are probably as silent, and each would be found dead only by a statement of its own, 35 s later. `follow`
    does not wait for these 35 s if another server has become the primary.
    """

    def __init__(self) -> None:
        self._connections: WeakSet[Connection] = WeakSet()
        self._last: ServerAddress | None = None
        # The handshakes whose callers gave up, by URL and settings of the session. Weak, because a URL may
        # have another password each time.
        self._late: WeakValueDictionary[tuple[object, ...], Attempts] = WeakValueDictionary()

    async def connect(self, *arguments: Any, **options: Any) -> asyncpg.Connection:
        """Connect to a URL as `asyncpg.connect` does, within the option `timeout`.

        Raises the most telling error if no server is usable in time.
        """
        [dsn] = arguments
        servers = servers_of(dsn)
        kind = dsn, *sorted(options.get("server_settings", {}).items())
        try:
            connection = await self._connect(dsn, servers, options, self._late.setdefault(kind, Attempts()))
        except OSError as error:
            error.add_note(", ".join(f"{server.host}:{server.port}" for server in servers))
            raise
        connection.on_silence = self.end_all
        self._connections.add(connection)
        return connection

    def end_all(self) -> None:
        """End every open connection. Their owners open new ones."""
        for connection in list(self._connections):
            connection.terminate()

    def close(self) -> None:
        """End the handshakes whose callers gave up."""
        for late in list(self._late.values()):
            for attempt in late:
                _discard(attempt)
            late.clear()

    async def follow(self, dsn: str) -> None:
        """While a server is silent, search for another primary. Then end the connections to the silent one.

        Runs until it is cancelled, or returns at once if the URL names one server.
        """
        servers = servers_of(dsn)
        while len(servers) > 1:
            await asyncio.sleep(PRIMARY_CHECK_EVERY_S)
            limit = time.monotonic() - SILENT_AFTER_S
            silent = {each.server for each in self._connections if (at := each.busy_since) and at < limit}
            if not silent:
                continue
            try:
                found = await self._connect(dsn, servers, {"timeout": PRIMARY_TIMEOUT_S}, None)
            except Exception:  # noqa: S112  (whatever another server answers, the search goes on)
                continue
            found.terminate()
            for connection in list(self._connections):
                if connection.server in silent - {found.server}:
                    connection.terminate()

    async def _connect(
        self, dsn: str, servers: Sequence[ServerAddress], options: dict[str, Any], late: Attempts | None
    ) -> Connection:
        """Connect to the first server that answers, or take a finished attempt of `late`.

        After the timeout, attempts in progress are added to `late`.
        """
        limit = options["timeout"]
        if late is not None:
            options = {**options, "timeout": max(limit, HANDSHAKE_S)}
        known = sorted(servers, key=lambda server: server != self._last)
        waiting: deque[ServerAddress | None] = deque(known or (None,))
        # Every server gets at least half of the time, however many there are.
        stagger = min(STAGGER_S, limit / 2 / len(waiting))
        attempts = Attempts()
        errors: list[BaseException] = []
        try:
            async with asyncio.timeout(limit):
                while waiting or attempts:
                    others = Attempts() if late is None else late
                    if waiting and not any(task.done() for task in others):
                        server = waiting.popleft()
                        place = {} if server is None else {"host": server.host, "port": server.port}
                        attempt = connect(dsn, **place, **options)
                        attempts[asyncio.create_task(attempt)] = server
                    ended, _ = await asyncio.wait(
                        attempts | others,
                        timeout=stagger if waiting else None,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    for task in ended:
                        owner = attempts if task in attempts else others
                        if task not in owner:
                            continue  # another caller took it
                        server = owner.pop(task)
                        if (error := task.exception()) is not None:
                            errors.append(error)
                        elif not (connection := task.result()).is_closed():
                            self._last = connection.server = server
                            return connection
                        else:
                            errors.append(ConnectionResetError("the server ended the new session"))
        except TimeoutError as error:
            errors.append(error)
            while late is not None and attempts and len(late) < LATE:
                task = next(iter(attempts))
                late[task] = attempts.pop(task)
                task.add_done_callback(partial(_expire, late))
        finally:
            for task in attempts:
                _discard(task)
        raise max(errors, key=_rank)


def _expire(late: Attempts, attempt: asyncio.Task[Connection]) -> None:
    """End a connection that no caller took in time."""

    def expire() -> None:
        if late.pop(attempt, None) is not None:
            _discard(attempt)

    asyncio.get_running_loop().call_later(HANDSHAKE_S, expire)


def _discard(attempt: asyncio.Task[Connection]) -> None:
    attempt.add_done_callback(_terminate)
    attempt.cancel()


def _terminate(attempt: asyncio.Task[Connection]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


def _rank(error: BaseException) -> int:
    """Rank errors: what a server says tells more than its silence, and least that it is not the primary."""
    if isinstance(error, asyncpg.PostgresError):
        return 2
    return int(not isinstance(error, asyncpg.TargetServerAttributeNotMatched))

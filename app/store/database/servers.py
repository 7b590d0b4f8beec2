"""Connect to the server of DATABASE_URL that is in use, although another one is silent."""

import asyncio
import time
from collections import deque
from typing import Any, Final
from weakref import WeakSet

import asyncpg

from app.store.database import keepalive
from app.store.database.keepalive import ServerAddress
from app.store.errors import DRIVER_ERRORS

STAGGER_S: Final = 0.25
PATIENCE_S: Final = 2.0  # a statement without an answer for this time is a reason to look for another primary
LOOK_EVERY_S: Final = 0.25
LOOK_S: Final = 1.0


class Servers:
    """Opens connections to the servers of a URL, and remembers which one answered last.

    A server that is frozen or cut off answers nothing, not even a refusal. The next server is therefore tried
    after 250 ms while the first still has time to answer, as RFC 8305 (Happy Eyeballs) does for addresses.

    If a statement of one connection gets no answer, all connections are ended: the others, pooled and idle,
    are probably as silent, and each would be found dead only by a statement of its own, 35 s later. `follow`
    does not wait for these 35 s if another server has become the primary.
    """

    def __init__(self) -> None:
        self._connections: WeakSet[keepalive.Connection] = WeakSet()
        self._last: ServerAddress | None = None

    async def connect(self, *arguments: Any, **options: Any) -> asyncpg.Connection:
        """Connect to a URL as `keepalive.connect` does, within the option `timeout`.

        Raises the most telling error if no server is usable in time.
        """
        [dsn] = arguments
        servers = keepalive.servers_of(dsn)
        try:
            connection = await self._connect(dsn, servers, options)
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

    async def follow(self, dsn: str) -> None:
        """While a statement waits, look for another primary; then end the connections to the silent server.

        Runs until it is cancelled, or returns at once if the URL names one server.
        """
        servers = keepalive.servers_of(dsn)
        while len(servers) > 1:
            await asyncio.sleep(LOOK_EVERY_S)
            limit = time.monotonic() - PATIENCE_S
            silent = {each.server for each in self._connections if each.asked_at and each.asked_at < limit}
            if not silent:
                continue
            try:
                found = await self._connect(dsn, servers, {"timeout": LOOK_S})
            except DRIVER_ERRORS:
                continue
            found.terminate()
            for connection in list(self._connections):
                if connection.server in silent - {found.server}:
                    connection.terminate()

    async def _connect(
        self, dsn: str, servers: list[ServerAddress], options: dict[str, Any]
    ) -> keepalive.Connection:
        if len(servers) < 2:
            return await keepalive.connect(dsn, **options)
        waiting = deque(sorted(servers, key=lambda server: server != self._last))
        # Every server gets at least half of the time, however many there are.
        stagger = min(STAGGER_S, options["timeout"] / 2 / len(servers))
        attempts: dict[asyncio.Task[keepalive.Connection], ServerAddress] = {}
        errors: list[BaseException] = []
        try:
            async with asyncio.timeout(options["timeout"]):
                while waiting or attempts:
                    if waiting:
                        server = waiting.popleft()
                        attempt = keepalive.connect(dsn, host=server.host, port=server.port, **options)
                        attempts[asyncio.create_task(attempt)] = server
                    ended, _ = await asyncio.wait(
                        attempts,
                        timeout=stagger if waiting else None,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    for task in ended:
                        if (error := task.exception()) is None:
                            connection = task.result()
                            self._last = connection.server = attempts.pop(task)
                            return connection
                        errors.append(error)
                        del attempts[task]
        except TimeoutError as error:
            errors.append(error)
        finally:
            for task in attempts:
                task.add_done_callback(_discard)
                task.cancel()
        raise max(errors, key=_rank)


def _discard(attempt: asyncio.Task[asyncpg.Connection]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


def _rank(error: BaseException) -> int:
    """Rank errors: what a server says tells more than its silence, and least that it is not the primary."""
    if isinstance(error, asyncpg.PostgresError):
        return 2
    return int(not isinstance(error, asyncpg.TargetServerAttributeNotMatched))

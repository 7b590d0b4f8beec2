"""A fuse in every wire: the n-th call to the database or to Amazon is the one at which something breaks.

Wrapped from outside: a subclass of the driver's connection and a transport around the stand-in's. The
product has no hook and knows nothing of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import asyncpg
import httpx


class Break(StrEnum):
    """What breaks: the process, or the one wire; before the call arrived or when its answer came back."""

    DIE_BEFORE = "the process dies before the call arrives"
    DIE_AFTER = "the process dies before the answer comes back"
    CUT_BEFORE = "the wire is cut before the call arrives"
    CUT_AFTER = "the wire is cut before the answer comes back"

    @property
    def kills(self) -> bool:
        return self in {Break.DIE_BEFORE, Break.DIE_AFTER}

    @property
    def is_before(self) -> bool:
        return self in {Break.DIE_BEFORE, Break.CUT_BEFORE}


class Answer(StrEnum):
    """What the n-th call to the database answers instead of its result; the last is raised before it."""

    DATA_CORRUPTED = "XX001"
    DISK_FULL = "53100"
    TOO_MANY_CONNECTIONS = "53300"
    QUERY_CANCELED = "57014"
    ADMIN_SHUTDOWN = "57P01"
    INVALID_TEXT = "22P02"
    SERIALIZATION_FAILURE = "40001"
    DEADLOCK_DETECTED = "40P01"
    OUT_OF_MEMORY = "MemoryError"

    @property
    def kills(self) -> bool:
        return False


class Died(BaseException):
    """The process is dead. No `except Exception` may bring it back to life."""


@dataclass
class Fuse:
    """Counts calls; the `at`-th breaks. Once dead, every further call is refused: nothing leaves a corpse."""

    at: int | None = None
    how: Break | Answer = Break.DIE_BEFORE
    calls: list[str] = field(default_factory=list)
    blown: bool = False
    dead: bool = False
    connections: list[asyncpg.Connection] = field(default_factory=list)

    def arms(self, call: str) -> bool:
        """Count a call; True for the one that breaks. Raises Died once the process is dead."""
        if self.dead:
            raise Died
        self.calls.append(call)
        if self.blown or len(self.calls) != self.at:
            return False
        self.blown = True
        return True

    def die(self) -> Died:
        """Kill the process: its connections end with it, whatever they were doing."""
        self.dead = True
        for connection in self.connections:
            if not connection.is_closed():
                connection.terminate()
        return Died()


class _Wire(asyncpg.Connection):
    """A connection whose statements go through the fuse, COMMIT and ROLLBACK among them."""

    __slots__ = ()
    fuse: Fuse

    async def execute(self, query: str, *args: Any, **more: Any) -> str:
        return await self._through(query, partial(super().execute, query, *args, **more))

    async def fetch(self, query: str, *args: Any, **more: Any) -> Any:
        return await self._through(query, partial(super().fetch, query, *args, **more))

    async def fetchrow(self, query: str, *args: Any, **more: Any) -> Any:
        return await self._through(query, partial(super().fetchrow, query, *args, **more))

    async def fetchval(self, query: str, *args: Any, **more: Any) -> Any:
        return await self._through(query, partial(super().fetchval, query, *args, **more))

    async def copy_records_to_table(self, table_name: str, **more: Any) -> Any:
        return await self._through(
            f"COPY {table_name}", partial(super().copy_records_to_table, table_name, **more)
        )

    async def _through(self, query: str, call: Callable[[], Awaitable[Any]]) -> Any:
        fuse = self.fuse
        if self not in fuse.connections:
            fuse.connections.append(self)
        if not fuse.arms(" ".join(query.split()[:4])):
            return await call()
        if isinstance(fuse.how, Answer):
            await self._answer(query, fuse.how)
        elif not fuse.how.is_before:
            await call()
        if fuse.how.kills:
            raise fuse.die()
        self.terminate()
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def _answer(self, query: str, answer: Answer) -> None:
        """Raise what the server raises; the transaction is aborted, or over, as it would be."""
        if answer is Answer.OUT_OF_MEMORY:
            raise MemoryError
        if query.startswith(("COMMIT", "ROLLBACK")):
            await super().execute("ROLLBACK")
        try:
            await super().execute(f"DO $$ BEGIN RAISE EXCEPTION SQLSTATE '{answer}'; END $$")
        finally:
            if answer is Answer.ADMIN_SHUTDOWN:
                self.terminate()


def wire_with(fuse: Fuse) -> type[asyncpg.Connection]:
    """Return a class of connections that all go through one fuse."""
    return type("Wire", (_Wire,), {"fuse": fuse, "__slots__": ()})


class FusedTransport(httpx.AsyncBaseTransport):
    """The way to the stand-in, through the fuse."""

    def __init__(self, inner: httpx.AsyncBaseTransport, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fuse = self._fuse
        if not fuse.arms(f"{request.method} {request.url.path}"):
            return await self._inner.handle_async_request(request)
        if isinstance(fuse.how, Answer):
            raise MemoryError  # noqa: TRY004 - it is the fault, not a check
        if not fuse.how.is_before:
            await self._inner.handle_async_request(request)
        # The event loop turns once more, as it would before any word of a lost connection arrives.
        await asyncio.sleep(0)
        if fuse.how.kills:
            raise fuse.die()
        raise httpx.ReadError("connection reset")

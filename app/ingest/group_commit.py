"""Group commit: concurrent requests share a transaction and are answered after the commit."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import asyncpg

from app.domain.ids import DestinationId, LaneId, OrganisationId
from app.ingest.dedup import Flush
from app.ingest.evaluate import SLICE_EVENTS, Evaluator, PendingRequest
from app.ingest.flush_writer import FlushWriter
from app.store import flush as flush_store
from app.store import lanes
from app.store.database.results import DatabaseResults
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry

# The events of one flush, unless a single request has more. A request waits for the flush in progress and for
# its own, and a flush of this size takes some tens of milliseconds.
MAX_EVENTS = 1_000
# A flush of this many requests starts without a wait for more. While the database writes it, this process
# evaluates the next requests.
FLUSH_MIN_REQUESTS = 24
# Large requests wait for others that are being evaluated, this many times as long as others wait: 30 ms by
# default, in which about 1,000 events are evaluated.
LARGE_REQUESTS_WAIT = 10

# SQLSTATE classes of errors that no single request of a transaction causes: connection lost, rolled back for
# concurrency, out of resources, shutting down, and invalid transaction state (a read-only server).
_TRANSACTION_ERRORS = ("08", "40", "53", "57", "25")
# Serialization failure, deadlock, and a cached plan that a schema change made invalid (the driver drops it).
_RETRYABLE_ERRORS = ("40001", "40P01", "0A000")


class CommitQueue:
    """The requests that wait for a commit, by organisation. The one whose turn is next comes first.

    Organisations take turns, so that a post waits for at most one post of each other organisation. The posts
    of an organisation keep their order.
    """

    def __init__(self) -> None:
        self._waiting: dict[OrganisationId, deque[PendingRequest]] = {}
        self.requests = self.events = 0  # in the queue

    def add(self, request: PendingRequest) -> None:
        self._waiting.setdefault(request.access.organisation, deque()).append(request)
        self.requests += 1
        self.events += len(request.events.members)

    def take(self, most_events: int) -> list[PendingRequest]:
        """Remove and return the requests of the next flush, in turns of one request for each organisation.

        They have at most `most_events` events, unless the first request alone has more. An organisation whose
        next request does not fit waits for the next flush, and is then first.
        """
        group: list[PendingRequest] = []
        events = 0
        too_large: dict[OrganisationId, deque[PendingRequest]] = {}
        while self._waiting:
            organisation = next(iter(self._waiting))
            requests = self._waiting.pop(organisation)
            if group and events + len(requests[0].events.members) > most_events:
                too_large[organisation] = requests
                continue
            request = requests.popleft()
            group.append(request)
            events += len(request.events.members)
            if requests:
                self._waiting[organisation] = requests  # behind the other organisations
        self._waiting = too_large
        self.requests -= len(group)
        self.events -= events
        return group


@dataclass(slots=True)
class FlushSession:
    """Writes groups of requests on one connection, opened with `connect` at first use."""

    connect: Callable[[], Awaitable[asyncpg.Connection]]
    evaluator: Evaluator
    writer: FlushWriter
    telemetry: Telemetry
    _connection: asyncpg.Connection | None = None
    _may_use_one_round_trip: bool = False
    _generation: int | None = None  # of the ledger, as of the last flush

    async def connection(self) -> asyncpg.Connection:
        """Return the connection; open it if there is none."""
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            connection = await self.connect()
            try:
                await flush_store.create_function(connection)
                self._may_use_one_round_trip = True
            except BaseException as error:
                if not isinstance(error, asyncpg.PostgresError) or _concerns_transaction(error):
                    connection.terminate()
                    raise
                self._disable_one_round_trip(error)
            self._connection = connection
        return self._connection

    def terminate(self) -> bool:
        """Close the connection, because the state of its session is unknown. Return False if there is none.

        The next flush opens another connection.
        """
        if self._connection is None:
            return False
        self._connection.terminate()
        self._connection = None
        return True

    async def close(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close()

    async def write(self, requests: Sequence[PendingRequest]) -> Flush:
        """Write a group in one transaction. Nothing is committed if this raises.

        After an error of `_RETRYABLE_ERRORS` it tries again, up to twice. After a wait for a lock it tries a
        single request again once; the caller divides a group.
        """
        for tries in range(3):
            try:
                connection = await self.connection()
                # Outside the transaction, so that no other flush waits for it.
                await self.evaluator.clock.ensure(connection)
                for request in self.evaluator.outdated(requests) if tries else ():
                    await self.evaluator.evaluate(request)
                await self.writer.journeys.register(connection, requests)
                flush = await self._write_in_one_round_trip(connection, requests)
                return flush or await self._write_in_transaction(connection, requests)
            except asyncpg.LockNotAvailableError:
                # Another session may have locked a row of the counts: use other rows.
                self.writer.count_writer.change_rows()
                if len(requests) > 1 or tries:
                    raise
            except asyncpg.PostgresError as error:
                if tries == 2 or not str(error.sqlstate).startswith(_RETRYABLE_ERRORS):
                    raise
        raise AssertionError("the last try returns or raises")

    async def _write_in_transaction(
        self, connection: asyncpg.Connection, requests: Sequence[PendingRequest]
    ) -> Flush:
        async with flush_store.transaction(connection):
            current = await self.evaluator.refresh(connection, requests)
            self._generation = current.generation
            for request in self.evaluator.outdated(requests):
                if any(map(request.events.is_large, range(len(request.events.members)))):
                    # It may wait for other large events, and archiving waits for the flush lock.
                    raise asyncpg.SerializationError("A large event must be evaluated again.")
                await self.evaluator.evaluate(request)
            if not self.writer.journeys.is_complete(requests, current.day):
                raise asyncpg.SerializationError("The journey nodes are not registered.")
            flush = Flush(requests, self._generation)
            await self.writer.write(connection, flush)
        return flush

    async def _write_in_one_round_trip(
        self, connection: asyncpg.Connection, requests: Sequence[PendingRequest]
    ) -> Flush | None:
        """Write a group in one round trip, or write nothing and return None."""
        if self._generation is None or not self._may_use_one_round_trip:
            return None
        versions: dict[DestinationId, int | None] = {}
        for request in requests:
            if self.evaluator.clock.differs_from(request.clock_offset):
                return None
            for id_, version in request.versions.items():
                # If two requests used two versions of a destination, one of them is outdated.
                if versions.setdefault(id_, version) != version:
                    return None
        flush = Flush(requests, self._generation)
        try:
            return flush if await self.writer.write_in_one_round_trip(connection, flush, versions) else None
        except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError) as error:
            # The function that the session created is gone, or this server cannot plan it.
            self._disable_one_round_trip(error)
            return None

    def _disable_one_round_trip(self, error: BaseException) -> None:
        """Write in several round trips until the next connection."""
        self._may_use_one_round_trip = False
        self.telemetry.failed("flush.single_round_trip_unavailable", error, level=30)


def _concerns_transaction(error: asyncpg.PostgresError) -> bool:
    """Return whether an error concerns the transaction, and not only one of its requests."""
    return str(error.sqlstate).startswith(_TRANSACTION_ERRORS)


@dataclass(slots=True)
class GroupCommit:
    """Collects requests and writes them in groups, each in one transaction (a flush)."""

    session: FlushSession
    linger_s: float
    notify: Callable[[dict[LaneId, int]], None]
    telemetry: Telemetry
    database_results: DatabaseResults
    queue: CommitQueue = field(default_factory=CommitQueue)
    _has_requests: asyncio.Event = field(default_factory=asyncio.Event)
    _may_flush: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False
    _evaluation: asyncio.Lock = field(default_factory=asyncio.Lock)
    _expected: int = 0  # large requests that are being evaluated, or wait for that
    _flushed: int = 0  # requests of the last flush

    def __post_init__(self) -> None:
        # The gauge reads the number when metrics are scraped: setting it with every request costs more.
        self.telemetry.waiting_posts.set_function(lambda: self.queue.events)

    @asynccontextmanager
    async def evaluating_large(self) -> AsyncIterator[None]:
        """Let one large request at a time be parsed and evaluated, before it is stored.

        So a post of few events waits for no more than one of them.
        """
        self._expected += 1
        try:
            async with self._evaluation:
                yield
        finally:
            self._expected -= 1
            self._may_flush.set()

    async def store(self, request: PendingRequest) -> bool:
        """Store the events of an evaluated request, and return True after the commit, with their results set.

        Return False if no event was acknowledged. If the caller is cancelled, the flush continues.
        """
        if self._closing:
            return False
        self.queue.add(request)
        self._has_requests.set()
        if self._expected or self._is_large_enough():
            self._may_flush.set()
        return await request.response

    async def run(self) -> None:
        """Write groups until `close` was called and the queue is empty."""
        while not (self._closing and not self.queue.requests):
            await self._has_requests.wait()
            if self._expected and self._awaits_large_requests():
                await self._linger(LARGE_REQUESTS_WAIT * self.linger_s, self._awaits_large_requests)
            elif self._flushed > 1:
                # Their senders are likely to post again at once, and can share a flush.
                await self._linger(self.linger_s)
            requests = self.queue.take(MAX_EVENTS)
            if not self.queue.requests and not self._closing:
                self._has_requests.clear()
            self._flushed = len(requests)
            if requests:
                await self._flush(requests)
            requests = []  # frees their memory while waiting
        await self.session.close()

    async def _linger(self, seconds: float, is_needed: Callable[[], bool] = lambda: True) -> None:
        """Wait until the queue is large enough for a flush, but no longer than this and than `is_needed`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while is_needed() and not self._is_large_enough():
                    self._may_flush.clear()
                    await self._may_flush.wait()

    def _awaits_large_requests(self) -> bool:
        """Return whether fewer than half of the large requests are evaluated.

        One half is then written while the process evaluates the other half. The senders of the last flush
        count as expected, because they are likely to post again. Requests that are small on average
        do not wait.
        """
        is_large = self.queue.events >= SLICE_EVENTS * self.queue.requests
        return is_large and self._expected > 0 and self.queue.requests < self._expected + self._flushed

    def _is_large_enough(self) -> bool:
        return self._closing or self.queue.requests >= FLUSH_MIN_REQUESTS or self.queue.events >= MAX_EVENTS

    def close(self) -> None:
        """Accept no more requests; `run` ends when all queued requests are answered."""
        self._closing = True
        self._may_flush.set()
        self._has_requests.set()

    async def _flush(self, requests: Sequence[PendingRequest]) -> None:
        """Write a group and answer its requests; never raises."""
        try:
            with self.telemetry.flush_seconds.time(), self.database_results.flushing():
                flush = await self.session.write(requests)
            if flush.pinned_names:
                self.session.evaluator.destinations.add_pins(flush.pinned_names)
            if flush.waiting:
                self.notify(flush.waiting)
            for batch, indexes in flush.stored_batches.items():
                for index in indexes:
                    requests[index].trace.batches.append(batch)
            for request, evaluated, results in zip(requests, flush.evaluated, flush.results, strict=True):
                request.evaluated, request.dedup, request.rejected_at = evaluated, results, flush.rejected_at
                if not request.response.done():
                    request.response.set_result(True)
            self.telemetry.flushes["stored"].inc()
            self.database_results.succeeded()
        except asyncpg.PostgresError as error:
            is_locked = isinstance(error, asyncpg.LockNotAvailableError)
            if _concerns_transaction(error) or (is_locked and len(requests) == 1):
                self._refuse(requests, error)
            elif len(requests) == 1:
                # A request that cannot be written is a bug; it must not fail other requests.
                self.telemetry.failed("flush.request_failed", error, level=40)
                self.database_results.refused(error)
                self.telemetry.flushes["failed"].inc()
                _refuse_all(requests)
            else:
                # One request cannot be written, or another session has locked a row that it needs. Rows of
                # counts belong to a database session, so a new one has others.
                if is_locked:
                    self.session.terminate()
                middle = len(requests) // 2
                await self._flush(requests[:middle])
                await self._flush(requests[middle:])
        except Exception as error:  # a lost connection or a bug: nothing of the group is acknowledged
            self._refuse(requests, error)

    def _refuse(self, requests: Sequence[PendingRequest], error: Exception) -> None:
        self.telemetry.failed("flush.refused", error, level=30, posts=len(requests))
        self.database_results.refused(error)
        self.telemetry.flushes["refused"].inc()
        _refuse_all(requests)
        if not self.session.terminate():
            # No connection can be opened: queued requests get the same answer without waiting.
            while refused := self.queue.take(MAX_EVENTS):
                _refuse_all(refused)


def _refuse_all(requests: Sequence[PendingRequest]) -> None:
    for request in requests:
        if not request.response.done():
            request.response.set_result(False)


@dataclass(slots=True)
class Notifier:
    """Notifies workers of stored events: after the commit, on another connection, once for many flushes.

    If a notification is lost, its events wait until the worker polls the lane.
    """

    pool: asyncpg.Pool
    interval_s: float
    telemetry: Telemetry
    _waiting: dict[LaneId, int] = field(default_factory=dict)
    _has_events: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, waiting: dict[LaneId, int]) -> None:
        """Add committed events, counted by lane."""
        for lane, events in waiting.items():
            self._waiting[lane] = self._waiting.get(lane, 0) + events
        self._has_events.set()

    async def run(self) -> None:
        """Send notifications until cancelled, at most one per `interval_s`."""
        while True:
            await self._has_events.wait()
            self._has_events.clear()
            waiting, self._waiting = self._waiting, {}
            try:
                async with self.pool.acquire() as connection:
                    await lanes.notify_waiting(connection, waiting)
            except DRIVER_ERRORS as error:
                self.telemetry.failed("notify.failed", error, level=30)
            await asyncio.sleep(self.interval_s)

"""Group commit: concurrent requests share one transaction and are answered after its commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import asyncpg

from app.domain.event import Event, Rejection
from app.domain.ids import DestinationId, DestinationNumber, LaneId, OrganisationId
from app.domain.pacing.owner_queue import OwnerQueue
from app.domain.trace import RequestTrace
from app.ingest.dedup import DedupResult, Flush
from app.ingest.destination_cache import DestinationCache
from app.ingest.evaluate import Evaluated, evaluate
from app.ingest.flush_writer import FlushWriter
from app.store import PipelineConnection
from app.store import flush as flush_store
from app.store.clock import DatabaseClock
from app.store.database_results import DatabaseResults
from app.telemetry import REQUEST_TRACE, Telemetry

# SQLSTATE classes that concern the transaction and never one of its requests: connection lost, rolled
# back for concurrency, out of resources, shutting down, and invalid transaction state (a read-only server).
_TRANSACTION_ERRORS = ("08", "40", "53", "57", "25")
# Serialization failure, deadlock, and a cached plan that a schema change made invalid (the driver drops it).
_RETRYABLE_ERRORS = ("40001", "40P01", "0A000")

# A flush of this many requests starts without waiting for more. While the database writes it, this process
# reads and evaluates the next requests.
FLUSH_MIN_REQUESTS = 24
# While several organisations send, a flush is smaller: each waits for the previous flush.
SHARED_PART = 10
SHARED_SECONDS = 60.0


@dataclass(frozen=True, slots=True, repr=False)
class RequestResults:
    """The results of one request, one entry per event in order: its evaluation and its dedup result."""

    evaluated: Sequence[Evaluated]
    dedup: Sequence[DedupResult | None]
    destinations: Sequence[DestinationNumber | None] = ()


@dataclass(frozen=True, slots=True)
class SenderAccess:
    """The destinations to which a sender may send: those of its organisation, or some of them."""

    organisation: OrganisationId
    destinations: frozenset[DestinationId] | None = None


@dataclass(frozen=True, slots=True)
class NotStored:
    """Nothing of the request was acknowledged; the caller may send it again. `reason` is for the log."""

    reason: str


@dataclass(slots=True, repr=False, eq=False)
class PendingRequest:
    """The events of one request before their flush. Contains personal data."""

    events: Sequence[Event | Rejection]
    access: SenderAccess
    response: "asyncio.Future[RequestResults | NotStored]"
    low_priority: bool = False  # its events are sent after live ones
    trace: RequestTrace = field(default_factory=RequestTrace)
    # Set by evaluation: one entry per event, and the versions that the evaluation used.
    evaluated: list[Evaluated] = field(default_factory=list)
    destinations: list[DestinationNumber | None] = field(default_factory=list)
    versions: dict[DestinationId, int | None] = field(default_factory=dict)
    clock_offset: float = 0.0


class GroupCommit:
    """Collects requests and writes them group by group, on a separate connection."""

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        destinations: DestinationCache,
        writer: FlushWriter,
        linger_s: float,
        clock: DatabaseClock,
        notify: Callable[[dict[LaneId, int]], None],
        telemetry: Telemetry,
        database_results: DatabaseResults,
        max_events: int = 5_000,
        max_waiting: int = 50_000,
    ) -> None:
        self._connect = connect
        self._destinations = destinations
        self._writer = writer
        self._linger_s = linger_s
        self._clock = clock
        self._notify = notify
        self._telemetry = telemetry
        self._database_results = database_results
        self._max_events = max_events
        self._max_waiting = max_waiting
        self._queue: OwnerQueue[PendingRequest] = OwnerQueue()
        self._last_organisation: OrganisationId | None = None
        self._shared_until = float("-inf")  # until when several organisations count as sending
        self._waiting_events = 0
        self._has_requests = asyncio.Event()
        self._may_flush = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._may_use_one_round_trip = False
        # Read on scrape, because setting the gauge with every request costs more.
        telemetry.waiting_posts.set_function(lambda: self._waiting_events)
        self._generation: int | None = None  # of the ledger, as of the last flush
        self._closing = False

    async def store(
        self,
        events: Sequence[Event | Rejection],
        access: SenderAccess,
        *,
        low_priority: bool,
    ) -> RequestResults | NotStored:
        """Evaluate and store the events of one request; return after their commit.

        Cancelling the caller does not cancel the flush.
        """
        if self._closing:
            return NotStored("closing")
        if self._waiting_events + len(events) > self._max_waiting:
            return NotStored("crowded")
        loop = asyncio.get_running_loop()
        if access.organisation != self._last_organisation:
            if self._last_organisation is not None:
                self._shared_until = loop.time() + SHARED_SECONDS
            self._last_organisation = access.organisation
        response: asyncio.Future[RequestResults | NotStored] = loop.create_future()
        trace = REQUEST_TRACE.get() or RequestTrace()
        request = PendingRequest(events, access, response, low_priority, trace)
        self._evaluate(request)
        self._queue.add(access.organisation, len(events) + 1, request)
        self._waiting_events += len(events)
        self._has_requests.set()
        if self._is_large_enough():
            self._may_flush.set()
        return await response

    @property
    def waiting(self) -> int:
        """The number of events that wait for a commit."""
        return self._waiting_events

    async def run(self) -> None:
        """Flush until closed and empty. Runs as one task of the process."""
        shared = False
        while not (self._closing and not self._queue):
            await self._has_requests.wait()
            if shared:
                # The last flush had several requests, so more will come. A single request does not wait.
                await self._linger()
            requests = self._take_group()
            shared = len(requests) > 1
            if requests:
                await self._flush(requests)
            requests = []  # frees their memory while waiting
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close()

    async def _linger(self) -> None:
        """Wait until the queue is large enough for a flush, at most `linger_s`."""
        if self._is_large_enough():
            return
        self._may_flush.clear()
        timer = asyncio.get_running_loop().call_later(self._linger_s, self._may_flush.set)
        await self._may_flush.wait()
        timer.cancel()

    def _is_large_enough(self) -> bool:
        return (
            self._closing
            or len(self._queue) >= FLUSH_MIN_REQUESTS
            or self._waiting_events >= self._max_events
        )

    def close(self) -> None:
        """Accept no more requests; `run` ends when the queued ones are answered."""
        self._closing = True
        self._may_flush.set()
        self._has_requests.set()

    async def evaluate_current(self, connection: PipelineConnection, request: PendingRequest) -> int:
        """Evaluate a request with current configuration versions; return the ledger generation."""
        await self._clock.ensure(connection)
        self._evaluate(request)
        return await self._reevaluate_stale(connection, [request])

    def _take_group(self) -> list[PendingRequest]:
        """Remove requests from the queue, up to `max_events` events but at least one request.

        The oldest of each organisation first, the organisations in turn.
        """
        shared = asyncio.get_running_loop().time() < self._shared_until
        limit = self._max_events // SHARED_PART if shared else self._max_events
        group: list[PendingRequest] = []
        events = 0
        while self._queue and not (group and events + len(self._queue.first().events) > limit):
            request = self._queue.pop()
            group.append(request)
            events += len(request.events)
        self._waiting_events -= events
        if not self._queue and not self._closing:
            self._has_requests.clear()
        return group

    def _evaluate(self, request: PendingRequest) -> None:
        """Evaluate the events of a request with the cached destinations and record their versions."""
        now, request.clock_offset = self._clock.now(), self._clock.offset
        named = {DestinationId(event.destination_id) for event in request.events if event.destination_id}
        # For a key of another organisation, or limited to other destinations, these do not exist.
        access = request.access
        visible = named if access.destinations is None else named & access.destinations
        request.versions = {id_: self._destinations.version(id_) for id_ in visible}
        cached = {
            id_: destination
            for id_ in visible
            if (destination := self._destinations.get(id_)) is not None
            and destination.organisation == access.organisation
        }
        request.evaluated = [
            event
            if isinstance(event, Rejection)
            else evaluate(event, cached.get, pepper=self._writer.pepper, now=now)
            for event in request.events
        ]
        numbers: dict[str, DestinationNumber] = {
            id_: destination.number for id_, destination in cached.items()
        }
        request.destinations = [
            numbers.get(event.destination_id) if event.destination_id else None for event in request.events
        ]

    async def _flush(self, requests: Sequence[PendingRequest]) -> None:
        """Write one group and answer it; never raises."""
        try:
            with self._telemetry.flush_seconds.time():
                await self._write_with_retries(requests)
            self._telemetry.flushes.labels("stored").inc()
            self._database_results.succeeded()
        except asyncpg.PostgresError as error:
            if _concerns_transaction(error):
                await self._refuse(requests, error)
            elif len(requests) == 1:
                # A request that cannot be written is a bug; it must not fail other requests.
                self._telemetry.failed("flush.request_failed", error, level=40)
                self._database_results.refused(error)
                self._telemetry.flushes.labels("failed").inc()
                _answer_all(requests, NotStored("unwritable"))
            else:
                for request in requests:
                    await self._flush([request])
        except Exception as error:  # a lost connection or a bug: nothing of the group is acknowledged
            await self._refuse(requests, error)

    async def _write_with_retries(self, requests: Sequence[PendingRequest]) -> None:
        for _ in range(2):
            try:
                await self._write(requests)
            except asyncpg.PostgresError as error:
                if not str(error.sqlstate).startswith(_RETRYABLE_ERRORS):
                    raise
            else:
                return
        await self._write(requests)

    async def _write(self, requests: Sequence[PendingRequest]) -> None:
        connection = await self._connected()
        await self._clock.ensure(connection)
        for request in requests:
            if self._clock.differs_from(request.clock_offset):
                self._evaluate(request)
        flush = await self._write_in_one_round_trip(connection, requests)
        if flush is None:
            async with flush_store.transaction(connection):
                self._generation = await self._reevaluate_stale(connection, requests)
                flush = _flush_of(requests, self._generation)
                await self._writer.write(connection, flush)
        if flush.pinned_names:
            self._destinations.add_pins(flush.pinned_names)
        if flush.waiting:
            self._notify(flush.waiting)
        for batch, indexes in flush.stored_batches.items():
            for index in indexes:
                requests[index].trace.batches.append(batch)
        for request, evaluated, results in zip(requests, flush.evaluated, flush.results, strict=True):
            if not request.response.done():
                request.response.set_result(RequestResults(evaluated, results, request.destinations))

    async def _write_in_one_round_trip(
        self, connection: asyncpg.Connection, requests: Sequence[PendingRequest]
    ) -> Flush | None:
        """Write a group in one round trip, or write nothing and return None."""
        versions = {id_: version for request in requests for id_, version in request.versions.items()}
        if (
            self._generation is None
            or not self._may_use_one_round_trip
            # Requests of a group can have used two versions; those with the older one must be evaluated
            # again.
            or any(
                version != versions[id_] for request in requests for id_, version in request.versions.items()
            )
        ):
            return None
        flush = _flush_of(requests, self._generation)
        try:
            return flush if await self._writer.write_in_one_round_trip(connection, flush, versions) else None
        except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError) as error:
            # The session lost its function, or this server cannot plan it.
            self._disable_one_round_trip(error)
            return None

    def _disable_one_round_trip(self, error: BaseException) -> None:
        """Write in several round trips until the next connection."""
        self._may_use_one_round_trip = False
        self._telemetry.failed("flush.single_round_trip_unavailable", error, level=30)

    async def _reevaluate_stale(
        self, connection: PipelineConnection, requests: Sequence[PendingRequest]
    ) -> int:
        """Evaluate requests again if they used an old version.

        A configuration change takes effect in every process as soon as it is acknowledged, for rejections
        too. Returns the ledger generation.
        """
        used = {id_ for request in requests for id_ in request.versions}
        current = await flush_store.read_preconditions(connection, used)
        stale = {id_ for id_ in used if current.versions.get(id_) != self._destinations.version(id_)}
        if stale:
            await self._destinations.refresh(connection, stale)
        for request in requests:
            if any(version != self._destinations.version(id_) for id_, version in request.versions.items()):
                self._evaluate(request)
        return current.generation

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            connection = await self._connect()
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

    async def _refuse(self, requests: Sequence[PendingRequest], error: Exception) -> None:
        self._telemetry.failed("flush.refused", error, level=30, posts=len(requests))
        self._database_results.refused(error)
        self._telemetry.flushes.labels("refused").inc()
        _answer_all(requests, NotStored("database"))
        if self._connection is None:
            # No connection can be opened: queued requests get the same answer without waiting.
            while self._queue:
                _answer_all(self._take_group(), NotStored("database"))
        else:
            # The state of the session is unknown: the next flush opens a new one.
            self._connection.terminate()
            self._connection = None


def _answer_all(requests: Sequence[PendingRequest], response: NotStored) -> None:
    for request in requests:
        if not request.response.done():
            request.response.set_result(response)


def _flush_of(requests: Sequence[PendingRequest], generation: int) -> Flush:
    return Flush(
        # Copies: the flush may replace entries with rejections, which must not survive a rollback.
        [list(request.evaluated) for request in requests],
        generation,
        [request.destinations for request in requests],
        low_priority=frozenset(n for n, request in enumerate(requests) if request.low_priority),
        traces=[request.trace for request in requests],
    )


def _concerns_transaction(error: asyncpg.PostgresError) -> bool:
    return str(error.sqlstate).startswith(_TRANSACTION_ERRORS)

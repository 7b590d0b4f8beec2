"""Group commit: concurrent requests share a transaction and are answered after the commit."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from app.domain.conversion.convert import Work
from app.domain.event import Rejection
from app.domain.ids import DestinationId, DestinationNumber, LaneId, OrganisationId
from app.ingest.destination_cache import CachedDestination, DestinationCache
from app.ingest.evaluate import Candidate, Evaluated, evaluate, node_of
from app.ingest.flush_session import FlushSession, concerns_transaction
from app.ingest.flush_writer import FlushWriter
from app.ingest.pending_request import NotStored, PendingRequest, RequestResults
from app.store import PipelineConnection, lanes
from app.store.database.clock import DatabaseClock
from app.store.database.results import DatabaseResults
from app.store.errors import DRIVER_ERRORS
from app.store.events.journey_figures import JourneyNode
from app.telemetry import Telemetry

# The events of one flush, unless a single request has more. A request waits for the flush in progress and for
# its own, and a flush of this size takes some tens of milliseconds.
MAX_EVENTS = 1_000
# A flush of this many requests starts without a wait for more. While the database writes it, this process
# evaluates the next requests.
FLUSH_MIN_REQUESTS = 24
# A large request is evaluated in slices of this many events, one to two milliseconds of CPU time each.
# Between two slices the event loop serves other requests.
SLICE_EVENTS = 50


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
        self.events += len(request.events)

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
            if group and events + len(requests[0].events) > most_events:
                too_large[organisation] = requests
                continue
            request = requests.popleft()
            group.append(request)
            events += len(request.events)
            if requests:
                self._waiting[organisation] = requests  # behind the other organisations
        self._waiting = too_large
        self.requests -= len(group)
        self.events -= events
        return group


class GroupCommit:
    """Collects requests and writes them in groups, each in one transaction (a flush)."""

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
    ) -> None:
        self._destinations = destinations
        self._pepper = writer.pepper
        self._linger_s = linger_s
        self._clock = clock
        self._notify = notify
        self._telemetry = telemetry
        self._database_results = database_results
        self._queue = CommitQueue()
        self._has_requests = asyncio.Event()
        self._may_flush = asyncio.Event()
        self._session = FlushSession(
            connect=connect,
            destinations=destinations,
            writer=writer,
            evaluate=self.evaluate,
            telemetry=telemetry,
        )
        # The gauge reads the number when metrics are scraped: setting it with every request costs more.
        telemetry.waiting_posts.set_function(lambda: self._queue.events)
        self._closing = False

    async def store(self, request: PendingRequest) -> RequestResults | NotStored:
        """Store the events of an evaluated request; return their results after the commit.

        NotStored means that no event was acknowledged. If the caller is cancelled, the flush continues.
        """
        if self._closing:
            return NotStored()
        self._queue.add(request)
        self._has_requests.set()
        if self._is_large_enough():
            self._may_flush.set()
        return await request.response

    async def run(self) -> None:
        """Write groups until `close` was called and the queue is empty."""
        several = False  # whether the last flush had several requests
        while not (self._closing and not self._queue.requests):
            await self._has_requests.wait()
            if several:
                # Their senders are likely to post again at once, and can share a flush.
                await self._linger()
            requests = self._queue.take(MAX_EVENTS)
            if not self._queue.requests and not self._closing:
                self._has_requests.clear()
            several = len(requests) > 1
            if requests:
                await self._flush(requests)
            requests = []  # frees their memory while waiting
        await self._session.close()

    async def _linger(self) -> None:
        """Wait until the queue is large enough for a flush, but no longer than FLUSH_WAIT_MS."""
        if self._is_large_enough():
            return
        self._may_flush.clear()
        timer = asyncio.get_running_loop().call_later(self._linger_s, self._may_flush.set)
        await self._may_flush.wait()
        timer.cancel()

    def _is_large_enough(self) -> bool:
        return self._closing or self._queue.requests >= FLUSH_MIN_REQUESTS or self._queue.events >= MAX_EVENTS

    def close(self) -> None:
        """Accept no more requests; `run` ends when all queued requests are answered."""
        self._closing = True
        self._may_flush.set()
        self._has_requests.set()

    async def evaluate_current(self, connection: PipelineConnection, request: PendingRequest) -> int:
        """Evaluate a request again after a change of configuration or clock; return the ledger generation."""
        await self._ensure_clock(connection, [request])
        return (await self._session.reevaluate_stale(connection, [request])).generation

    async def _ensure_clock(self, connection: PipelineConnection, requests: Sequence[PendingRequest]) -> None:
        await self._clock.ensure(connection)
        for request in requests:
            if self._clock.differs_from(request.clock_offset):
                await self.evaluate(request)

    async def evaluate(self, request: PendingRequest) -> None:
        """Evaluate the events of a request, a large one in slices: one for each event-loop iteration.

        Records in the request what the evaluation depends on: the clock's offset, the destinations and their
        versions.
        """
        now, request.clock_offset = self._clock.now(), self._clock.offset
        request.versions = {}
        found: dict[str | None, CachedDestination | None] = {None: None}
        evaluated: list[Evaluated] = []
        numbers: list[DestinationNumber | None] = []
        nodes: set[JourneyNode] = set()
        is_plain, work = True, Work()
        for start in range(0, len(request.events), SLICE_EVENTS):
            if start:
                await asyncio.sleep(0)
            for event in request.events[start : start + SLICE_EVENTS]:
                if (id_ := event.destination_id) not in found:
                    found[id_] = self._visible(DestinationId(id_ or ""), request)
                destination = found[id_]
                each = (
                    event
                    if isinstance(event, Rejection)
                    else evaluate(event, destination, self._pepper, now, work)
                )
                evaluated.append(each)
                if destination is None:
                    numbers.append(None)
                    continue
                numbers.append(destination.number)
                nodes.add(node_of(destination.number, each.journey))
                is_plain = is_plain and type(each) is Candidate and each.is_plain
        request.evaluated, request.destinations = evaluated, numbers
        request.nodes, request.is_plain = nodes, is_plain

    def _visible(self, id_: DestinationId, request: PendingRequest) -> CachedDestination | None:
        """Return a destination if its sender may use it, else None. Records its version in the request."""
        access = request.access
        if not id_ or (access.destinations is not None and id_ not in access.destinations):
            return None
        destination = self._destinations.get(id_)
        request.versions[id_] = None if destination is None else destination.version
        if destination is None or destination.organisation != access.organisation:
            return None
        return destination

    async def _flush(self, requests: Sequence[PendingRequest]) -> None:
        """Write a group and answer its requests; never raises."""
        try:
            with self._telemetry.flush_seconds.time(), self._database_results.flushing():
                await self._write(requests)
            self._telemetry.flushes.labels("stored").inc()
            self._database_results.succeeded()
        except asyncpg.PostgresError as error:
            is_locked = isinstance(error, asyncpg.LockNotAvailableError)
            if concerns_transaction(error) or (is_locked and len(requests) == 1):
                self._refuse(requests, error)
            elif len(requests) == 1:
                # A request that cannot be written is a bug; it must not fail other requests.
                self._telemetry.failed("flush.request_failed", error, level=40)
                self._database_results.refused(error)
                self._telemetry.flushes.labels("failed").inc()
                _refuse_all(requests)
            else:
                # One request cannot be written, or another session has locked a row that it needs. Rows of
                # counts belong to a database session, so a new one has others.
                if is_locked:
                    self._session.terminate()
                middle = len(requests) // 2
                await self._flush(requests[:middle])
                await self._flush(requests[middle:])
        except Exception as error:  # a lost connection or a bug: nothing of the group is acknowledged
            self._refuse(requests, error)

    async def _write(self, requests: Sequence[PendingRequest]) -> None:
        await self._ensure_clock(await self._session.connection(), requests)
        flush = await self._session.write(requests)
        if flush.pinned_names:
            self._destinations.add_pins(flush.pinned_names)
        if flush.waiting:
            self._notify(flush.waiting)
        for batch, indexes in flush.stored_batches.items():
            for index in indexes:
                requests[index].trace.batches.append(batch)
        for request, evaluated, results in zip(requests, flush.evaluated, flush.results, strict=True):
            if not request.response.done():
                found = RequestResults(evaluated, results, request.destinations, flush.rejected_at)
                request.response.set_result(found)

    def _refuse(self, requests: Sequence[PendingRequest], error: Exception) -> None:
        self._telemetry.failed("flush.refused", error, level=30, posts=len(requests))
        self._database_results.refused(error)
        self._telemetry.flushes.labels("refused").inc()
        _refuse_all(requests)
        if self._session.has_connection:
            # The state of the database session is unknown, so the next flush opens another connection.
            self._session.terminate()
        else:
            # No connection can be opened: queued requests get the same answer without waiting.
            while refused := self._queue.take(MAX_EVENTS):
                _refuse_all(refused)


def _refuse_all(requests: Sequence[PendingRequest]) -> None:
    for request in requests:
        if not request.response.done():
            request.response.set_result(NotStored())


class Notifier:
    """Notifies workers of stored events: after the commit, on another connection, once for many flushes.

    If a notification is lost, its events wait until the worker polls the lane.
    """

    def __init__(self, *, pool: asyncpg.Pool, interval_s: float, telemetry: Telemetry) -> None:
        self._pool = pool
        self._interval_s = interval_s
        self._telemetry = telemetry
        self._waiting: dict[LaneId, int] = {}
        self._has_events = asyncio.Event()

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
                async with self._pool.acquire() as connection:
                    await lanes.notify_waiting(connection, waiting)
            except DRIVER_ERRORS as error:
                self._telemetry.failed("notify.failed", error, level=30)
            await asyncio.sleep(self._interval_s)

"""Group commit: concurrent requests share a transaction and are answered after the commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from app.domain.conversion.convert import Work
from app.domain.event import Event, Rejection
from app.domain.ids import DestinationId, DestinationNumber, LaneId, OrganisationId
from app.domain.pacing.commit_window import FEW_EVENTS, CommitWindow
from app.domain.pacing.owner_queue import OwnerQueue
from app.domain.pacing.recent_senders import RecentSenders
from app.domain.trace import RequestTrace
from app.ingest.destination_cache import CachedDestination, DestinationCache
from app.ingest.evaluate import Evaluated, evaluate
from app.ingest.flush_session import FlushSession, concerns_transaction
from app.ingest.flush_writer import FlushWriter
from app.ingest.pending_request import NotStored, PendingRequest, RequestResults, SenderAccess
from app.store import PipelineConnection
from app.store.clock import DatabaseClock
from app.store.database_results import DatabaseResults
from app.telemetry import Telemetry

MAX_EVENTS = 5_000  # in one flush
MAX_WAITING = 50_000  # events that wait for a commit; further requests are refused
# A flush of this many requests starts without a wait for more. While the database writes it, this process
# evaluates the next requests.
FLUSH_MIN_REQUESTS = 24
# An organisation counts as sending for this long after a post. While several organisations send, a flush has
# at most 1/SHARED_PART of MAX_EVENTS, because the next flush waits for its end.
SHARED_SECONDS = 60.0
SHARED_PART = 10
# While several organisations send, the events of each may use this part of MAX_WAITING.
WAITING_PART = 2 / 3
SECOND_RETRY_SECONDS = 5.0  # from a failure of the second writer to its next start


class GroupCommit:
    """Collects requests and writes them in groups, each in one transaction (a flush).

    There are two writers, each with a connection. While the first writes requests of one organisation, the
    second writes requests of others. No organisation is in two groups at a time, so its requests keep their
    order. The second connection is opened when a second organisation sends.
    """

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
        self._max_waiting = MAX_WAITING
        self._queue: OwnerQueue[PendingRequest] = OwnerQueue()
        self._senders = RecentSenders(SHARED_SECONDS)
        self._arrived: list[PendingRequest] = []  # requests of this event-loop iteration
        self._waiting_events = 0
        self._has_requests = asyncio.Event()
        self._may_flush = asyncio.Event()
        self._slicing = asyncio.Lock()
        self._windows = (CommitWindow(), CommitWindow())
        self._sessions = [
            FlushSession(
                connect=connect,
                destinations=destinations,
                writer=writer,
                evaluate=self._evaluate,
                telemetry=telemetry,
            )
            for _ in self._windows
        ]
        self._second_task: asyncio.Task[None] | None = None
        self._no_second_until = float("-inf")
        # The gauge reads the number when metrics are scraped: setting it with every request costs more.
        telemetry.waiting_posts.set_function(lambda: self._waiting_events)
        self._closing = False

    async def store(
        self,
        events: Sequence[Event | Rejection],
        access: SenderAccess,
        trace: RequestTrace,
        *,
        low_priority: bool,
    ) -> RequestResults | NotStored:
        """Evaluate and store the events of one request; return their results after the commit.

        NotStored means that no event was acknowledged. If the caller is cancelled, the flush continues.
        """
        if self._closing or self._waiting_events + len(events) > self._max_waiting:
            return NotStored()
        loop = asyncio.get_running_loop()
        organisation, now = access.organisation, loop.time()
        self._senders.record(organisation, now)
        response: asyncio.Future[RequestResults | NotStored] = loop.create_future()
        request = PendingRequest(events, access, response, trace, low_priority)
        if self._senders.are_several(now):
            if not self._sessions[1].has_connection:
                self._start_second()  # so that its connection is open when it is needed
            if self._queue.cost_of(organisation) + len(events) > self._max_waiting * WAITING_PART:
                return NotStored()
            if not await self._evaluate_in_slices(request):
                return NotStored()
            self._waiting_events += len(events)
            self._enqueue(request)
        else:
            self._waiting_events += len(events)
            self._arrived.append(request)
            if len(events) > FEW_EVENTS:
                self._evaluate_arrived()  # now, while its parsed events are in the processor's caches
            elif len(self._arrived) == 1:
                loop.call_soon(self._evaluate_arrived)
        return await response

    def _evaluate_arrived(self) -> None:
        """Evaluate and queue the requests that arrived in this event-loop iteration.

        Evaluating them together is faster, because the code stays in the processor's caches.
        """
        arrived, self._arrived = self._arrived, []
        for request in arrived:
            try:
                self._evaluate(request)
            except Exception as error:  # a bug: it concerns only this request
                self._waiting_events -= len(request.events)
                if not request.response.done():
                    request.response.set_exception(error)
            else:
                self._enqueue(request)

    def _enqueue(self, request: PendingRequest) -> None:
        organisation = request.access.organisation
        self._queue.add(organisation, len(request.events) + 1, request)
        if organisation not in self._windows[1].writing:
            self._has_requests.set()
        if self._is_large_enough():
            self._may_flush.set()
        if (writing := self._windows[0].writing) and organisation not in writing:
            self._start_second()

    @property
    def _is_shared(self) -> bool:
        return self._senders.are_several(asyncio.get_running_loop().time())

    @property
    def _most_events(self) -> int:
        return MAX_EVENTS // SHARED_PART if self._is_shared else MAX_EVENTS

    @property
    def waiting(self) -> int:
        """The number of events that wait for a commit."""
        return self._waiting_events

    async def run(self) -> None:
        """Write groups until `close` was called and the queue is empty."""
        first, second = self._windows
        while not (self._closing and not self._queue):
            await self._has_requests.wait()
            if requests := await self._next_group(first, second):
                await self._flush(self._sessions[0], requests)
            elif self._second_task is not None:
                # All waiting requests are for the second writer. The event is set again when that writer
                # ends, or when a request of another organisation arrives.
                self._has_requests.clear()
            requests = []  # frees their memory while waiting
            first.end()
        if self._second_task is not None:
            await self._second_task
        for session in self._sessions:
            await session.close()

    async def _next_group(self, window: CommitWindow, other: CommitWindow) -> list[PendingRequest]:
        """Remove the next group of a writer from the queue, after a wait for more requests."""
        loop = asyncio.get_running_loop()
        if wait_s := window.wait_s(self._queue.owners - other.writing, self._linger_s, loop.time()):
            self._start_second_for_others()
            await self._linger(wait_s)
        requests = self._take_group(other.writing)
        senders = [request.access.organisation for request in requests]
        events = sum([len(request.events) for request in requests])
        window.begin(senders, events, loop.time(), shared=self._is_shared)
        self._start_second_for_others()
        return requests

    def _start_second_for_others(self) -> None:
        """Start the second writer if requests wait whose organisations the first does not write."""
        if (writing := self._windows[0].writing) and self._queue.owners - writing:
            self._start_second()

    def _start_second(self) -> None:
        if self._second_task is None and asyncio.get_running_loop().time() >= self._no_second_until:
            self._second_task = asyncio.create_task(self._write_others(), name="flush of others")

    async def _write_others(self) -> None:
        """Write the requests of organisations that the first writer does not write, until there are none."""
        first, second = self._windows
        try:
            # The connection is opened before a request leaves the queue. If this fails, the first writer
            # writes the request.
            await self._sessions[1].connection()
            while requests := await self._next_group(second, first):
                await self._flush(self._sessions[1], requests)
                second.end()
        except Exception as error:
            self._no_second_until = asyncio.get_running_loop().time() + SECOND_RETRY_SECONDS
            self._telemetry.failed("flush.second_connection", error, level=30)
        finally:
            second.end()
            self._second_task = None
            if self._queue or self._closing:
                self._has_requests.set()

    async def _linger(self, seconds: float) -> None:
        """Wait until the queue is large enough for a flush, but no longer than this."""
        if self._is_large_enough():
            return
        self._may_flush.clear()
        timer = asyncio.get_running_loop().call_later(seconds, self._may_flush.set)
        await self._may_flush.wait()
        timer.cancel()

    def _is_large_enough(self) -> bool:
        return (
            self._closing
            or len(self._queue) >= FLUSH_MIN_REQUESTS
            or self._waiting_events >= self._most_events
        )

    def close(self) -> None:
        """Accept no more requests; `run` ends when all queued requests are answered."""
        self._evaluate_arrived()
        self._closing = True
        self._may_flush.set()
        self._has_requests.set()

    async def evaluate_current(self, connection: PipelineConnection, request: PendingRequest) -> int:
        """Evaluate a request with the current configuration, for a dry run; return the ledger generation."""
        await self._clock.ensure(connection)
        self._evaluate(request)
        return await self._sessions[0].reevaluate_stale(connection, [request])

    def _take_group(self, excluded: frozenset[str | None]) -> list[PendingRequest]:
        """Remove and return the requests of the next flush, without those of the `excluded` organisations.

        They have at most `_most_events` events, unless the first request alone has more. Organisations take
        turns. A request of few events does not share a flush with a request of many events of another
        organisation, because a flush of many events takes longer.
        """
        group: list[PendingRequest] = []
        events = 0
        # The organisations in the group, by whether their requests have few events.
        senders: dict[bool, set[OrganisationId]] = {True: set(), False: set()}
        while (first := self._queue.first(excluded)) is not None:
            few, sender = len(first.events) <= FEW_EVENTS, first.access.organisation
            if group and (events + len(first.events) > self._most_events or senders[not few] - {sender}):
                break
            group.append(self._queue.pop(excluded))
            events += len(first.events)
            senders[few].add(sender)
        self._waiting_events -= events
        if not self._queue and not self._closing:
            self._has_requests.clear()
        return group

    def _evaluate(self, request: PendingRequest) -> None:
        request.evaluated = self._begin_evaluation(request)(request.events)

    async def _evaluate_in_slices(self, request: PendingRequest) -> bool:
        """Evaluate a request. A large request is evaluated in slices, one slice per event-loop iteration.

        Only one large request is evaluated at a time. Return False if `close` was called meanwhile: the
        request must then not be queued.
        """
        if len(request.events) <= FEW_EVENTS:
            self._evaluate(request)
            return True
        async with self._slicing:
            evaluate_events = self._begin_evaluation(request)
            evaluated: list[Evaluated] = []
            for start in range(0, len(request.events), FEW_EVENTS):
                await asyncio.sleep(0)
                evaluated += evaluate_events(request.events[start : start + FEW_EVENTS])
            request.evaluated = evaluated
        return not self._closing

    def _begin_evaluation(
        self, request: PendingRequest
    ) -> Callable[[Sequence[Event | Rejection]], list[Evaluated]]:
        """Return a function that evaluates events of a request.

        Records in the request what the evaluation depends on: the clock's offset, the destinations and their
        versions.
        """
        now, request.clock_offset = self._clock.now(), self._clock.offset
        request.versions = {}
        found: dict[str | None, CachedDestination | None] = {None: None}
        numbers: list[DestinationNumber | None] = []
        for event in request.events:
            if (id_ := event.destination_id) not in found:
                found[id_] = self._visible(DestinationId(id_ or ""), request)
            destination = found[id_]
            numbers.append(None if destination is None else destination.number)
        request.destinations = numbers
        find, pepper, work = found.get, self._pepper, Work()

        def evaluate_events(events: Sequence[Event | Rejection]) -> list[Evaluated]:
            return [
                event
                if isinstance(event, Rejection)
                else evaluate(event, find, pepper=pepper, now=now, work=work)
                for event in events
            ]

        return evaluate_events

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

    async def _flush(self, session: FlushSession, requests: Sequence[PendingRequest]) -> None:
        """Write a group and answer its requests; never raises."""
        try:
            with self._telemetry.flush_seconds.time(), self._database_results.flushing():
                await self._write(session, requests)
            self._telemetry.flushes.labels("stored").inc()
            self._database_results.succeeded()
        except asyncpg.PostgresError as error:
            is_locked = isinstance(error, asyncpg.LockNotAvailableError)
            if concerns_transaction(error) or (is_locked and len(requests) == 1):
                self._refuse(session, requests, error)
            elif len(requests) == 1:
                # A request that cannot be written is a bug; it must not fail other requests.
                self._telemetry.failed("flush.request_failed", error, level=40)
                self._database_results.refused(error)
                self._telemetry.flushes.labels("failed").inc()
                _refuse_all(requests)
            else:
                # One request cannot be written, or another session has locked a row that it needs.
                middle = len(requests) // 2
                await self._flush(session, requests[:middle])
                await self._flush(session, requests[middle:])
        except Exception as error:  # a lost connection or a bug: nothing of the group is acknowledged
            self._refuse(session, requests, error)

    async def _write(self, session: FlushSession, requests: Sequence[PendingRequest]) -> None:
        await self._clock.ensure(await session.connection())
        for request in requests:
            if self._clock.differs_from(request.clock_offset):
                self._evaluate(request)
        flush = await session.write(requests)
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

    def _refuse(self, session: FlushSession, requests: Sequence[PendingRequest], error: Exception) -> None:
        self._telemetry.failed("flush.refused", error, level=30, posts=len(requests))
        self._database_results.refused(error)
        self._telemetry.flushes.labels("refused").inc()
        _refuse_all(requests)
        if session.has_connection:
            # The state of the database session is unknown, so the next flush opens another connection.
            session.terminate()
        elif session is self._sessions[0]:
            # No connection can be opened: queued requests get the same answer without waiting.
            while refused := self._take_group(self._windows[1].writing):
                _refuse_all(refused)


def _refuse_all(requests: Sequence[PendingRequest]) -> None:
    for request in requests:
        if not request.response.done():
            request.response.set_result(NotStored())

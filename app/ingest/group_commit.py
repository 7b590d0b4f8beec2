"""Stored: concurrent posts share one transaction, are committed with fsync, and only then answered."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import asyncpg

from app.domain.event import Event, Rejection
from app.domain.ids import DestinationId, DestinationNumber, LaneId
from app.ingest.dedup import DedupVerdict, FlushBatch
from app.ingest.destination_cache import DestinationCache
from app.ingest.evaluate import Evaluated, evaluate
from app.ingest.flush_writer import FlushWriter
from app.store import PipelineConnection, flush_transaction
from app.store import flush as one_round_trip
from app.store.clock import DatabaseClock
from app.store.database_results import DatabaseResults
from app.telemetry import Telemetry

# Of these classes the transaction as a whole is at fault, never one of its posts: connection lost,
# rolled back for concurrency, out of resources, shut down; and a state in which nothing can be written: a
# server that has become read-only, a transaction that failed before.
_NOT_A_POSTS_FAULT = ("08", "40", "53", "57", "25")
_WORTH_ANOTHER_TRY = ("40001", "40P01")

# So many posts make a flush worth its while without waiting for more: with the others still being read and
# judged, the database and this process are busy at the same time.
WORTH_IT = 24


@dataclass(frozen=True, slots=True, repr=False)
class PostResults:
    """One answer per event of a post, in its order: what was judged, and the verdict on a candidate."""

    evaluated: Sequence[Evaluated]
    verdicts: Sequence[DedupVerdict | None]


@dataclass(frozen=True, slots=True)
class NotStored:
    """Nothing of the post was acknowledged; the caller may send it again. `why` is a word for the log."""

    why: str


@dataclass(slots=True, repr=False, eq=False)
class PendingPost:
    """The events of one request on their way into a flush. Holds traits: lives as long as its request."""

    events: Sequence[Event | Rejection]
    allowed: frozenset[DestinationId] | None
    answer: "asyncio.Future[PostResults | NotStored]"
    evaluated: list[Evaluated] = field(default_factory=list)
    low: bool = False  # its events wait behind what is live
    offset: float = 0.0  # of the database's clock, by which they were judged
    destinations: list[DestinationNumber | None] = field(default_factory=list)
    versions: dict[DestinationId, int | None] = field(default_factory=dict)


class GroupCommit:
    """Gathers posts and writes them group by group, on one connection of its own."""

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        targets: DestinationCache,
        stores: FlushWriter,
        gather: float,
        clock: DatabaseClock,
        stored: Callable[[dict[LaneId, int]], None],
        telemetry: Telemetry,
        outcomes: DatabaseResults,
        max_events: int = 5_000,
        max_waiting: int = 50_000,
    ) -> None:
        self._connect = connect
        self._targets = targets
        self._stores = stores
        self._gather = gather
        self._clock = clock
        self._stored = stored
        self._telemetry = telemetry
        self._outcomes = outcomes
        self._max_events = max_events
        self._max_waiting = max_waiting
        self._queue: list[PendingPost] = []
        self._waiting_events = 0
        self._arrived = asyncio.Event()
        self._worth_it = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._may_use_one_round_trip = False
        # Asked when somebody looks: to say so with every post costs more than to count it.
        telemetry.waiting_posts.set_function(lambda: self._waiting_events)
        self._generation: int | None = None  # of the ledger, as the last flush found it
        self._closing = False

    async def store(
        self, events: Sequence[Event | Rejection], allowed: frozenset[DestinationId] | None, *, low: bool
    ) -> PostResults | NotStored:
        """Judge and store the events of one request; returns after the commit that holds them.

        Cancelling the caller does not cancel the flush: what was gathered is written all the same.
        """
        if self._closing:
            return NotStored("closing")
        if self._waiting_events + len(events) > self._max_waiting:
            return NotStored("crowded")
        post = PendingPost(events, allowed, asyncio.get_running_loop().create_future(), low=low)
        self._evaluate(post)
        self._queue.append(post)
        self._waiting_events += len(events)
        self._arrived.set()
        if self._is_worth_it():
            self._worth_it.set()
        return await post.answer

    @property
    def waiting(self) -> int:
        """How many events wait for a commit."""
        return self._waiting_events

    async def run(self) -> None:
        """Flush until closed and empty. Runs as one task of the process."""
        crowded = False
        while not (self._closing and not self._queue):
            await self._arrived.wait()
            if crowded:
                # Where posts came together before, more will join; a lone one is not kept waiting.
                await self._gathered()
            posts = self._take()
            crowded = len(posts) > 1
            if posts:
                await self._flush(posts)
            posts = []  # or the last ones stayed in memory until the next come
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close()

    async def _gathered(self) -> None:
        """Return when so many posts wait that a flush is worth its while, or the time for that is over."""
        if self._is_worth_it():
            return
        self._worth_it.clear()
        timer = asyncio.get_running_loop().call_later(self._gather, self._worth_it.set)
        await self._worth_it.wait()
        timer.cancel()

    def _is_worth_it(self) -> bool:
        return self._closing or len(self._queue) >= WORTH_IT or self._waiting_events >= self._max_events

    def close(self) -> None:
        """Take no more posts; `run` ends once those taken are answered."""
        self._closing = True
        self._worth_it.set()
        self._arrived.set()

    async def evaluate_again(self, connection: PipelineConnection, post: PendingPost) -> int:
        """Judge a post by the current version of everything it names; return the ledger's generation."""
        await self._clock.ensure(connection)
        self._evaluate(post)
        return await self._evaluate_stale_again(connection, [post])

    def _take(self) -> list[PendingPost]:
        taken: list[PendingPost] = []
        events = 0
        for post in self._queue:
            if taken and events + len(post.events) > self._max_events:
                break
            taken.append(post)
            events += len(post.events)
        del self._queue[: len(taken)]
        self._waiting_events -= events
        if not self._queue and not self._closing:
            self._arrived.clear()
        return taken

    def _evaluate(self, post: PendingPost) -> None:
        """Judge every event of a post by the targets known now, and note the versions it was judged by."""
        now, post.offset = self._clock.now(), self._clock.offset
        named = {DestinationId(event.destination_id) for event in post.events if isinstance(event, Event)}
        # A key that is limited to other destinations is told that there is none.
        visible = named if post.allowed is None else named & post.allowed
        post.versions = {one: self._targets.version(one) for one in visible}
        known = {one: target for one in visible if (target := self._targets.known(one)) is not None}
        post.evaluated = [
            event
            if isinstance(event, Rejection)
            else evaluate(event, known.get, pepper=self._stores.pepper, now=now)
            for event in post.events
        ]
        numbers: dict[str, DestinationNumber] = {one: target.number for one, target in known.items()}
        post.destinations = [
            numbers.get(event.destination_id) if isinstance(event, Event) else None for event in post.events
        ]

    async def _flush(self, posts: Sequence[PendingPost]) -> None:
        """Write one group and answer it; never raises, whatever the database does."""
        try:
            with self._telemetry.flush_seconds.time():
                await self._write_with_retries(posts)
            self._telemetry.flushes.labels("stored").inc()
            self._outcomes.succeeded()
        except asyncpg.PostgresError as error:
            if _is_no_posts_fault(error):
                await self._refuse(posts, error)
            elif len(posts) == 1:
                # A post that cannot be written is a defect of ours; it is told so and harms nobody else.
                self._telemetry.failed("flush.post_failed", error, level=40)
                self._outcomes.refused(error)
                self._telemetry.flushes.labels("failed").inc()
                _answer_all(posts, NotStored("unwritable"))
            else:
                for post in posts:
                    await self._flush([post])
        except Exception as error:  # the connection died, or a defect: nothing of the group is acknowledged
            await self._refuse(posts, error)

    async def _write_with_retries(self, posts: Sequence[PendingPost]) -> None:
        for _ in range(2):
            try:
                await self._write(posts)
            except asyncpg.PostgresError as error:
                if not str(error.sqlstate).startswith(_WORTH_ANOTHER_TRY):
                    raise
            else:
                return
        await self._write(posts)

    async def _write(self, posts: Sequence[PendingPost]) -> None:
        connection = await self._connected()
        await self._clock.ensure(connection)
        for post in posts:
            if self._clock.differs_from(post.offset):
                self._evaluate(post)
        flush = await self._wrote_in_one_round_trip(connection, posts)
        if flush is None:
            async with flush_transaction.transaction(connection):
                self._generation = await self._evaluate_stale_again(connection, posts)
                flush = _flush_of(posts, self._generation)
                await self._stores.write(connection, flush)
        if flush.pinned:
            self._targets.pinned(flush.pinned)
        if flush.waiting:
            self._stored(flush.waiting)
        for nth, post in enumerate(posts):
            if not post.answer.done():
                post.answer.set_result(PostResults(flush.evaluated_posts[nth], flush.verdicts_of(nth)))

    async def _wrote_in_one_round_trip(
        self, connection: asyncpg.Connection, posts: Sequence[PendingPost]
    ) -> FlushBatch | None:
        """Write a group in one round trip, or return None, with nothing written."""
        versions = {one: seen for post in posts for one, seen in post.versions.items()}
        if (
            self._generation is None
            or not self._may_use_one_round_trip
            # One group may have been judged by two versions, of which the older one must be judged again.
            or any(seen != versions[one] for post in posts for one, seen in post.versions.items())
        ):
            return None
        flush = _flush_of(posts, self._generation)
        try:
            return flush if await self._stores.write_in_one_round_trip(connection, flush, versions) else None
        except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError) as error:
            # The session has lost its function, or this server cannot plan it.
            self._do_without(error)
            return None

    def _do_without(self, error: BaseException) -> None:
        """Write in several round trips from now on, until there is another connection."""
        self._may_use_one_round_trip = False
        self._telemetry.failed("flush.not_at_once", error, level=30)

    async def _evaluate_stale_again(
        self, connection: PipelineConnection, posts: Sequence[PendingPost]
    ) -> int:
        """Judge again what was judged by a version that is no longer the current one.

        What was published, paused or archived holds from its answer on, in every process; also what was
        refused is refused by the current version only. Returns the ledger's generation.
        """
        used = {destination for post in posts for destination in post.versions}
        current = await flush_transaction.preconditions(connection, used)
        stale = {one for one in used if current.versions.get(one) != self._targets.version(one)}
        if stale:
            await self._targets.refresh(connection, stale)
        for post in posts:
            if any(seen != self._targets.version(one) for one, seen in post.versions.items()):
                self._evaluate(post)
        return current.generation

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            connection = await self._connect()
            try:
                await one_round_trip.prepare(connection)
                self._may_use_one_round_trip = True
            except BaseException as error:
                if not isinstance(error, asyncpg.PostgresError) or _is_no_posts_fault(error):
                    connection.terminate()
                    raise
                self._do_without(error)
            self._connection = connection
        return self._connection

    async def _refuse(self, posts: Sequence[PendingPost], error: Exception) -> None:
        self._telemetry.failed("flush.refused", error, level=30, posts=len(posts))
        self._outcomes.refused(error)
        self._telemetry.flushes.labels("refused").inc()
        _answer_all(posts, NotStored("database"))
        if self._connection is None:
            # There is none to be had: what has come in meanwhile is not kept waiting for the same answer.
            while self._queue:
                _answer_all(self._take(), NotStored("database"))
        else:
            # Whatever state it is in, the next flush begins on a fresh one.
            self._connection.terminate()
            self._connection = None


def _answer_all(posts: Sequence[PendingPost], answer: NotStored) -> None:
    for post in posts:
        if not post.answer.done():
            post.answer.set_result(answer)


def _flush_of(posts: Sequence[PendingPost], generation: int) -> FlushBatch:
    return FlushBatch(
        # Copies: what a flush turns away by a name that it pins must not stay so where it is rolled back.
        [list(post.evaluated) for post in posts],
        generation,
        [post.destinations for post in posts],
        low=frozenset(nth for nth, post in enumerate(posts) if post.low),
    )


def _is_no_posts_fault(error: asyncpg.PostgresError) -> bool:
    return str(error.sqlstate).startswith(_NOT_A_POSTS_FAULT)

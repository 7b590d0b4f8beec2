"""Both halves of the pipeline in one process, on a real database, with Amazon behind the transport."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
from pydantic import SecretStr

from app.admin import Caller, Scope
from app.admin.context import AppContext
from app.admin.destinations.delivery_control import DeliveryControl
from app.amazon.client import EventsClient
from app.amazon.tokens import SignIn
from app.delivery.callbacks import CallbackPost
from app.delivery.dispatcher import Dispatcher
from app.domain.conversion.results import DeploymentRules
from app.domain.destination import State
from app.domain.ids import DEFAULT_ORGANISATION, DestinationNumber, KeyId, OrganisationId
from app.domain.outcomes.settle import ENDPOINT_POLICY, EndpointPolicy, RetryPolicy
from app.domain.outcomes.status import CountTotals, tally
from app.domain.pacing.lane_limits import TIMES, Times
from app.health import Readiness
from app.ingest.evaluate import PendingRequest
from app.ingest.intake import EventResult, Intake
from app.processes import api, worker
from app.processes.resources import Resources, open_resources
from app.settings import Settings
from app.store.counts import CountWriter
from app.store.destinations import figures as destination_figures
from app.store.events import batches as event_batches
from app.store.organisations.scope import NONE, scoped_pool
from tests.databases import ROLES, acting_as, connected
from tests.pipeline.amazon import FakeAmazon
from tests.pipeline.manual_clock import ManualClock
from tests.pipeline.rows import KEY, MAPPING, create_destination, request_of

QUICK_RETRIES = RetryPolicy(first_wait=0.05, longest_wait=0.2)


def settings_of(database_url: str, **more: Any) -> Settings:
    return Settings(
        database_url=database_url,
        encryption_keys=f"k1:{KEY}",
        amazon_client_id="amzn1.application-oa2-client.test",
        amazon_client_secret="secret",
        amazon_base_url="http://amazon.test",
        merge_window_ms=20,
        **more,
    )


@dataclass
class World:
    """A pipeline with its Amazon. `destinations` are made by `destination()`."""

    resources: Resources  # of the owner of the tables
    amazon: FakeAmazon
    intake: Intake
    url: str
    workers: list[tuple[Dispatcher, "asyncio.Task[None]"]] = field(default_factory=list)
    made: int = 0
    clock: ManualClock | None = None  # of its workers; without one they live in real time
    receiving: Resources | None = None  # of the API's role
    delivering: Resources | None = None  # of the workers' role
    is_damaged: bool = False  # a test wrote a wrong number of events, so figures cannot agree with counts

    async def destination(
        self,
        *events: dict[str, Any],
        advertiser: str | None = None,
        rate: float = 500,
        burst: int = 50,
        mapping: dict[str, Any] = MAPPING,
        region: str = "NA",
        organisation: str = DEFAULT_ORGANISATION,
    ) -> str:
        """Make a connected destination with one published mapping, and post these events to it."""
        self.made += 1
        async with self.resources.pool.acquire() as c, c.transaction():
            destination = await create_destination(
                c,
                self.resources.vault,
                self.made,
                advertiser=advertiser,
                pace=(rate, burst),
                mapping=mapping,
                region=region,
                organisation=organisation,
            )
        if events:
            await self.post(destination, *events)
        return destination

    async def post(self, destination: str, *events: dict[str, Any], **of: Any) -> list[EventResult]:
        """Post these events as one batch; fails the test when they could not be stored."""
        results = await self.try_post(destination, *events, **of)
        assert results is not None, results
        return results

    async def post_apart(self, destination: str, events: int) -> None:
        """Post the first events, each as a batch of its own."""
        for number in range(events):
            await self.post(destination, event(number))

    async def try_post(
        self, destination: str, *events: dict[str, Any], **of: Any
    ) -> list[EventResult] | None:
        return await self.intake.receive(request_of(events, destination, **of))

    async def evaluated(self, destination: str, *events: dict[str, Any]) -> PendingRequest:
        """Return a request with the results of its evaluation; nothing is stored."""
        request = request_of(events, destination)
        await self.intake.evaluate(request)
        return request

    async def rehearse(self, destination: str, *events: dict[str, Any]) -> list[EventResult]:
        """Post these events as a dry run."""
        results = await self.intake.dry_run(await self.evaluated(destination, *events))
        assert results is not None, results
        return results

    def work(
        self,
        *,
        listens: bool = True,
        journey: CallbackPost | None = None,
        times: Times = TIMES,
        endpoint: EndpointPolicy = ENDPOINT_POLICY,
    ) -> Dispatcher:
        """Start a worker, which waits less between tries than that of the product."""
        client = EventsClient("client", "http://amazon.test", self.amazon.client())
        sign_in = SignIn(
            "client", SecretStr("secret"), "http://x/cb", "http://amazon.test", self.amazon.client()
        )
        dispatcher = worker.build_dispatcher(self.delivering or self.resources, client, sign_in, journey)
        dispatcher.listens = listens  # the one thing of it that no setting turns off
        dispatcher.worker.times = times
        dispatcher.delivery.policy, dispatcher.delivery.tokens.endpoint = QUICK_RETRIES, endpoint
        if self.clock is not None:
            self.clock.lead(dispatcher.worker)
        self.workers.append((dispatcher, asyncio.create_task(dispatcher.run())))
        if self.clock is not None:
            self.clock.workers.append(self.workers[-1])
        return dispatcher

    def stop_clock(self, *, merge_window_ms: int | None = None) -> ManualClock:
        """Let the workers started from now on live on a clock that only `advance` moves."""
        if merge_window_ms is not None:
            settings = self.resources.settings.model_copy(update={"merge_window_ms": merge_window_ms})
            self.resources = replace(self.resources, settings=settings)
            self.delivering = replace(self.delivering or self.resources, settings=settings)
        self.clock = ManualClock(self.amazon)
        return self.clock

    async def advance(self, seconds: float) -> None:
        """Let that much time pass for the workers; all that is due in it has left when this returns."""
        assert self.clock is not None, "stop the clock before a worker starts"
        await self.clock.advance(seconds)

    async def make_due(self) -> None:
        """End the waits of all retries, which are in the database's time."""
        await self.fetch("UPDATE batch_states SET due_at = now() WHERE settled_at IS NULL")
        await self.fetch("UPDATE exceptions SET due_at = now() WHERE due_at > now()")

    async def pass_midnight(self) -> None:
        """Move all that is stored to the day before, as if midnight passed now."""
        for table in ("batches", "batch_states", "counts", "attempts", "exceptions"):
            await self.fetch(f"UPDATE {table} SET day = day - 1")

    async def stop_workers(self) -> None:
        for dispatcher, _ in self.workers:
            dispatcher.stop()
        await asyncio.gather(*(task for _, task in self.workers))
        self.workers.clear()

    @asynccontextmanager
    async def new_intake(self, **changes: Any) -> AsyncIterator[Intake]:
        """Let another intake, with some of its resources changed, receive the events of the block."""
        before, resources = self.intake, replace(self.receiving or self.resources, **changes)
        self.intake = api.build_ingest(resources, DeploymentRules())
        task = asyncio.create_task(self.intake.run())
        try:
            yield self.intake
        finally:
            self.intake.close()
            await task
            self.intake = before

    @property
    def pool(self) -> Any:
        """Lend connections as a request of the organisation `default` gets them."""
        return scoped_pool(self.resources.pool, DEFAULT_ORGANISATION)

    async def counts(self, destination: str, organisation: str = DEFAULT_ORGANISATION) -> dict[str, int]:
        async with scoped_pool(self.resources.pool, OrganisationId(organisation)).acquire() as c:
            row = await event_batches.destination(c, destination)
            assert row is not None
            figures = await destination_figures.destination_figures(c, row.number)
        totals: CountTotals = figures.totals
        counts = asdict(tally(totals, State(figures.state)))
        statuses = {k: v for k, v in counts.items() if k not in ("accepted", "duplicates", "rejected")}
        assert counts["accepted"] == sum(statuses.values())
        assert all(number >= 0 for number in counts.values()), counts
        return counts

    async def until(
        self,
        destination: str,
        *,
        seconds: float = 20,
        organisation: str = DEFAULT_ORGANISATION,
        **wanted: int,
    ) -> dict[str, int]:
        """Wait until the counts are as wanted."""

        async def reached() -> dict[str, int] | None:
            counts = await self.counts(destination, organisation)
            return counts if all(counts[name] == number for name, number in wanted.items()) else None

        counts: dict[str, int] = await eventually(reached, seconds=seconds)
        await self.figures_agree(destination)
        return counts

    async def work_until(self, destination: str, **wanted: Any) -> dict[str, int]:
        """Start a worker, and wait until the counts are as wanted."""
        self.work()
        return await self.until(destination, **wanted)

    async def figures_agree(self, destination: str) -> None:
        """Compare the sums of the journey figures with the counts, unless a test wrote counts or batches."""
        if self.is_damaged:
            return
        sums = ", ".join(f"coalesce(sum({each.name}), 0) AS {each.name}" for each in fields(CountTotals))
        (row,) = await self.fetch(
            f"""
            SELECT to_jsonb(c) AS counted, to_jsonb(f) AS by_node, EXISTS (SELECT FROM counts
              WHERE destination = d.number AND writer = 32767) OR EXISTS (SELECT FROM batch_states
              WHERE destination = d.number AND nodes IS NULL) AS is_made
            FROM destinations d, LATERAL (SELECT {sums} FROM counts WHERE destination = d.number) c,
              LATERAL (SELECT {sums} FROM journey_figures WHERE destination = d.number) f
            WHERE d.id = $1
            """,
            destination,
        )
        assert row["is_made"] or row["by_node"] == row["counted"]

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self.resources.pool.fetch(statement, *arguments)

    async def execute(self, statements: str) -> None:
        """Run statements without parameters, all in one transaction."""
        await self.resources.pool.execute(statements)

    def metric(self, name: str, **labels: str) -> float | None:
        """Return a sample of this process, or None where there is none."""
        return self.resources.telemetry.registry.get_sample_value(f"amazon_conversions_{name}", labels)

    @asynccontextmanager
    async def refused_commits(self) -> AsyncIterator[None]:
        """Refuse each commit of a transaction that changed counts."""
        await self.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;"
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON counts "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        yield
        await self.fetch("DROP FUNCTION refuse CASCADE")

    async def add_attempt(
        self,
        destination: str,
        *,
        began: float = 0,
        settled: float | None = 0,
        outcome: str = "answered",
        delivered: int = 0,
    ) -> None:
        """Add a request that began, and was settled, some seconds ago; None: it is in progress."""
        await self.fetch(
            "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation,"
            "  started_at, settled_at, outcome, delivered) "
            "SELECT nextval('attempt_ids'), (now() AT TIME ZONE 'UTC')::date, lane, number, 1, 'w', ARRAY[1],"
            "  5, 1, now() - make_interval(secs => $2), now() - make_interval(secs => $3), $4, $5::int "
            "FROM destinations WHERE id = $1",
            *(destination, began, settled, None if settled is None else outcome, delivered),
        )

    async def number(self, destination: str) -> DestinationNumber:
        return DestinationNumber(
            (await self.fetch("SELECT number FROM destinations WHERE id = $1", destination))[0][0]
        )

    def context(self, organisation: str = DEFAULT_ORGANISATION) -> AppContext:
        """The context of a use case of a key of an organisation. It has what the pipeline has, no more."""
        resources, absent = self.receiving or self.resources, cast(Any, None)
        context = AppContext(
            engine=resources.engine_of(NONE),
            pool=resources.pool,
            pepper=resources.pepper,
            vault=resources.vault,
            intake=self.intake,
            sign_in=absent,
            find_advertiser=absent,
            send_conversions=absent,
            delivery_control=absent,
            readiness=Readiness(resources.pool, asyncio.get_running_loop().time),
            public_url="",
            monotonic=asyncio.get_running_loop().time,
        )
        key = KeyId("key_test")
        return context.of_caller(Caller(key, frozenset(Scope), organisation=OrganisationId(organisation)))

    def holding(
        self, *, callbacks_enabled: bool = False, monotonic: Callable[[], float] | None = None
    ) -> DeliveryControl:
        return DeliveryControl(
            pool=self.resources.pool,
            writer=CountWriter(1, callbacks_enabled),
            monotonic=monotonic or asyncio.get_running_loop().time,
            telemetry=self.resources.telemetry,
        )


def event(number: int, **more: Any) -> dict[str, Any]:
    """A harmless event with an id of its own; the same number makes the same event for the whole run."""
    return {
        "event_id": f"ord-{number}",
        "event": {"timestamp": BEGAN, "total": 10 + number, "brand": "acme"},
        "user": {"email": f"person{number}@example.com"},
        **more,
    }


def laborious_event(number: int) -> dict[str, Any]:
    """Return an event for the mapping LABORIOUS."""
    return event(number, list=[{"n": 1}] * 1_500)


def stamp(*, ago: timedelta = timedelta(0)) -> str:
    return (datetime.now(UTC) - ago).strftime("%Y-%m-%dT%H:%M:%SZ")


BEGAN = stamp()


async def eventually(ask: Callable[[], Any], *, seconds: float = 20, every: float = 0.03) -> Any:
    """Return the first truthy answer, awaited if need be; fail with the last one when time is up."""
    until = asyncio.get_running_loop().time() + seconds
    while True:
        answer = ask()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if asyncio.get_running_loop().time() > until:
            raise AssertionError(f"not within {seconds} s; last answer: {answer!r}")
        await asyncio.sleep(every)


async def waiting_sessions(world: World) -> int:
    """Return how many sessions of this database wait for a lock."""
    rows = await world.fetch(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return int(rows[0][0])


async def waits(world: World, sessions: int = 1) -> None:
    """Return when so many sessions wait for a lock."""

    async def is_reached() -> bool:
        return await waiting_sessions(world) >= sessions

    await eventually(is_reached)


@asynccontextmanager
async def locked(world: World, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """Hold the locks of a statement during the block. Lend the session that holds them."""
    async with connected(world.url) as foreign:
        await foreign.execute(f"BEGIN; {statement}")
        yield foreign


@asynccontextmanager
async def make_world(
    url: str, amazon: FakeAmazon | None = None, *, with_roles: bool = False
) -> AsyncIterator[World]:
    """Open a pipeline on a database; its workers are started by the test.

    `with_roles` gives each half sessions with the rights of its role only; else all are the owner's.
    """
    async with AsyncExitStack() as stack:
        settings = settings_of(url)

        async def opened(address: str) -> Resources:
            own = settings.model_copy(update={"database_url": SecretStr(address)})
            return await stack.enter_async_context(open_resources(own, role="worker", pool_size=10))

        resources = await opened(url)
        receiving = delivering = resources
        if with_roles:
            # One process but for its sessions.
            as_api = await opened(acting_as(url, ROLES.api))
            as_worker = await opened(acting_as(url, ROLES.worker))
            receiving = replace(resources, pool=as_api.pool, dsn=as_api.dsn)
            delivering = replace(resources, pool=as_worker.pool, dsn=as_worker.dsn)
        intake = api.build_ingest(receiving, DeploymentRules())
        tasks = [asyncio.create_task(intake.run()), asyncio.create_task(intake.notifier.run())]
        world = World(
            resources, amazon or FakeAmazon(), intake, url, receiving=receiving, delivering=delivering
        )
        try:
            yield world
        finally:
            if world.clock is not None:
                world.clock.end()
            await asyncio.wait_for(world.stop_workers(), 40)
            for process in (receiving, delivering):
                await process.close_engine()
            intake.close()
            await tasks[0]
            tasks[1].cancel()

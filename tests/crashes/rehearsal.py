"""One service in this process, in as many lives as it takes.

A life is built of the product's own parts, as its roots build them, on wires that go through a fuse. Time
is a number here: clocks are arguments of the pipeline, and what the database must wait for is moved into the
past between two steps, so that nothing sleeps.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import asyncpg
from pydantic import SecretStr

from app.amazon.client import EventsClient
from app.amazon.tokens import SignIn
from app.delivery.lane import Lane
from app.domain.conversion.results import DeploymentRules
from app.ingest.intake import Intake
from app.processes import api, worker
from app.processes.resources import Resources, open_resources, session_settings
from app.settings import Settings
from app.store.counts import CountWriter
from app.store.database.clock import DatabaseClock
from app.store.database.results import DatabaseResults
from app.store.errors import DRIVER_ERRORS
from app.store.lanes import StaleOwner
from tests.clock import Clock
from tests.crashes import stored
from tests.crashes.amazon import StandIn
from tests.crashes.evidence import Evidence
from tests.crashes.fuse import Died, Fuse, FusedTransport, wire_with
from tests.databases import connected
from tests.pipeline.rows import KEY, MAPPING, create_destination, request_of

AMAZON = "http://amazon.test"
SOURCES: dict[str, Any] = {
    **MAPPING,
    "fields": {"event_timestamp": {"path": "at"}, "email": {"path": "email"}},
    "custom_data": [],
}


def event(name: str) -> dict[str, Any]:
    """A harmless event; the same name is the same content, however often it is asked for."""
    return {"event_id": name, "at": _TODAY, "email": f"{name}@example.com"}


_TODAY = datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z")


@dataclass(frozen=True, slots=True, repr=False)
class _FusedConnection(Resources):
    """Resources whose connections all go through one fuse."""

    fuse: Fuse = field(default_factory=Fuse)

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self.dsn, connection_class=wire_with(self.fuse), server_settings=session_settings("own")
        )


@dataclass
class Rehearsal:
    """A database, a stand-in for Amazon and a record of responses. Lives start and end on it."""

    resources: Resources
    office: asyncpg.Connection
    amazon: StandIn
    destinations: list[str] = field(default_factory=list)
    evidence: Evidence = field(default_factory=Evidence)

    async def destination(self) -> str:
        """Make a connected destination with a published mapping, whose access token has run out."""
        number = 1 + await self.office.fetchval("SELECT count(*) FROM destinations")
        async with self.office.transaction():
            dst = await create_destination(
                self.office, self.resources.vault, number, pace=(1_000, 1_000), mapping=SOURCES
            )
            await self.office.execute("UPDATE sign_ins SET access_until = now() WHERE destination = $1", dst)
        self.destinations.append(dst)
        return dst

    @asynccontextmanager
    async def life(self, fuse: Fuse | None = None, *, writer: int = 1) -> AsyncIterator["Life"]:
        """Begin a life; when the fuse kills it, the block ends there and then, and the stage goes on."""
        fuse = fuse or Fuse()
        pool = await asyncpg.create_pool(
            self.resources.dsn, min_size=0, max_size=8, connection_class=wire_with(fuse), reset=_as_is
        )
        given = {one.name: getattr(self.resources, one.name) for one in fields(Resources)}
        clock = Clock()
        # Time passes for it as for the rest of the life, so that it is asked for at the same calls each time.
        given |= {"clock": DatabaseClock(clock, clock), "outcomes": DatabaseResults(clock)}
        context = _FusedConnection(
            **{**given, "pool": pool, "name": f"life-{id(fuse)}", "writer": CountWriter(writer)}, fuse=fuse
        )
        life = Life(self, context, fuse, clock)
        try:
            with suppress(Died):
                yield life
        finally:
            await life.end()

    async def time_passes(self, *, leases: bool = False) -> None:
        """Move into the past whatever is waited for: retries, attempts without a result, token leases."""
        await self.office.execute(
            "UPDATE batch_states SET due_at = now() - interval '1 s' WHERE settled_at IS NULL;"
            "UPDATE exceptions SET due_at = now() - interval '1 s' WHERE status = 'retrying';"
            "UPDATE attempts SET started_at = started_at - interval '31 s' WHERE settled_at IS NULL;"
            "UPDATE sign_ins SET refresh_until = NULL; UPDATE lanes SET blocked_until = NULL"
        )
        if leases:
            await self.office.execute("UPDATE lanes SET leased_until = now() - interval '1 s'")

    async def evaluated(self) -> Evidence:
        """Return the evidence, with what the database and the stand-in hold now."""
        seen = self.evidence
        seen.stored = await stored.places(self.office, self.destinations)
        seen.attempts = await stored.attempts(self.office, self.destinations)
        seen.final_counts = await stored.counts(self.office, self.destinations)
        seen.requests = self.amazon.requests
        seen.moment = 0.0
        return seen


class Life:
    """One process, as far as the pipeline goes: an intake, and a worker that is led step by step."""

    def __init__(self, stage: Rehearsal, resources: Resources, fuse: Fuse, clock: Clock) -> None:
        self._stage = stage
        self._resources = resources
        self._fuse = fuse
        self._clock = clock
        self.steps = 0
        self._intake: Intake
        self._intake = api.build_ingest(resources, DeploymentRules())
        self._flushing = asyncio.create_task(self._intake.run())
        transport = FusedTransport(stage.amazon.transport(), fuse)
        self._client = EventsClient("client", AMAZON, transport)
        self._sign_in = SignIn("client", SecretStr("secret"), "http://x/cb", AMAZON, transport)
        dispatcher = worker.build_dispatcher(resources, self._client, self._sign_in)
        dispatcher.worker.monotonic, dispatcher.worker.jitter = clock, lambda: 0.5
        self.delivery, self.ownership = dispatcher.delivery, dispatcher.leases

    async def post(self, destination: str, *names: str) -> bool:
        """Post events as one batch, and record the response. Return False without a response."""
        seen = self._stage.evidence
        seen.offered.update(names)
        request = request_of([event(name) for name in names], destination)
        answering = asyncio.create_task(self._intake.receive(request))
        await asyncio.wait({answering, self._flushing}, return_when=asyncio.FIRST_COMPLETED)
        # An answer that was given before the end is on its way, and counts.
        if not answering.done() and not (await asyncio.wait({answering}, timeout=0.05))[0]:
            answering.cancel()
            self._flushing.result()  # raises Died: the caller's connection ends with the process
        try:
            results = await answering
        except MemoryError:
            return False  # answered 500 or 503; the caller repeats it
        if results is None:
            return False
        statuses = {result.event_id or "": result.status for result in results}
        seen.acknowledged.update(name for name, status in statuses.items() if status != "rejected")
        seen.refused.update(name for name, status in statuses.items() if status == "rejected")
        return True

    async def deliver(self, *, steps: int = 60) -> None:
        """Lead the worker until nothing is open. What meets trouble is met again at the next step."""
        for step in range(steps):
            if not await stored.waiting(self._stage.office, self._stage.destinations):
                return
            self.steps += 1
            # A worker that lost its lanes, or a dead one's leases: some steps are a minute long.
            await self._stage.time_passes(leases=not self.ownership.owned and step % 2 == 1)
            with suppress(*DRIVER_ERRORS, StaleOwner, MemoryError):
                await self.ownership.adopt()
                await self.ownership.renew()
                for lane, attempt in await self.ownership.overdue():
                    await self.delivery.recover(lane, attempt)
                await self.delivery.tokens.write_again()
            for lane in list(self.ownership.owned.values()):
                await self.serve(lane)
            self._clock.now += 5

    async def serve(self, lane: Lane) -> None:
        """Serve a lane once, meeting trouble as the dispatcher does."""
        self._clock.now = max(self._clock.now, lane.pace.ready_at(self._clock.now))
        lane.begin_claim(self._clock.now)
        try:
            await self.delivery.serve(lane)
            if lane.wake_at == self._clock.now:  # it may only have read a token
                lane.begin_claim(self._clock.now)
                await self.delivery.serve(lane)
        except StaleOwner:
            self.ownership.lose(lane)
        except (*DRIVER_ERRORS, MemoryError):
            pass

    async def end(self) -> None:
        """Leave nothing behind on the machine; in the database a dead process leaves what it left."""
        self._intake.close()
        with suppress(Died, MemoryError, *DRIVER_ERRORS):
            await asyncio.wait_for(self._flushing, 10)
        if not self._fuse.dead:
            with suppress(Died, MemoryError, *DRIVER_ERRORS):
                await self.ownership.close()
        self._resources.pool.terminate()
        await self._client.aclose()
        await self._sign_in.aclose()


async def _as_is(connection: asyncpg.Connection) -> None:
    del connection


@asynccontextmanager
async def rehearse(url: str, amazon: StandIn | None = None) -> AsyncIterator[Rehearsal]:
    """Set the stage on a database of its own."""
    settings = Settings(database_url=url, encryption_keys=f"k1:{KEY}", merge_window_ms=20, flush_wait_ms=0)
    async with (
        open_resources(settings, role="test", pool_size=1) as resources,
        connected(resources.dsn) as office,
    ):
        yield Rehearsal(resources, office, amazon or StandIn())

"""Telling the journey engine what became final: gathered, signed and sent until it is taken.

Beside the road, never on it: what is owed was written with the state it tells of. No transaction is open
while the journey engine is asked; a worker that dies meanwhile leaves a lease that lapses, and the notice is
sent again under the same id.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final, Protocol

import asyncpg

from app.domain import callback
from app.domain.batch import EventMetadata, read_shapes
from app.domain.callback import Acknowledged, FinalState, NotAcknowledged
from app.domain.ids import MappingNumber
from app.domain.outcomes.settle import RetryPolicy
from app.store import callbacks
from app.store.callbacks import CallbackEvent, DueCallback, NamedEvent
from app.telemetry import Telemetry

MOST_EVENTS: Final = 500  # of one callback
MOST_CALLBACKS: Final = 4  # waiting at once; what comes meanwhile travels together later
LEASE: Final = timedelta(seconds=60)  # longer than a request may take
GIVEN_UP_AFTER: Final = timedelta(days=7)
LONGEST_PAUSE_S: Final = 3_600.0
_WAITS: Final = RetryPolicy(first_wait=2.0, longest_wait=900.0)


class CallbackReceiver(Protocol):
    """The journey engine, as far as it is told something."""

    async def tell(self, id: str, body: bytes) -> Acknowledged | NotAcknowledged:  # noqa: A002
        """Send one notice and return whether it was taken. Never raises for the network's sake."""
        ...


class CallbackSender:
    """Tells what is owed. One per worker process; several share the work."""

    every_s = 1.0

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        journey: CallbackReceiver,
        jitter: Callable[[], float],
        telemetry: Telemetry,
    ) -> None:
        self._pool = pool
        self._journey = journey
        self._jitter = jitter
        self._telemetry = telemetry

    async def tell(self) -> None:
        """Tell everything that is due; ends at the first notice that is not taken."""
        while await self._tell_one():
            pass

    async def _tell_one(self) -> bool:
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                await callbacks.bundle(connection, most_events=MOST_EVENTS, most_callbacks=MOST_CALLBACKS)
            due = await callbacks.claim(connection, lease=LEASE)
            if due is None:
                return False
            named = await callbacks.names(connection, due.notices)
        events = list(callback_states(due.notices, named))
        if len(events) < sum(one.final.events for one in due.notices):
            self._telemetry.log("callback.incomplete", level=30, callback=due.id, events=len(events))
        answer: Acknowledged | NotAcknowledged = Acknowledged()
        if events:
            body = callback.render(events, made_at=due.made_at)
            # The moment is in it, so that a database that begins anew never repeats an id.
            name = f"ntc_{int(due.made_at.timestamp()):x}_{due.id}"
            answer = await self._journey.tell(name, body)
        async with self._pool.acquire() as connection:
            if isinstance(answer, Acknowledged):
                await callbacks.acknowledge(connection, due.id)
            else:
                await self._again(connection, due, answer)
        word = "taken" if isinstance(answer, Acknowledged) else "not_taken"
        self._telemetry.callbacks.labels(word).inc()
        return isinstance(answer, Acknowledged)

    async def _again(
        self, connection: asyncpg.pool.PoolConnectionProxy, due: DueCallback, answer: NotAcknowledged
    ) -> None:
        if due.age > GIVEN_UP_AFTER:
            await callbacks.acknowledge(connection, due.id)
            self._telemetry.callbacks.labels("given_up").inc()
            self._telemetry.log(
                "callback.given_up", level=40, callback=due.id, tries=due.tries, why=answer.why
            )
            return
        wait = _WAITS.wait(due.tries, jitter=self._jitter())
        wait = max(wait, min(answer.retry_after or 0.0, LONGEST_PAUSE_S))
        await callbacks.reschedule(connection, due.id, wait=timedelta(seconds=wait), problem=answer.why)
        self._telemetry.log(
            "callback.not_taken", level=30, callback=due.id, tries=due.tries, why=answer.why, again_in_s=wait
        )


def callback_states(owed: tuple[CallbackEvent, ...], named: NamedEvent) -> Iterator[FinalState]:
    """Yield what is told of each event, in order; those whose batch is gone or damaged are missing."""
    for one in owed:
        final = one.final
        found = read_shapes(named.shapes.get(final.batch))
        if found is None:
            continue
        shapes = {shape.place: shape for shape in found}
        for place in _places(final.places, shapes, named.excepted.get(final.batch, frozenset())):
            shape = shapes[place]
            yield FinalState(
                event_id=shape.event_id,
                destination_id=named.destinations[one.destination],
                mapping_id=named.mappings.get(MappingNumber(shape.mapping)),
                state=final.status,
                code=final.code,
                reason=final.reason,
                at=one.at,
            )


def _places(
    places: tuple[int, ...] | None, shapes: dict[int, EventMetadata], excepted: frozenset[int]
) -> list[int]:
    if places is None:
        return [place for place in shapes if place not in excepted]
    return [place for place in places if place in shapes]

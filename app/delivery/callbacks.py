"""Deliver callbacks about final states to the journey engine.

A settlement stores the final states of its events in its own transaction. This job groups the final states
into callbacks. It sends each callback until the journey engine acknowledges it. No transaction is open during
a call. If a worker dies, its lease on the callback expires, and another worker sends the callback again with
the same id.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec

from app.delivery.worker import Worker
from app.domain import callback
from app.domain.batch import read_shapes
from app.domain.callback import Acknowledged, FinalState, NotAcknowledged
from app.domain.ids import MappingNumber
from app.domain.outcomes.settle import RetryPolicy
from app.store import PipelineConnection, callbacks
from app.store.callbacks import DueCallback

MOST_EVENTS: Final = 500  # in one callback
MOST_CALLBACKS: Final = 4  # not yet acknowledged; other events wait and are grouped into later callbacks
TIMEOUT_S: Final = 15.0  # of one request to the journey engine
LEASE: Final = timedelta(seconds=60)  # longer than TIMEOUT_S
FAILED_AFTER: Final = timedelta(days=7)
LONGEST_PAUSE_S: Final = 3_600.0
_WAITS: Final = RetryPolicy(first_wait=2.0, longest_wait=900.0)


CallbackPost = Callable[[str, bytes], Awaitable[Acknowledged | NotAcknowledged]]
"""Posts the body of a callback under its id to the journey engine. Returns network errors."""


@dataclass(eq=False, repr=False, kw_only=True)
class CallbackSender:
    """Sends due callbacks. Each worker process has one sender, and the senders share the work."""

    every_s = 1.0

    worker: Worker
    deliver: CallbackPost

    async def send_due(self) -> None:
        """Send all due callbacks. Stop at the first callback that is not acknowledged."""
        while await self._send_next():
            pass

    async def _send_next(self) -> bool:
        """Send the next due callback. Return True if it was acknowledged, False if not or if none is due."""
        async with self.worker.pool.acquire() as connection:
            async with connection.transaction():
                await callbacks.bundle(connection, most_events=MOST_EVENTS, most_callbacks=MOST_CALLBACKS)
            due = await callbacks.claim(connection, lease=LEASE)
        if due is None:
            return False
        events = list(callback_states(due))
        if len(events) < sum(final.events for final in due.finals):
            self.worker.telemetry.log("callback.incomplete", level=30, callback=due.id, events=len(events))
        sent_at = time.monotonic()
        reply: Acknowledged | NotAcknowledged = Acknowledged()
        if events:
            body = callback.render(events, made_at=due.made_at)
            # The time keeps ids unique even if the database is created anew and its numbers start again.
            callback_id = f"ntc_{int(due.made_at.timestamp()):x}_{due.id}"
            reply = await self.deliver(callback_id, body)
        async with self.worker.pool.acquire() as connection:
            if isinstance(reply, Acknowledged):
                await callbacks.acknowledge(connection, due.id)
            else:
                await self._reschedule(connection, due, reply)
        if (spans := self.worker.telemetry.spans) is not None:
            traces = {event.traceparent for event in events if isinstance(event.traceparent, str)}
            spans.record(
                "callback.send",
                duration_s=time.monotonic() - sent_at,
                attributes={"events": len(events)},
                links=sorted(traces)[:8],
            )
        result = "acknowledged" if isinstance(reply, Acknowledged) else "not_acknowledged"
        self.worker.telemetry.callbacks[result].inc()
        self.worker.telemetry.log(
            "callback.sent",
            callback=due.id,
            result=result,
            events=len(events),
            batches=sorted({final.batch for final in due.finals}),
        )
        return isinstance(reply, Acknowledged)

    async def _reschedule(
        self, connection: PipelineConnection, due: DueCallback, reply: NotAcknowledged
    ) -> None:
        """Send a callback again later, with back-off. After FAILED_AFTER, drop it."""
        if due.age > FAILED_AFTER:
            await callbacks.acknowledge(connection, due.id)
            self.worker.telemetry.callbacks["failed_permanently"].inc()
            self.worker.telemetry.log(
                "callback.failed_permanently", level=40, callback=due.id, tries=due.tries, reason=reply.why
            )
            return
        wait = _WAITS.wait(due.tries, jitter=self.worker.jitter())
        wait = max(wait, min(reply.retry_after or 0.0, LONGEST_PAUSE_S))
        await callbacks.reschedule(connection, due.id, wait=timedelta(seconds=wait), problem=reply.why)
        self.worker.telemetry.log(
            "callback.rescheduled",
            level=30,
            callback=due.id,
            tries=due.tries,
            reason=reply.why,
            retry_in_s=wait,
        )


def callback_states(due: DueCallback) -> Iterator[FinalState]:
    """Yield the final state of each event, in order. Skip the events of dropped or damaged batches."""
    for final in due.finals:
        stored = read_shapes(due.shapes.get(final.batch))
        if stored is None:
            continue
        shapes = {shape.place: shape for shape in stored}
        excepted = frozenset(due.excepted.get(final.batch, ()))
        remaining = [place for place in shapes if place not in excepted]
        for place in remaining if final.places is None else final.places:
            if (shape := shapes.get(place)) is None:
                continue
            yield FinalState(
                event_id=shape.event_id,
                destination_id=due.destinations[final.destination],
                mapping_id=due.mappings.get(MappingNumber(shape.mapping)),
                state=final.status,
                code=final.code,
                reason=final.reason,
                at=final.at,
                traceparent=shape.traceparent or msgspec.UNSET,
            )

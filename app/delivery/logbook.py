"""What telemetry is told of requests and of what they settled: ids, words and numbers."""

from typing import Any

from app.delivery.items import Load, Turn
from app.delivery.lanes import SAYS_SO_EVERY, Lane
from app.domain.outcome import Sent
from app.domain.settling import Settlement
from app.store.attempts import Started
from app.store.counts import Delta
from app.telemetry import Telemetry


class Logbook:
    """Writes one line a request and counts; a series is looked up once, not at every request."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._attempts: dict[str, Any] = {}
        self._final = {
            status: telemetry.settled.labels(status) for status in ("delivered", "dead", "expired")
        }

    def attempted(self, lane: Lane, load: Load, started: Started, sent: Sent, settlement: Settlement) -> None:
        """Tell of a request and its answer."""
        outcome = type(sent.reply).__name__.lower()
        if (series := self._attempts.get(outcome)) is None:
            series = self._attempts[outcome] = self._telemetry.attempts.labels(outcome)
        series.inc()
        self._telemetry.attempt_seconds.observe(sent.took_ms / 1000)
        self._telemetry.log(
            "amazon.attempted",
            attempt=started.id,
            destination=load.queue.id,
            lane=lane.id,
            events=len(load.items),
            kind=load.service.value,
            outcome=outcome,
            settlement=type(settlement).__name__,
            status=sent.status,
            request_id=sent.request_id,
            took_ms=sent.took_ms,
        )

    def backed_off(self, lane: Lane, turn: Turn, why: str, wait: float) -> None:
        """Say, where that goes on, that something is due in a lane and cannot be taken."""
        if lane.fruitless % SAYS_SO_EVERY == 0:
            self._telemetry.log(
                "lane.backed_off",
                level=30,
                lane=lane.id,
                destination=turn.queue.id,
                kind=turn.service.value,
                why=why,
                times=lane.fruitless,
                again_in_s=wait,
            )

    def settled(self, delta: Delta) -> None:
        """Count what reached a final state."""
        for status, series in self._final.items():
            if number := getattr(delta, status):
                series.inc(number)

"""What telemetry is told of requests and of what they settled: ids, words and numbers."""

from typing import Any

from app.delivery.batch_items import RequestContent
from app.delivery.lane import Lane
from app.domain.outcomes.outcome import SentRequest
from app.domain.outcomes.settle import Settlement
from app.store.attempts import StartedAttempt
from app.store.counts import CountDelta
from app.telemetry import Telemetry


class AttemptLog:
    """Writes one line a request and counts; a series is looked up once, not at every request."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._attempts: dict[str, Any] = {}
        self._final = {
            status: telemetry.settled.labels(status) for status in ("delivered", "dead", "expired")
        }

    def attempted(
        self,
        lane: Lane,
        load: RequestContent,
        started: StartedAttempt,
        sent: SentRequest,
        settlement: Settlement,
    ) -> None:
        """Tell of a request and its answer."""
        outcome = sent.outcome
        if (series := self._attempts.get(outcome)) is None:
            series = self._attempts[outcome] = self._telemetry.attempts.labels(outcome)
        series.inc()
        self._telemetry.attempt_seconds.observe(sent.duration_ms / 1000)
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
            duration_ms=sent.duration_ms,
        )

    def settled(self, delta: CountDelta) -> None:
        """Count what reached a final state."""
        for status, series in self._final.items():
            if number := getattr(delta, status):
                series.inc(number)

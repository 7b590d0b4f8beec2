"""Log lines, metrics and spans of requests to Amazon. They contain only ids, codes and numbers."""

from app.delivery.request_content import RequestInFlight
from app.domain.batch import sampled_traces
from app.domain.ids import LaneId
from app.domain.outcomes.outcome import OUTCOMES, SentRequest
from app.domain.outcomes.settle import Settlement
from app.store.counts import CountDelta
from app.telemetry import Telemetry


class AttemptLog:
    """Writes a log line and the metrics of each request. It looks up each metric series only once."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._attempts = {outcome: telemetry.attempts.labels(outcome) for outcome in OUTCOMES.values()}
        self._final = {
            status: telemetry.settled.labels(status) for status in ("delivered", "dead", "expired")
        }

    def record_attempt(
        self, lane: LaneId, request: RequestInFlight, sent: SentRequest, settlement: Settlement
    ) -> None:
        """Log a request with its reply and its settlement, and count it."""
        content, outcome = request.content, sent.outcome
        self._attempts[outcome].inc()
        duration_s = (sent.duration_ms or 0) / 1000
        self._telemetry.attempt_seconds.observe(duration_s)
        if (spans := self._telemetry.spans) is not None:
            sources = {item.source.batch: item.source for item in content.items}
            spans.record(
                "amazon.request",
                duration_s=duration_s,
                attributes={
                    "outcome": outcome,
                    "http.response.status_code": sent.status,
                    "batches": [*sources],
                },
                links=[trace for source in sources.values() for trace in sampled_traces(source.shapes)][:8],
            )
        self._telemetry.log(
            "attempt.finished",
            attempt=request.attempt.id,
            destination_id=content.queue.id,
            lane=lane,
            events=len(content.items),
            kind=content.kind.value,
            outcome=outcome,
            settlement=type(settlement).__name__,
            status=sent.status,
            duration_ms=sent.duration_ms,
            amazon_request_id=sent.request_id,
            # The ids are the same as in the log line of the request that brought the events.
            batches=content.batches or sorted({item.source.batch for item in content.items}),
        )

    def count_final(self, delta: CountDelta) -> None:
        """Count the events that became final, by status."""
        for status, series in self._final.items():
            if number := getattr(delta, status):
                series.inc(number)

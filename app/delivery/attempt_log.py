"""Log lines, metrics and spans of requests to Amazon. They contain only ids, codes and numbers."""

from app.delivery.claim import RequestInFlight
from app.domain.batch import sampled_traces
from app.domain.ids import LaneId
from app.domain.outcomes.outcome import SentRequest
from app.domain.outcomes.settle import Settlement
from app.store.counts import CountDelta
from app.telemetry import Telemetry


def record_attempt(
    telemetry: Telemetry, lane: LaneId, request: RequestInFlight, sent: SentRequest, settlement: Settlement
) -> None:
    """Log a request with its reply and its settlement, and count it."""
    content, outcome = request.content, sent.outcome
    telemetry.attempts[outcome].inc()
    duration_s = (sent.duration_ms or 0) / 1000
    telemetry.attempt_seconds.observe(duration_s)
    if (spans := telemetry.spans) is not None:
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
    telemetry.log(
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


def count_final(telemetry: Telemetry, delta: CountDelta) -> None:
    """Count the events that became final, by status."""
    for status, series in telemetry.settled.items():
        if number := getattr(delta, status):
            series.inc(number)

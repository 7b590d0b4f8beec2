"""The history of one event from its rows, member by member."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from app.admin.events.history import EventRows, accepted_history
from app.admin.events.summary import EventAttempt, EventHistory, OmittedMatchKey
from app.domain.batch import EventMetadata
from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.domain.outcomes.event_history import AttemptRecord, EventReplay
from app.domain.outcomes.status import Status
from app.store.events.batches import BatchRow, DestinationRef, ExceptionRow, MappingRef
from tests.tables import cases

AT = datetime(2026, 11, 24, 10, 0, 2, tzinfo=UTC)
HOUR, AGE = timedelta(hours=1), timedelta(days=21)
DESTINATION = DestinationRef(DestinationId("dst_1"), DestinationNumber(1), "Shop", "active", None, None)
MAPPINGS = {MappingNumber(7): MappingRef(MappingId("map_1"), "Orders", DESTINATION.id)}
SHAPE = EventMetadata(
    place=3,
    event_id="ord-1",
    mapping=7,
    mapping_version=2,
    event_type="OFF_AMAZON_PURCHASES",
    event_at_ms=round((AT - HOUR).timestamp() * 1000),
    match_keys=("EMAIL", "PHONE"),
    warnings=(("currency_missing", "value"),),
    execution_id="exe-1",
    journey_id="jrn-1",
    node_id="node-1",
    dropped_keys=(("MAID", "not_a_uuid"),),
    request_id="req-1",
)
BATCH = BatchRow(
    id=BatchId(5),
    destination=DESTINATION.number,
    day=date(2026, 11, 24),
    accepted_at=AT,
    due_at=AT + HOUR,
    tries=0,
    first_event=AT - 2 * HOUR,
    disposition=None,
    settled_at=None,
    reason=None,
    attempts=(1,),
    replays=(),
    shapes=b"",
)
FAILED = ExceptionRow(
    batch=BatchId(5),
    place=3,
    day=date(2026, 11, 24),
    status="retrying",
    tries=2,
    due_at=AT + 3 * HOUR,
    code=None,
    reason="amazon_item_failed",
    amazon_code="INVALID",
    amazon_message="The value is not valid.",
    item_outcomes=(
        json.dumps({"attempt": 1, "outcome": "amazon_item_failed", "code": "INVALID", "message": "No."}),
    ),
    replays=(),
    changed_at=AT + 2 * HOUR,
    event_at=AT - 3 * HOUR,
    delivered_at=None,
    erased_at=None,
    dismissed_at=None,
    dismissed_by=None,
)
ATTEMPT = AttemptRecord(
    1, AT, AT + HOUR, "answered", 207, "amz-1", "accepted in part", 12, 40, is_retry=False
)
ROWS = EventRows(DESTINATION, BATCH, SHAPE, None, [ATTEMPT], True, [EventReplay("rpl_1", AT, "key:ops")])


def history(rows: EventRows = ROWS, **more: object) -> EventHistory:
    return accepted_history(replace(rows, **more), MAPPINGS, AGE, str)  # type: ignore[arg-type]


def batch(**more: object) -> BatchRow:
    return replace(BATCH, **more)  # type: ignore[arg-type]


def failed(**more: object) -> ExceptionRow:
    return replace(FAILED, **more)  # type: ignore[arg-type]


SENT = batch(disposition="sent", settled_at=AT + 2 * HOUR)


def test_a_waiting_event_has_everything_from_its_metadata() -> None:
    """It has a next attempt and a deadline, and nothing final."""
    shown = history()
    assert shown == EventHistory(
        destination_name="Shop",
        received_at=AT,
        event_id="ord-1",
        status=Status.QUEUED,
        code=None,
        reason=None,
        accepted_at=AT,
        event_time=AT - HOUR,
        event_type="OFF_AMAZON_PURCHASES",
        execution_id="exe-1",
        mapping_id="map_1",
        mapping_version=2,
        amazon_code=None,
        amazon_message=None,
        journey_id="jrn-1",
        node_id="node-1",
        request_id="req-1",
        dismissed_at=None,
        dismissed_by=None,
        destination_id="dst_1",
        match_keys=["EMAIL", "PHONE"],
        dropped_match_keys=[OmittedMatchKey("MAID", "not_a_uuid")],
        warnings=[{"code": "currency_missing", "field": "value"}],
        attempts=[
            EventAttempt(
                "1", AT, AT + HOUR, "answered", 207, 12, None, None, None, "amz-1", "accepted in part", 40
            )
        ],
        attempts_complete=True,
        tries=0,
        next_attempt_at=AT + HOUR,
        expires_at=AT - HOUR + AGE,
        delivered_at=None,
        erased_at=None,
        replays=[EventReplay("rpl_1", AT, "key:ops")],
        duplicate_of=None,
        explanation="Accepted and stored. The event is in the queue and is sent automatically.",
    )


def test_a_request_in_flight_has_no_outcome_yet() -> None:
    (attempt,) = history(attempts=[replace(ATTEMPT, outcome=None, settled_at=None)]).attempts
    assert (attempt.outcome, attempt.settled_at) == ("under_way", None)


def test_older_attempts_may_be_missing() -> None:
    assert not history(has_all_attempts=False).attempts_complete


def test_a_failing_event_shows_amazons_answer() -> None:
    """Its own row counts, not its batch's: tries, due time, and the answer of each attempt."""
    shown = history(batch=SENT, exception=FAILED)
    assert (shown.status, shown.tries, shown.next_attempt_at) == (Status.RETRYING, 2, AT + 3 * HOUR)
    assert (shown.reason, shown.amazon_code) == ("amazon_item_failed", "INVALID")
    assert shown.amazon_message == "The value is not valid."
    (attempt,) = shown.attempts
    assert (attempt.item_outcome, attempt.item_code, attempt.item_message) == (
        "amazon_item_failed",
        "INVALID",
        "No.",
    )
    assert shown.explanation.startswith("2 failed attempts.")
    assert shown.expires_at == AT - HOUR + AGE
    assert shown.delivered_at is None


def test_the_tries_are_the_larger_of_both_rows() -> None:
    assert history(batch=batch(tries=4), exception=FAILED).tries == 4
    assert history(batch=batch(tries=4)).tries == 4


@cases(
    "rows",
    {
        "as part of its batch": replace(ROWS, batch=SENT),
        "by a retry of its own": replace(
            ROWS,
            batch=batch(settled_at=AT + 5 * HOUR),
            exception=failed(status="delivered", delivered_at=AT + 2 * HOUR),
        ),
    },
)
def test_a_delivered_event_has_no_deadline_and_no_next_attempt(rows: EventRows) -> None:
    shown = history(rows)
    assert (shown.status, shown.delivered_at, shown.expires_at) == (Status.DELIVERED, AT + 2 * HOUR, None)
    assert (shown.next_attempt_at, shown.reason) == (None, None)
    assert "Amazon accepted it at 2026-11-24 12:00:02 UTC." in shown.explanation


def test_a_discarded_batch_is_dead_since_it_was_settled() -> None:
    """With the reason of its batch."""
    shown = history(batch=batch(disposition="discarded", settled_at=AT + HOUR, reason="discarded"))
    assert (shown.status, shown.reason) == (Status.DEAD, "discarded")
    assert "at 2026-11-24 11:00:02 UTC" in shown.explanation


def test_a_throttled_lane_delays_its_events() -> None:
    """Until the window of the 429 ends; a later due time stays."""
    shown = history(destination=replace(DESTINATION, throttled_until=AT + 2 * HOUR))
    assert (shown.reason, shown.next_attempt_at) == ("throttled", AT + 2 * HOUR)
    assert "after 2026-11-24 12:00:02 UTC" in shown.explanation
    early = replace(DESTINATION, throttled_until=AT)
    assert history(destination=early).next_attempt_at == AT + HOUR


def test_damaged_metadata_is_named_and_hides_nothing_else() -> None:
    """The deadline then counts from its own row, or else from the first event of its batch."""
    shown = history(shape=None)
    assert (shown.event_id, shown.match_keys, shown.dropped_match_keys, shown.warnings) == (None, [], [], [])
    assert shown.expires_at == AT - 2 * HOUR + AGE
    assert shown.explanation.endswith("event time, type, match keys and warnings cannot be read.")
    assert history(shape=None, batch=SENT, exception=FAILED).expires_at == AT - 3 * HOUR + AGE
    assert "damaged" not in history().explanation

"""The status, attempts and explanation of one event, from its rows."""

import json
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.domain.destination import State
from app.domain.outcomes.event_history import (
    AttemptRecord,
    EventState,
    ItemOutcome,
    carrying_attempts,
    explain,
    explain_duplicate,
    item_outcomes,
)
from app.domain.outcomes.reasons import REASONS, JourneyCode
from app.domain.outcomes.status import FINAL, WAITING, CountTotals, Status, status_of, tally
from app.settings import ROOT
from tests.tables import cases

AT = datetime(2026, 11, 24, 10, 0, 2, tzinfo=UTC)
HOUR, AGE = timedelta(hours=1), timedelta(days=21)


@pytest.mark.parametrize(
    ("disposition", "tries", "exception", "state", "status"),
    [
        (None, 0, None, State.ACTIVE, Status.QUEUED),
        (None, 1, None, State.ACTIVE, Status.RETRYING),
        (None, 0, "retrying", State.ACTIVE, Status.RETRYING),
        ("sent", 0, "retrying", State.ACTIVE, Status.RETRYING),
        ("sent", 0, "dead", State.PAUSED, Status.DEAD),
        (None, 1, "erased", State.ACTIVE, Status.ERASED),
        ("sent", 2, None, State.PAUSED, Status.DELIVERED),
        ("expired", 2, None, State.ACTIVE, Status.EXPIRED),
        ("discarded", 2, None, State.ACTIVE, Status.DEAD),
        (None, 1, None, State.PAUSED, Status.HELD),
        (None, 0, None, State.NEEDS_RECONNECT, Status.PARKED),
        (None, 1, None, State.DRAFT, Status.PARKED),
        (None, 0, None, State.ARCHIVED, Status.QUEUED),
    ],
)
def test_a_status_follows_from_three_rows(
    disposition: str | None, tries: int, exception: str | None, state: State, status: Status
) -> None:
    """The batch's row, the exception row and the destination's state."""
    assert status_of(disposition=disposition, tries=tries, exception=exception, state=state) is status


@pytest.mark.parametrize(
    ("state", "waiting"),
    [
        (State.ACTIVE, {"queued": 2, "retrying": 3}),
        (State.PAUSED, {"held": 5}),
        (State.DRAFT, {"parked": 5}),
    ],
)
def test_counts_add_up(state: State, waiting: dict[str, int]) -> None:
    """Duplicates and rejections are counted apart."""
    tallied = tally(CountTotals(20, 7, 8, retrying=3, delivered=4, dead=5, expired=1, erased=5), state)
    counts = asdict(tallied)
    assert tallied.waiting == 5
    zeros = dict.fromkeys(("queued", "retrying", "held", "parked"), 0)
    final = {"delivered": 4, "dead": 5, "expired": 1, "erased": 5}
    assert counts == {"accepted": 20, "duplicates": 7, "rejected": 8, **zeros, **final, **waiting}
    assert sum(counts[status] for status in Status) == 20
    assert set(asdict(tally(CountTotals(), state)).values()) == {0}
    assert {status.value for status in FINAL} == set(final)
    assert {status.value for status in WAITING} == set(zeros)


def attempt(
    number: int, started: datetime, *, outcome: str = "answered", retry: bool = False
) -> AttemptRecord:
    return AttemptRecord(number, started, started, outcome, 207, None, None, 5, 1, retry)


ATTEMPTS = [
    attempt(1, AT),
    attempt(2, AT + HOUR),
    attempt(3, AT + 2 * HOUR),
    attempt(4, AT + 99 * HOUR, retry=True),
]
LIFE = EventState(Status.RETRYING, 1, None, AT, None, None, None, AGE)


@cases(
    ("life", "carried"),
    {
        "waiting": (LIFE, [1, 2, 3, 4]),
        "not after its delivery": (replace(LIFE, delivered_at=AT + HOUR), [1, 2, 4]),
        "not after its erasure": (replace(LIFE, status=Status.ERASED, erased_at=AT + HOUR), [1, 2, 4]),
        "erased later": (replace(LIFE, status=Status.DELIVERED, erased_at=AT), [1, 2, 3, 4]),
        "not after its age limit": (replace(LIFE, max_age=HOUR), [1, 2, 4]),
        "the first of two ends": (
            replace(LIFE, status=Status.ERASED, delivered_at=AT, erased_at=AT + HOUR),
            [1, 4],
        ),
    },
)
def test_the_attempts_that_carried_an_event(life: EventState, carried: list[int]) -> None:
    """A retry of single events always carried it."""
    assert [each.id for each in carrying_attempts(life, ATTEMPTS)] == carried


def test_what_amazon_answered_for_an_event() -> None:
    """An acceptance is not stored: it belongs to the last answered attempt of a delivered event."""
    stored = [json.dumps({"attempt": 2, "outcome": "amazon_item_failed", "code": "X", "message": "y"})]
    failed = ItemOutcome("amazon_item_failed", "X", "y")
    accepted = ItemOutcome("accepted", None, None)
    lost = attempt(9, AT, outcome="lost")
    assert item_outcomes(stored, [*ATTEMPTS, lost], is_delivered=True) == {2: failed, 4: accepted}
    assert item_outcomes(stored, ATTEMPTS, is_delivered=False) == {2: failed}
    assert item_outcomes(stored, ATTEMPTS[:2], is_delivered=True) == {2: failed}
    assert item_outcomes([], [lost], is_delivered=True) == {}


def state_of(status: Status, reason: str | None = None, **more: object) -> EventState:
    facts = EventState(status, 1, reason, AT, AT + HOUR, AT, None, AGE)
    return replace(facts, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (state_of(Status.QUEUED), "is in the queue and is sent automatically"),
        (state_of(Status.QUEUED, "throttled"), "sent automatically after 2026-11-24 11:00:02 UTC"),
        (state_of(Status.QUEUED, "throttled", due_at=None), "is in the queue"),
        (state_of(Status.RETRYING), "1 failed attempt. "),
        (state_of(Status.RETRYING, tries=2), "2 failed attempts. "),
        (state_of(Status.HELD), "paused. The event is on hold until it is resumed. It expires at 2026-12-15"),
        (state_of(Status.PARKED), "revoked or has expired"),
        (state_of(Status.PARKED, "endpoint_not_found"), "One request is sent every 5 minutes"),
        (state_of(Status.DELIVERED), "Amazon accepted it at 2026-11-24 10:00:02 UTC. No action needed."),
        (state_of(Status.DELIVERED, finished_at=None), "Amazon accepted it. No action needed."),
        (
            state_of(Status.DELIVERED, erased_at=AT + HOUR),
            "erased from this service on request at 2026-11-24 11:00:02 UTC.",
        ),
        (state_of(Status.DEAD, "amazon_refused"), "Failed permanently at 2026-11-24 10:00:02 UTC."),
        (
            state_of(Status.DEAD, "amazon_refused", dismissed_at=AT),
            "Dismissed at 2026-11-24 10:00:02 UTC. No action needed.",
        ),
        (state_of(Status.DEAD, "gave_up", amazon_message="missing_index"), "did not mention this event."),
        (state_of(Status.EXPIRED), "age limit of 21 days"),
        (state_of(Status.ERASED, erased_at=AT), "erased on request at 2026-11-24 10:00:02 UTC."),
    ],
)
def test_a_status_is_explained(state: EventState, words: str) -> None:
    """What happened, since when, and what to do."""
    assert words in explain(state)


def test_a_message_is_quoted_only_where_there_is_one() -> None:
    assert "message" not in explain(state_of(Status.DEAD, "a reason without a row"))


@pytest.mark.parametrize(
    ("event_id", "is_here", "words"),
    [
        ("ord-1", True, "by event ord-1, and"),
        (None, True, "by an event, and"),
        ("ord-1", False, "by event ord-1 of another destination of this advertiser, and"),
    ],
)
def test_a_duplicate_names_the_event_that_was_first(event_id: str | None, is_here: bool, words: str) -> None:
    explanation = explain_duplicate(event_id, AT, "It waits.", is_here=is_here)
    assert words in explanation
    assert explanation.startswith("Answered as a duplicate at 2026-11-24 10:00:02 UTC:")
    assert explanation.endswith("It waits.")


def test_counts_that_damaged_rows_made_wrong_are_not_negative() -> None:
    """Rows of another destination were delivered or retried for this one."""
    counts = asdict(tally(CountTotals(accepted=3, delivered=5, retrying=-2), State.ACTIVE))
    assert min(counts.values()) == 0
    assert (counts["queued"], counts["retrying"], counts["delivered"]) == (0, 0, 5)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("sign_in_revoked", "revoked or has expired"),
        ("sign_in_unauthorized", "even with a new token (401)"),
        ("sign_in_forbidden", "no permission for this advertiser (403)"),
        ("sign_in_disconnected", "was disconnected"),
    ],
)
def test_a_parked_event_explains_the_state_of_the_sign_in(reason: str, words: str) -> None:
    """And names the time at which the event expires."""
    explanation = explain(state_of(Status.PARKED, reason))
    assert words in explanation
    assert "reconnect" in explanation.lower()
    assert explanation.endswith("The event waits. It expires at 2026-12-15 10:00:02 UTC.")


def test_an_event_on_hold_of_a_suspended_organisation_names_the_organisation() -> None:
    """Resuming the destination would not help."""
    held = state_of(Status.HELD)
    assert "destination is paused" in explain(held)
    explanation = explain(replace(held, is_organisation_suspended=True))
    assert explanation.startswith("The organisation is suspended. The event is on hold until ")
    assert "paused" not in explanation
    assert explanation.endswith("It expires at 2026-12-15 10:00:02 UTC.")


@pytest.mark.parametrize("reason", [None, *REASONS])
def test_a_retried_event_says_once_that_the_retry_is_automatic(reason: str | None) -> None:
    """Whether its reason's remedy says so or not."""
    assert explain(state_of(Status.RETRYING, reason)).count("automatically") == 1


@pytest.mark.parametrize("message", ["Not valid", "Not valid.", "Not valid.."])
def test_amazons_message_ends_with_one_full_stop(message: str) -> None:
    """Whatever punctuation Amazon sent."""
    explanation = explain(state_of(Status.DEAD, "amazon_refused", amazon_message=message))
    assert "Amazon's message: Not valid. " in explanation


def test_every_code_is_one_of_the_journeys_nine() -> None:
    """The canvas knows no tenth, and the page lists them all."""
    page = Path(ROOT, "docs", "reasons.md").read_text()
    assert len(JourneyCode) == 9
    assert re.findall(r"^\| `([A-Z_]+)`", page, re.MULTILINE) == [*JourneyCode]
    assert {row.code for row in REASONS.values()} <= set(JourneyCode)

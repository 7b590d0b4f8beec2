"""Why an event is where it is: the vocabulary of failures, and the explanation of a status."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.console.mappings.view import WARNING_SENTENCES
from app.domain.outcomes.event_history import EventState, explain
from app.domain.outcomes.reasons import REASONS, WARNINGS, JourneyCode
from app.domain.outcomes.status import Status

AT = datetime(2026, 11, 24, 10, 0, 2, tzinfo=UTC)


def state_of(
    status: Status, reason: str | None = None, *, message: str | None = None, tries: int = 1
) -> EventState:
    return EventState(status, tries, reason, AT, None, AT, message, timedelta(days=21))


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
    explanation = explain(state_of(Status.DEAD, "amazon_refused", message=message))
    assert "Amazon's message: Not valid. " in explanation


# One table, and a page that says the same.
PAGE = (Path(__file__).parents[2] / "docs" / "reasons.md").read_text()


def test_the_page_has_no_other_words() -> None:
    """What is gone from the table is gone from the page."""
    rows = [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted([*JourneyCode, *REASONS, *WARNINGS, *WARNING_SENTENCES])


def test_every_code_is_one_of_the_journeys_nine() -> None:
    """The canvas knows no tenth."""
    assert len(JourneyCode) == 9
    assert {row.code for row in REASONS.values()} <= set(JourneyCode)

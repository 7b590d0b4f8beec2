"""The one sentence on where an event stands: what happened, and what to do, each said once."""

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.outcomes.explain import EventState, explain
from app.domain.outcomes.reasons import REASONS
from app.domain.outcomes.status import Status

AT = datetime(2026, 11, 24, 10, 0, 2, tzinfo=UTC)


def standing(
    status: Status, reason: str | None = None, *, said: str | None = None, tries: int = 1
) -> EventState:
    return EventState(status, tries, reason, AT, None, AT, said, timedelta(days=21))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("sign_in_revoked", "revoked, or has expired"),
        ("sign_in_unauthorized", "even with a fresh token (401)"),
        ("sign_in_forbidden", "may not send for this advertiser (403)"),
        ("sign_in_disconnected", "disconnected here"),
    ],
)
def test_a_parked_event_tells_what_became_of_the_sign_in(reason: str, words: str) -> None:
    """And until when somebody may mend it."""
    told = explain(standing(Status.PARKED, reason))
    assert words in told
    assert "reconnected" in told
    assert told.endswith("Unless that happens before 2026-12-15 10:00:02 UTC it expires.")


@pytest.mark.parametrize("reason", [None, *REASONS])
def test_a_retried_event_says_once_that_it_is_tried_again(reason: str | None) -> None:
    """Whether its reason's remedy says so or not."""
    assert explain(standing(Status.RETRYING, reason)).count(" again by itself") <= 1
    assert " again" in explain(standing(Status.RETRYING, reason))


@pytest.mark.parametrize("said", ["Not valid", "Not valid.", "Not valid.."])
def test_amazons_words_end_with_one_full_stop(said: str) -> None:
    """However they came."""
    assert "Amazon said: Not valid. " in explain(standing(Status.DEAD, "amazon_refused", said=said))

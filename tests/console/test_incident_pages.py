"""The pages of incidents: what an incident says, its timeline and chart, and acknowledging several."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.admin import Scope
from app.console.incidents import RemedyButton, last_answer, present, timeline
from app.domain.incidents.kinds import Kind, Severity
from app.domain.incidents.machine import Incident, IncidentState
from app.domain.notifications import SentMessages
from app.store.destinations.figures import RequestRow
from app.store.incidents import StoredIncident
from tests.console.test_confirmations import INCIDENT, Case

OPENED = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EDITOR = {Scope.DESTINATIONS_WRITE}
FAILING = Incident(
    kind=Kind.FAILING,
    summary="Requests fail.",
    destination="dst_1",
    severity=Severity.CRITICAL,
    state=IncidentState.OPEN,
    opened_at=OPENED,
    last_seen_at=OPENED,
)


def stored(incident: Incident) -> StoredIncident:
    return StoredIncident("inc_1", 1, "default", incident, "Acme", None, None, None)


def test_the_timeline_has_messages_and_changes_in_their_order() -> None:
    """Two channels, one of which got no message that it resolved."""
    ended = replace(
        FAILING,
        state=IncidentState.RESOLVED,
        acknowledged_at=OPENED + 2 * MINUTE,
        resolved_at=OPENED + 9 * MINUTE,
    )
    messages = {
        "ops": SentMessages(OPENED + MINUTE, OPENED + 10 * MINUTE),
        "mail": SentMessages(OPENED + 3 * MINUTE),
    }
    assert [sentence for _, sentence in timeline(stored(ended), messages, "Ada")] == [
        "Opened: critical.",
        "Message to ops: opened.",
        "Acknowledged by Ada.",
        "Message to mail: opened.",
        "Resolved.",
        "Message to ops: resolved.",
    ]


def test_the_last_answer_is_that_of_a_failed_request() -> None:
    """A success after it says nothing about the cause, nor does a failure at another time."""
    failed = RequestRow(OPENED, "server_error", 503, "Service Unavailable", 5, 20)
    passed = RequestRow(OPENED + MINUTE, "answered", 207, None, 5, 20)
    silent = RequestRow(OPENED, "timed_out", None, None, 5, None)
    assert last_answer([passed, failed], FAILING) == (OPENED, "HTTP 503: Service Unavailable")
    assert last_answer([silent], FAILING) == (OPENED, "timed out")
    assert last_answer([passed], FAILING) is None
    assert last_answer([failed], replace(FAILING, opened_at=OPENED + 16 * MINUTE)) is None
    assert last_answer([failed], replace(FAILING, resolved_at=OPENED - MINUTE)) is None


def test_the_duration_ends_with_the_incident() -> None:
    """An open incident lasts until now. Its events and its repair have links."""
    now = OPENED + 125 * MINUTE
    shown = present(stored(FAILING), now, EDITOR)
    assert shown.duration == "2 h 5 min"
    assert shown.events_link == "/console/destinations/dst_1/events?status=retrying"
    ended = replace(FAILING, state=IncidentState.RESOLVED, resolved_at=OPENED + 9 * MINUTE)
    assert present(stored(ended), now, EDITOR).duration == "9 min"
    button = present(stored(replace(FAILING, kind=Kind.SIGN_IN_LOST)), now, EDITOR).button
    assert button == RemedyButton("Reconnect", "/console/destinations/dst_1/connect", is_post=True)


async def test_incidents_are_acknowledged_together(case: Case) -> None:
    """From the list, which has the destination, the affected events and the duration.

    The button is there as long as an incident can be chosen.
    """
    page = await case.get("/console/incidents")
    for column in ("Destination", "Affected", "Duration"):
        assert f">{column}</th>" in page
    assert f'name="incident" value="{INCIDENT}"' in page
    assert "Acknowledge chosen" in page
    nothing = await case.post("/console/incidents/acknowledge")
    assert nothing.status_code == 422
    assert "Choose at least one incident." in nothing.text
    assert "<h1>Check your input</h1>" in nothing.text
    answer = await case.post("/console/incidents/acknowledge", incident=INCIDENT)
    assert answer.status_code == 303
    page = await case.get("/console/incidents")
    assert f'name="incident" value="{INCIDENT}"' not in page
    assert "Acknowledge chosen" not in page
    page = await case.get(f"/console/incidents/{INCIDENT}")
    assert "Acknowledged by the bootstrap key." in page
    assert 'id="timeline"' in page


async def test_a_mute_that_is_over_is_not_ended_again(case: Case) -> None:
    """The page called the incident muted until then, and offered to end a mute that there was not."""
    page = f"/console/incidents/{INCIDENT}"
    assert "End the mute" not in await case.get(page)
    await case.post(page + "/mute", hours="1")
    muted = await case.get(page)
    assert "Muted until" in muted
    assert "End the mute" in muted
    await case.world.sql("UPDATE incidents SET muted_until = now() - interval '1 minute'")
    over = await case.get(page)
    assert "Muted until" not in over
    assert "End the mute" not in over


@pytest.mark.parametrize(
    ("note", "sentence"),
    [
        ("n" * 1001, "A note has at most 1,000 characters."),
        ("ada@example.com", "Other people see this note."),
    ],
    ids=["too long", "personal"],
)
async def test_a_refused_note_stays_in_its_form(case: Case, note: str, sentence: str) -> None:
    """It was lost on a page without a form."""
    page = f"/console/incidents/{INCIDENT}"
    answer = await case.post(page + "/acknowledge", note=note)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert f'name="note" type="text" value="{note}"' in answer.text
    assert f'data-address="{page}"' in answer.text
    assert "Acknowledged by" not in await case.get(page)

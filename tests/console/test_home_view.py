"""The operations home as its presenters print it: conditions, incidents with their buttons, rows, pages."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.admin import Scope
from app.console import home, incidents, wording
from app.console.incidents import IncidentDetails, RemedyButton, remedy_button
from app.console.time_range import RangeName, time_range
from app.domain.ids import AdvertiserId, DestinationId, DestinationNumber
from app.domain.incidents.health import Condition
from app.domain.incidents.kinds import KINDS, Kind, Severity
from app.domain.incidents.machine import Incident, IncidentState
from app.store.destinations.health import ListedDestination
from app.store.destinations.outcome_history import RETENTION, OutcomeBucket
from app.store.incidents import StoredIncident

NOW = datetime(2026, 11, 24, 16, 7, 31, tzinfo=UTC)
PAGE = "/console/destinations/dst_1"
EDITOR = {Scope.DESTINATIONS_WRITE}


def incident(kind: Kind, *, reason: str | None = None, affected: int = 0) -> Incident:
    of_service = KINDS[kind].of_service
    return Incident(
        kind=kind,
        destination=None if of_service else "dst_1",
        severity=KINDS[kind].severity,
        state=IncidentState.OPEN,
        opened_at=NOW,
        last_seen_at=NOW,
        summary="Summary.",
        affected_events=affected,
        reason=reason,
    )


def present(found: Incident, *, holds: bool = True) -> IncidentDetails:
    stored = StoredIncident("inc_1", 1, "default", found, "Acme", None, None, None)
    return incidents.present(stored, NOW, EDITOR, holds=holds)


@pytest.mark.parametrize(
    ("kind", "reason", "button"),
    [
        (Kind.SIGN_IN_LOST, "revoked", RemedyButton("Reconnect", f"{PAGE}/connect", is_post=True)),
        (Kind.AMAZON_FORBIDDEN, "forbidden", RemedyButton("Reconnect", f"{PAGE}/connect", is_post=True)),
        # An unknown account is not connected again.
        (
            Kind.AMAZON_FORBIDDEN,
            "endpoint_not_found",
            RemedyButton("Check region and ID", f"{PAGE}/settings"),
        ),
        (Kind.FAILING, None, RemedyButton("Open destination", PAGE)),
        (Kind.THROTTLED, None, RemedyButton("View requests", f"{PAGE}/requests?failed=true")),
        (Kind.BACKLOG, "paused", RemedyButton("Resume", f"{PAGE}/resume", is_post=True)),
        (Kind.BACKLOG, None, RemedyButton("Raise limit", f"{PAGE}/settings")),
        (Kind.DEAD_LETTERS, None, RemedyButton("View errors", f"{PAGE}/errors")),
        (Kind.REJECTIONS, None, RemedyButton("View rejections", f"{PAGE}/rejections?range=1h")),
        (Kind.SCHEMA_DRIFT, None, RemedyButton("Open mappings", f"{PAGE}/mappings")),
        (Kind.VALUE_SUSPECT, None, RemedyButton("Open mappings", f"{PAGE}/mappings")),
        (Kind.VOLUME_DROP, None, RemedyButton("Open destination", PAGE)),
        (Kind.DATABASE_SLOW, None, RemedyButton("Check database", "/console/system")),
        (Kind.NO_WORKER, None, RemedyButton("Check workers", "/console/system")),
        (Kind.NO_WORKER, "operator", None),
    ],
)
def test_each_incident_has_one_button(kind: Kind, reason: str | None, button: RemedyButton | None) -> None:
    """The one that removes the cause; what lets events go depends on why they wait."""
    assert remedy_button(incident(kind, reason=reason), EDITOR) == button


@pytest.mark.parametrize("kind", sorted(Kind))
def test_the_page_has_no_button_without_permission(kind: Kind) -> None:
    """A viewer gets links to pages that a viewer may open."""
    for reason in (None, "paused", "revoked"):
        button = remedy_button(incident(kind, reason=reason), ())
        assert button is not None
        assert not button.is_post
        assert "/replay" not in button.address


def test_an_incident_says_what_since_when_and_how_many() -> None:
    found = present(incident(Kind.DEAD_LETTERS, affected=1), holds=False)
    assert (found.title, found.duration) == ("Events failed permanently", "0 s")
    assert found.note.startswith("Recovering")
    assert (found.remedy, found.button) == ("", None), "nothing is left to do"
    unknown = present(incident(Kind.AMAZON_FORBIDDEN, reason="endpoint_not_found"))
    assert unknown.remedy.startswith("Check the region and the advertiser ID")


def test_the_strip_counts_destinations_and_lists_them() -> None:
    """Three figures always; the others where there is one. A second click takes the filter back."""
    counts = {**dict.fromkeys(Condition, 0), Condition.NEEDS_ATTENTION: 1, Condition.HEALTHY: 4_200}
    items = home.strip({**counts, Condition.DELETED: 3}, {"range": "7d"}, Condition.NEEDS_ATTENTION)
    assert [(item.count, item.label) for item in items] == [
        (1, "needs attention"), (0, "recovering"), (4_200, "healthy"),
    ]  # fmt: skip
    assert [item.href for item in items] == [
        "/console?range=7d",
        "/console?range=7d&health=recovering",
        "/console?range=7d&health=healthy",
    ]


DESTINATION = ListedDestination(
    number=DestinationNumber(1), id=DestinationId("dst_1"), name="Acme", advertiser_id=AdvertiserId("580"),
    region="NA", state="active", suspended=False, sign_in_reason=None, condition=Condition.HEALTHY,
    severity=None, open_incidents=0, oldest_waiting_seconds=None,
)  # fmt: skip


def test_a_row_sums_the_range_and_draws_it() -> None:
    """Failures are drawn on a scale of their own; a bucket before the range counts nowhere."""
    chosen = time_range(RangeName.DAY, NOW)
    bucket = OutcomeBucket(DESTINATION.number, chosen.since, delivered=1_000, dead=1, expired=2, rejected=4)
    later = replace(bucket, at=chosen.bucket_starts()[-1], dead=0, expired=0, rejected=0)
    (row,) = home.destination_rows([DESTINATION], {DESTINATION.number: [bucket, later]}, chosen)
    assert (row.delivered, row.failed, row.rejected) == (2_000, 3, 4)
    assert row.delivered_line != row.failed_line
    (quiet,) = home.destination_rows([DESTINATION], {}, chosen)
    assert (quiet.delivered, quiet.failed, quiet.rejected) == (0, 0, 0)


@pytest.mark.parametrize(
    ("outcome", "status", "cause"),
    [
        (None, None, ""),
        ("answered", 207, ""),
        ("under_way", None, "Amazon has not answered the newest request yet."),
        ("throttled", 429, "Amazon is rate-limiting requests (HTTP 429)."),
        ("broken", 503, "Amazon returns server errors. Latest status: 503."),
        ("broken", 207, "Amazon returns unreadable responses."),
        ("lost", None, "Requests to Amazon time out or lose their connection."),
    ],
)
def test_a_stalled_row_says_why(outcome: str | None, status: int | None, cause: str) -> None:
    """With the sentence of the destination's diagnosis, before an incident opens."""
    stalled = replace(DESTINATION, condition=Condition.STALLED, outcome=outcome, http_status=status)
    assert home.stall_cause(stalled) == cause


def test_failed_events_are_replayed_from_the_home_page() -> None:
    """By a person who may; others read the errors."""
    button = remedy_button(incident(Kind.DEAD_LETTERS, affected=4), {Scope.REPLAY})
    assert button == RemedyButton("Replay or dismiss…", f"{PAGE}/replay?status=dead&dismissed=false")


@pytest.mark.parametrize(
    ("change", "label", "tone"),
    [
        ({}, "Healthy", "good"),
        ({"condition": Condition.IDLE}, "Idle", "quiet"),
        ({"condition": Condition.NEEDS_ATTENTION, "severity": Severity.CRITICAL}, "Failing", "bad"),
        ({"condition": Condition.NEEDS_ATTENTION, "severity": Severity.WARNING}, "Degraded", "warn"),
        ({"condition": Condition.NEEDS_ATTENTION, "state": "needs_reconnect"}, "Reconnect", "bad"),
        (
            {
                "condition": Condition.NEEDS_ATTENTION,
                "state": "needs_reconnect",
                "sign_in_reason": "endpoint_not_found",
            },
            "Unknown account",
            "bad",
        ),
        ({"condition": Condition.RECOVERING}, "Recovering", "warn"),
        ({"condition": Condition.PAUSED, "state": "paused"}, "Paused", "warn"),
        ({"condition": Condition.PAUSED, "state": "paused", "suspended": True}, "Suspended", "warn"),
        ({"condition": Condition.SETUP, "state": "draft"}, "Draft", "quiet"),
        ({"condition": Condition.DELETED, "state": "archived"}, "Deleted", "quiet"),
    ],
)
def test_the_health_of_a_row(change: dict[str, object], label: str, tone: str) -> None:
    found = wording.health_label(replace(DESTINATION, **change))  # type: ignore[arg-type]
    assert (found.label, found.tone) == (label, tone)


def test_no_incident_offers_to_resume_a_suspended_organisation() -> None:
    """Resuming the destination would change nothing."""
    button = remedy_button(incident(Kind.BACKLOG, reason="paused"), EDITOR, suspended=True)
    assert button == RemedyButton("Open destination", PAGE)


def test_pages_lead_to_their_neighbours() -> None:
    """And say where one is; one page needs none."""
    assert home.page_links(1, 50, 50, {}) is None
    first = home.page_links(1, 50, 5_000, {"sort": "name"})
    assert first is not None
    assert (first.text, first.previous) == ("1 to 50 of 5,000", None)
    assert first.next == "/console?sort=name&page=2"
    beyond = home.page_links(900, 50, 120, {})
    assert beyond is not None
    assert (beyond.previous, beyond.next) == ("/console?page=3", None)


def test_every_range_reads_buckets_that_are_stored_long_enough() -> None:
    for name in RangeName:
        chosen = time_range(name, NOW)
        assert RETENTION[chosen.name.bucket] >= chosen.until - chosen.since + timedelta(minutes=1)

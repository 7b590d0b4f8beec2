"""The operations home as its presenter prints it: conditions, incidents with their buttons, rows, pages."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.console import home_view
from app.console.home_view import RemedyButton
from app.console.time_range import RangeName, time_range
from app.domain.ids import AdvertiserId, DestinationId, DestinationNumber
from app.domain.incidents.destination_condition import Condition
from app.domain.incidents.kinds import KINDS, Kind, Severity
from app.domain.incidents.machine import Incident, IncidentState
from app.store.destinations.health import ListedDestination
from app.store.destinations.outcome_history import RETENTION, OutcomeBucket
from app.store.incidents import OpenIncident, StoredIncident

NOW = datetime(2026, 11, 24, 16, 7, 31, tzinfo=UTC)
PAGE = "/console/destinations/dst_1"


def incident(
    kind: Kind, *, state: str = "active", suspended: bool = False, affected: int = 0, holds: bool = True
) -> OpenIncident:
    of_service = KINDS[kind].of_service
    found = Incident(
        kind=kind,
        destination=None if of_service else "dst_1",
        severity=KINDS[kind].severity,
        state=IncidentState.OPEN,
        opened_at=NOW,
        last_seen_at=NOW,
        summary="Summary.",
        affected_events=affected,
    )
    stored = StoredIncident("inc_1", 1, "default", found, None if of_service else "Acme", None, None, None)
    return OpenIncident(stored, state, suspended, None, "580", holds)


@pytest.mark.parametrize(
    ("kind", "state", "button"),
    [
        (Kind.SIGN_IN_LOST, "needs_reconnect", RemedyButton("Reconnect", f"{PAGE}/connect", is_post=True)),
        (
            Kind.AMAZON_FORBIDDEN,
            "needs_reconnect",
            RemedyButton("Reconnect", f"{PAGE}/connect", is_post=True),
        ),
        (Kind.FAILING, "active", RemedyButton("Open destination", PAGE)),
        (Kind.THROTTLED, "active", RemedyButton("Raise limit", f"{PAGE}/settings")),
        (Kind.BACKLOG, "paused", RemedyButton("Resume", f"{PAGE}/resume", is_post=True)),
        (Kind.BACKLOG, "active", RemedyButton("Raise limit", f"{PAGE}/settings")),
        (Kind.EXPIRING, "needs_reconnect", RemedyButton("Reconnect", f"{PAGE}/connect", is_post=True)),
        (Kind.DEAD_LETTERS, "active", RemedyButton("View errors", f"{PAGE}/errors")),
        (Kind.REJECTIONS, "active", RemedyButton("View rejections", f"{PAGE}/rejections?range=1h")),
        (Kind.VOLUME_DROP, "active", RemedyButton("Open destination", PAGE)),
        (Kind.DATABASE_SLOW, "active", RemedyButton("Check database", "/console/system")),
        (Kind.NO_WORKER, "active", RemedyButton("Check workers", "/console/system")),
    ],
)
def test_each_incident_has_one_button(kind: Kind, state: str, button: RemedyButton) -> None:
    """The one that removes the cause; what lets events go depends on why they wait."""
    found = incident(kind, state=state, affected=1_200)
    assert home_view.remedy_button(found, may_write=True) == button


@pytest.mark.parametrize("kind", sorted(Kind))
def test_the_page_has_no_button_without_permission(kind: Kind) -> None:
    """A viewer gets links to pages that a viewer may open."""
    for state in ("active", "paused", "needs_reconnect"):
        button = home_view.remedy_button(incident(kind, state=state), may_write=False)
        assert button is not None
        assert not button.is_post
        assert "/replay" not in button.address


def test_an_unknown_account_is_not_connected_again() -> None:
    """It has the remedy of its reason, and no other."""
    found = incident(Kind.AMAZON_FORBIDDEN, state="needs_reconnect")
    stored = replace(found.stored, incident=replace(found.stored.incident, reason="endpoint_not_found"))
    (row,) = home_view.incident_rows([replace(found, stored=stored)], may_write=True)
    assert row.button == RemedyButton("Check region and ID", f"{PAGE}/settings")
    assert row.remedy.startswith("Check the region and the advertiser ID")


def test_an_incident_says_what_since_when_and_how_many() -> None:
    (row,) = home_view.incident_rows([incident(Kind.DEAD_LETTERS, affected=1, holds=False)], may_write=True)
    assert (row.title, row.affected, row.since) == ("Events failed permanently", "1 event", NOW)
    assert row.note is not None
    assert row.note.startswith("Recovering")
    assert (row.remedy, row.button) == ("", None), "nothing is left to do"
    assert row.may_acknowledge
    (row,) = home_view.incident_rows([incident(Kind.DEAD_LETTERS)], may_write=False)
    assert not row.may_acknowledge


def test_the_strip_counts_destinations_and_lists_them() -> None:
    """Three figures always; the others where there is one. A second click takes the filter back."""
    counts = {**dict.fromkeys(Condition, 0), Condition.NEEDS_ATTENTION: 1, Condition.HEALTHY: 4_200}
    items = home_view.strip({**counts, Condition.DELETED: 3}, {"range": "7d"}, Condition.NEEDS_ATTENTION)
    assert [(item.count, item.label) for item in items] == [
        ("1", "needs attention"), ("0", "recovering"), ("4,200", "healthy"),
    ]  # fmt: skip
    assert [item.href for item in items] == [
        "/console?range=7d",
        "/console?range=7d&health=recovering",
        "/console?range=7d&health=healthy",
    ]


DESTINATION = ListedDestination(
    number=DestinationNumber(1),
    id=DestinationId("dst_1"),
    name="Acme",
    advertiser_id=AdvertiserId("580"),
    region="NA",
    state="active",
    suspended=False,
    sign_in_reason=None,
    condition=Condition.HEALTHY,
    severity=None,
    open_incidents=0,
    oldest_waiting_seconds=None,
)


def test_a_row_sums_the_range_and_draws_it() -> None:
    """Failures are drawn only where there are some, on a scale of their own."""
    chosen = time_range(RangeName.DAY, NOW)
    bucket = OutcomeBucket(DESTINATION.number, chosen.since, delivered=1_000, dead=1, expired=2, rejected=4)
    later = replace(bucket, at=chosen.bucket_starts()[-1], dead=0, expired=0, rejected=0)
    (row,) = home_view.destination_rows([DESTINATION], {DESTINATION.number: [bucket, later]}, chosen)
    assert (row.delivered, row.failed, row.failed_tone, row.rejected) == ("2,000", "3", "bad", "4")
    assert row.line_label == "Last 24 hours: 2,000 delivered, 3 failed"
    assert row.failed_line is not None
    (quiet,) = home_view.destination_rows([DESTINATION], {}, chosen)
    assert (quiet.failed_line, quiet.failed_tone, quiet.waiting) == (None, "quiet", "–")


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
    found = home_view.health_label(replace(DESTINATION, **change))  # type: ignore[arg-type]
    assert (found.label, found.tone) == (label, tone)


def test_no_incident_offers_to_resume_a_suspended_organisation() -> None:
    """Resuming the destination would change nothing."""
    backlog = incident(Kind.BACKLOG, state="paused", suspended=True)
    assert home_view.remedy_button(backlog, may_write=True) == RemedyButton("Open destination", PAGE)


def test_pages_lead_to_their_neighbours() -> None:
    """And say where one is; one page needs none."""
    assert home_view.pages(1, 50, 50, {}) is None
    first = home_view.pages(1, 50, 5_000, {"sort": "name"})
    assert first is not None
    assert (first.text, first.previous) == ("1 to 50 of 5,000", None)
    assert first.next == "/console?sort=name&page=2"
    beyond = home_view.pages(900, 50, 120, {})
    assert beyond is not None
    assert (beyond.previous, beyond.next) == ("/console?page=3", None)


def test_every_range_reads_buckets_that_are_stored_long_enough() -> None:
    for name in RangeName:
        chosen = time_range(name, NOW)
        assert RETENTION[chosen.bucket] >= chosen.until - chosen.since + timedelta(minutes=1)

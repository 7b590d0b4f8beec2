"""Incidents, alerting, notification settings, dismissal and replays over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.notifications import read_emails, read_webhooks
from tests.api.world import JSON, ApiWorld

INCIDENT = "inc_0a1b2c3d4e5f6a7b8c9d"
MEMBERS = {
    "id", "destination_id", "destination_name", "kind", "severity", "state", "opened_at", "last_seen_at",
    "resolved_at", "summary", "remedy", "action", "affected_events", "oldest_event_at", "expires_at",
    "consequences", "merged_into", "acknowledged_at", "acknowledged_by", "muted_until", "note",
}  # fmt: skip


@pytest.fixture
def world(world: ApiWorld) -> ApiWorld:
    """A world with two channels."""
    channels = read_webhooks("ops=https://hooks.test/secret") + read_emails("mail=a@example.com")
    world.app.state.context = replace(world.context, channels=channels)
    return world


async def opened(
    world: ApiWorld, destination: str | None, *, kind: str = "backlog", incident: str = INCIDENT
) -> None:
    await world.sql(
        "INSERT INTO incidents "
        "(organisation_id, id, destination, kind, severity, state, opened_at, last_seen_at, summary) "
        "VALUES ('default', :id, :destination, :kind, 'warning', 'open', now(), now(), 's.')",
        id=incident,
        destination=destination,
        kind=kind,
    )


async def test_an_incident_is_listed_read_acknowledged_and_muted(world: ApiWorld, acme_id: str) -> None:
    """Both acts are audited once; a repetition changes nothing."""
    await opened(world, acme_id)
    page = (await world.call("GET", f"/incidents?state=open&destination_id={acme_id}&kind=backlog")).json()
    assert [item["id"] for item in page["items"]] == [INCIDENT]
    assert set(page["items"][0]) == MEMBERS
    for _ in range(2):
        answer = await world.call("POST", f"/incidents/{INCIDENT}/acknowledge", {"note": "on it"})
        assert (answer.status_code, answer.json()["state"]) == (200, "acknowledged")
    muted = (
        await world.call("POST", f"/incidents/{INCIDENT}/mute", {"until": "2099-12-01T00:00:00Z"})
    ).json()
    assert muted["muted_until"] == "2099-12-01T00:00:00Z"
    past = await world.call("POST", f"/incidents/{INCIDENT}/mute", {"until": "2020-01-01T00:00:00Z"})
    assert past.json()["fields"] == [{"field": "until", "problem": "not_in_future"}]
    muted = (await world.call("POST", f"/incidents/{INCIDENT}/mute", {"until": None})).json()
    assert (muted["muted_until"], muted["note"], muted["acknowledged_by"]) == (None, "on it", "bootstrap")
    assert (await world.actions())[1:] == ["incident.acknowledged", "incident.muted", "incident.muted"]
    item = (await world.call("GET", "/destinations")).json()["items"][0]
    assert (item["open_incidents"], item["health"]) == (1, "degraded")


async def test_acknowledging_needs_no_body(world: ApiWorld) -> None:
    """A POST without a body needs no Content-Type."""
    await opened(world, None, kind="no_worker")
    assert (await world.call("POST", f"/incidents/{INCIDENT}/acknowledge")).status_code == 200


async def test_a_limited_key_sees_its_own_incidents_only(world: ApiWorld) -> None:
    """Those of other destinations and of the service do not exist for it."""
    mine, other = [(await world.create_destination(name=name))["id"] for name in ("Mine", "Other")]
    await opened(world, mine)
    await opened(world, other, incident=INCIDENT.replace("0a", "0b"))
    await opened(world, None, kind="no_worker", incident=INCIDENT.replace("0a", "0c"))
    key = await world.key("destinations:read", destination_ids=[mine])
    items = (await world.call("GET", "/incidents", key=key)).json()["items"]
    assert [item["id"] for item in items] == [INCIDENT]
    for id_ in ("0b", "0c"):
        path = f"/incidents/{INCIDENT.replace('0a', id_)}"
        assert (await world.call("GET", path, key=key)).status_code == 404
    assert len((await world.call("GET", "/incidents")).json()["items"]) == 3


async def test_thresholds_are_merged_and_audited(world: ApiWorld, acme: JSON) -> None:
    """A change bumps the ETag; a bad member names the problem."""
    path = f"/destinations/{acme['id']}"
    body = {"alerting": {"failing": {"share": 0.25, "min_requests": 3}, "dead_letters": {"enabled": False}}}
    assert (await world.call("PATCH", path, body, status=200)).json()["version"] > acme["version"]
    answer = await world.call("PATCH", path, {"alerting": {"failing": {"window_seconds": 30}}})
    failing = answer.json()["alerting"]["failing"]
    assert (failing["share"], failing["min_requests"], failing["window_seconds"]) == (0.25, 3, 30)
    assert answer.json()["alerting"]["dead_letters"]["enabled"] is False
    answer = await world.call("PATCH", path, {"alerting": {"muted_until": "2099-12-01T00:00:00Z"}})
    assert answer.json()["alerting"]["muted_until"] == "2099-12-01T00:00:00Z"
    assert (await world.actions())[1:] == ["destination.alerting_changed"] * 3
    assert (await world.call("GET", path)).json()["alerting"] == answer.json()["alerting"]
    reset = await world.call("PATCH", path, {"alerting": None}, status=200)
    assert reset.json()["alerting"] == acme["alerting"]


@pytest.mark.parametrize(
    ("alerting", "field", "problem"),
    [
        ({"unknown": {}}, ".unknown", "unknown_field"),
        ({"no_worker": {"enabled": False}}, ".no_worker", "unknown_field"),
        ({"failing": {"minutes": 1}}, ".failing.minutes", "unknown_field"),
        ({"failing": {"share": 2}}, ".failing.share", "out_of_range"),
        ({"failing": {"share": "0.5"}}, ".failing.share", "not_a_number"),
        ({"failing": {"enabled": 1}}, ".failing.enabled", "not_a_boolean"),
        ({"backlog": {"minutes": 0}}, ".backlog.minutes", "out_of_range"),
        ({"dead_letters": {"min_events": 1.5}}, ".dead_letters.min_events", "not_an_integer"),
        ({"dead_letters": 5}, ".dead_letters", "not_an_object"),
        ({"muted_until": "tomorrow"}, ".muted_until", "not_a_time"),
        ({"muted_until": "2020-01-01T00:00:00Z"}, ".muted_until", "not_in_future"),
        ([], "", "not_an_object"),
    ],
)
async def test_a_bad_threshold_is_refused(world: ApiWorld, alerting: Any, field: str, problem: str) -> None:
    """With its path and the problem. Nothing is stored."""
    made = await world.create_destination()
    answer = await world.call("PATCH", f"/destinations/{made['id']}", {"alerting": alerting}, status=422)
    assert answer.json()["fields"] == [{"field": "alerting" + field, "problem": problem}]


async def test_channels_are_listed_without_addresses(world: ApiWorld) -> None:
    """Their state is that of the last delivery."""
    await world.sql(
        "INSERT INTO notification_channels (organisation_id, name, failing_since, last_error) "
        "VALUES ('default', 'ops', now(), 'timeout')"
    )
    answer = await world.call("GET", "/notification-channels")
    assert [(item["name"], item["type"], item["state"]) for item in answer.json()["items"]] == [
        ("mail", "email", "ok"),
        ("ops", "webhook", "failing"),
    ]
    assert "secret" not in answer.text
    assert "example.com" not in answer.text


async def test_the_notifications_of_a_destination_are_set(world: ApiWorld) -> None:
    """A channel that does not exist is refused."""
    path = f"/destinations/{(await world.create_destination())['id']}/notifications"
    assert (await world.call("GET", path)).json() == {
        "channels": None, "kinds": "all", "min_severity": "warning",
    }  # fmt: skip
    body = {"channels": ["ops"], "kinds": ["failing", "backlog"], "min_severity": "critical"}
    answer = await world.call("PUT", path, body, status=200)
    assert answer.json() == {**body, "kinds": ["backlog", "failing"]}
    assert (await world.call("GET", path)).json() == answer.json()
    for bad in ({"channels": ["none"]}, {"kinds": ["x"]}, {"min_severity": "high"}, {"url": "https://x"}):
        assert (await world.call("PUT", path, bad)).status_code == 422
    for kinds in ("some", ["x"], ["failing", 1], None, {}):
        refused = await world.call("PUT", path, {"kinds": kinds})
        assert refused.json()["fields"] == [{"field": "kinds", "problem": "not_in_list"}]

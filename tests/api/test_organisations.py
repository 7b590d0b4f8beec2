"""Organisations: their life, their limits, their usage, and keys that act for one or for all."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.admin import Scope
from app.admin.context import Update
from app.store import driver_of
from app.store.audit import AuditAction
from app.store.destinations import destinations
from tests.api.test_ways_in import EVENT_OF, application, within
from tests.api.world import DESTINATION, ApiWorld
from tests.databases import WAITING_LOCKS
from tests.pipeline.world import eventually

KEY = {"name": "engine", "scopes": [scope for scope in Scope if scope is not Scope.ORGANISATIONS_ADMIN]}


async def organisation(world: ApiWorld, id_: str = "acme", **changes: Any) -> str:
    """Create an organisation and return a key of it with every scope that it can have."""
    await world.call("POST", "/organisations", {"id": id_, "name": "Acme", **changes}, status=201)
    key = await world.call("POST", f"/keys?organisation_id={id_}", KEY, status=201)
    return str(key.json()["key"])


async def test_an_organisation_is_created_read_changed_and_listed(world: ApiWorld) -> None:
    """With its limits, its state and its version; a fresh database has `default`."""
    made = await world.call("POST", "/organisations", {"name": "Acme", "limits": {"destinations": 3}})
    assert made.status_code == 201
    body = made.json()
    assert body["id"].startswith("org_")
    assert body["state"] == "active"
    assert body["limits"] == {"destinations": 3, "events_per_second": None}
    assert made.headers["location"] == f"/organisations/{body['id']}"
    path = f"/organisations/{body['id']}"
    read = await world.call("GET", path)
    assert (read.json(), read.headers["etag"]) == (body, made.headers["etag"])
    change = {"name": "Acme Ltd", "limits": {"events_per_second": 10}}
    after = await world.call("PATCH", path, change, headers={"If-Match": read.headers["etag"]})
    assert after.json()["limits"] == {"destinations": 3, "events_per_second": 10}
    stale = await world.call("PATCH", path, {"name": "B"}, headers={"If-Match": read.headers["etag"]})
    assert (stale.status_code, stale.json()["error"]) == (412, "stale")
    listed = (await world.call("GET", "/organisations?limit=1")).json()
    assert [item["id"] for item in listed["items"]] == ["default"]
    rest = (await world.call("GET", "/organisations", params={"cursor": listed["next_cursor"]})).json()
    assert [(item["id"], item["name"]) for item in rest["items"]] == [(body["id"], "Acme Ltd")]


@pytest.mark.reads_only
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "A", "id": "Not An Id"}, "id"),
        ({"name": "A", "limits": {"destinations": -1}}, "limits.destinations"),
        ({"name": "A", "limits": {"events_per_second": 0}}, "limits.events_per_second"),
        ({"name": "A", "colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_organisation_is_refused(world: ApiWorld, body: Any, field: str) -> None:
    """With the field, and nothing is created."""
    answer = await world.call("POST", "/organisations", body)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field)
    assert len((await world.call("GET", "/organisations")).json()["items"]) == 1


async def test_an_organisation_id_is_unique(world: ApiWorld) -> None:
    """409, and the first stays as it is."""
    await organisation(world)
    answer = await world.call("POST", "/organisations", {"id": "acme", "name": "Other"})
    assert (answer.status_code, answer.json()["error"]) == (409, "organisation_exists")
    assert (await world.call("GET", "/organisations/acme")).json()["name"] == "Acme"


async def test_only_the_bootstrap_key_makes_platform_keys(world: ApiWorld) -> None:
    """A platform key acts in `default` unless the query says otherwise; no other key grants the scope."""
    await organisation(world)
    platform = await world.key(Scope.ORGANISATIONS_ADMIN, Scope.KEYS_ADMIN, Scope.DESTINATIONS_READ)
    assert (await world.call("GET", "/organisations", key=platform)).status_code == 200
    wanted = {"name": "k", "scopes": [Scope.ORGANISATIONS_ADMIN]}
    assert (await world.call("POST", "/keys", wanted, key=platform)).status_code == 403
    inside = await world.call("POST", "/keys?organisation_id=acme", wanted)
    assert (inside.status_code, inside.json()["fields"][0]["field"]) == (422, "scopes")
    theirs = await world.call("POST", "/destinations?organisation_id=acme", DESTINATION, status=201)
    of_acme = await world.call("GET", "/destinations?organisation_id=acme", key=platform)
    assert [item["id"] for item in of_acme.json()["items"]] == [theirs.json()["id"]]
    assert (await world.call("GET", "/destinations", key=platform)).json()["items"] == []
    await world.call("GET", "/destinations?organisation_id=unknown", key=platform, status=404)


async def test_platform_keys_are_hidden_from_the_keys_of_default(world: ApiWorld) -> None:
    """An admin of `default` neither lists nor revokes them: it would become the platform."""
    await world.key(Scope.ORGANISATIONS_ADMIN)
    (platform,) = (await world.call("GET", "/keys")).json()["items"]
    admin = await world.key(Scope.KEYS_ADMIN)
    listed = (await world.call("GET", "/keys", key=admin)).json()["items"]
    assert [item["scopes"] for item in listed] == [["keys:admin"]]
    assert (await world.call("DELETE", f"/keys/{platform['id']}", key=admin)).status_code == 404


@pytest.mark.parametrize("named", ["default", "unknown", "acme2"])
async def test_for_a_key_of_an_organisation_there_is_no_other(world: ApiWorld, named: str) -> None:
    """404 for another and for one that does not exist alike; its own may be named."""
    key = await organisation(world)
    await organisation(world, "acme2")
    answer = await world.call("GET", f"/destinations?organisation_id={named}", key=key)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert (await world.call("GET", "/destinations?organisation_id=acme", key=key)).status_code == 200
    twice = await world.call("GET", "/destinations?organisation_id=acme&organisation_id=acme", key=key)
    assert (twice.status_code, twice.json()["fields"][0]["problem"]) == (422, "duplicate")


async def test_the_limit_on_destinations_holds(world: ApiWorld) -> None:
    """429 at the limit; an archived destination frees its place; other organisations are not concerned."""
    key = await organisation(world, limits={"destinations": 1})
    first = await world.call("POST", "/destinations", DESTINATION, key=key, status=201)
    second = await world.call("POST", "/destinations", {**DESTINATION, "name": "B"}, key=key)
    assert (second.status_code, second.json()["error"]) == (429, "destination_limit")
    assert int(second.headers["retry-after"]) > 0
    await world.create_destination()
    assert (await world.call("DELETE", f"/destinations/{first.json()['id']}", key=key)).status_code == 200
    assert (await world.call("POST", "/destinations", DESTINATION, key=key)).status_code == 201


def posting(world: ApiWorld) -> httpx.AsyncClient:
    world.app = application(world)
    return within(world.app)


async def test_the_limit_on_events_holds(world: ApiWorld) -> None:
    """429 with the time after which the next request is admitted; it is."""
    key = await organisation(world, limits={"events_per_second": 10})
    async with posting(world) as client:
        headers = {"X-Api-Key": key}
        first = await client.post("/events", json=[EVENT_OF] * 30, headers=headers)
        assert first.status_code == 202
        began = time.monotonic()
        second = await client.post("/events", json=EVENT_OF, headers=headers)
        assert (second.status_code, second.json()["error"]) == (429, "event_rate_exceeded")
        assert time.monotonic() - began > 0.09  # so a sender that repeats at once uses little CPU
        wait = int(second.headers["retry-after"])
        assert wait == 3  # twenty events are owed at ten a second
        assert (await client.post("/events", json=EVENT_OF)).status_code == 202
        world.elapsed += wait
        assert (await client.post("/events", json=EVENT_OF, headers=headers)).status_code == 202


async def test_a_suspension_waits_for_the_change_of_a_destination(world: ApiWorld) -> None:
    """The audit's row refers to the organisation, which the suspension locked: Postgres ended one of both."""
    await organisation(world)
    made = await world.create_destination()
    async with world.engine.begin() as connection:
        assert await destinations.lock(connection, made["id"]) is not None
        suspension = asyncio.create_task(world.call("POST", "/organisations/default/suspend"))
        await eventually(lambda: world.sql(WAITING_LOCKS))
        change = Update(connection, await driver_of(connection), "x")
        await change.record(AuditAction.DESTINATION_CHANGED, made["id"])
    assert (await suspension).json()["state"] == "suspended"


async def test_a_suspended_organisation_sends_no_new_events(world: ApiWorld) -> None:
    """403 until it is resumed; its destinations wait, and return to the state before."""
    key = await organisation(world)
    made = (await world.call("POST", "/destinations", DESTINATION, key=key)).json()
    suspended = await world.call("POST", "/organisations/acme/suspend")
    assert suspended.json()["state"] == "suspended"
    assert (await world.call("POST", "/organisations/acme/suspend")).json() == suspended.json()
    path = f"/destinations/{made['id']}"
    waiting = (await world.call("GET", path, key=key)).json()
    assert (waiting["state"], waiting["reason"]) == ("paused", "organisation_suspended")
    resumed = (await world.call("POST", path + "/resume", key=key)).json()
    assert (resumed["state"], resumed["reason"]) == ("paused", "organisation_suspended")
    checks = (await world.call("GET", path + "/preflight", key=key)).json()["checks"]
    (state,) = [check for check in checks if check["name"] == "state"]
    assert (state["status"], state["who"]) == ("failed", "operator")
    assert "organisation is suspended" in state["detail"]
    new = (await world.call("POST", "/destinations", {**DESTINATION, "name": "New"}, key=key)).json()
    assert new["state"] == "paused"
    async with posting(world) as client:
        headers = {"X-Api-Key": key}
        refused = await client.post("/events", json=EVENT_OF, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (403, "organisation_suspended")
        rehearsed = await client.post("/events?dry_run=true", json=EVENT_OF, headers=headers)
        assert rehearsed.json() == refused.json()
        assert (await client.post("/events", json=EVENT_OF)).status_code == 202
        await world.call("POST", "/organisations/acme/resume")
        world.elapsed += 3
        assert (await client.post("/events", json=EVENT_OF, headers=headers)).status_code == 202
    again = (await world.call("GET", path, key=key)).json()
    assert (again["state"], again["reason"]) == ("draft", None)
    assert [item["action"] for item in (await world.call("GET", "/audit", key=key)).json()["items"]][:2] == [
        "organisation.resumed",
        "destination.created",
    ]
    own_audit = (await world.call("GET", "/audit")).json()["items"]
    assert not [item for item in own_audit if "organisation" in item["action"]]


async def test_a_suspension_changes_no_version_of_a_destination(world: ApiWorld) -> None:
    """The configuration is the same, so an editor's If-Match still holds; processes read it again."""
    key = await organisation(world)
    made = (await world.call("POST", "/destinations", DESTINATION, key=key)).json()
    cached = "SELECT CASE WHEN suspended THEN -version ELSE version END AS v FROM destinations"
    assert [row.v for row in await world.sql(cached)] == [1]
    await world.call("POST", "/organisations/acme/suspend")
    assert [row.v for row in await world.sql(cached)] == [-1]
    path = f"/destinations/{made['id']}"
    found = (await world.call("GET", path, key=key)).json()
    assert (found["version"], found["updated_at"]) == (made["version"], made["updated_at"])
    changed = await world.call("PATCH", path, {"name": "New"}, key=key, headers={"If-Match": '"1"'})
    assert changed.status_code == 200, changed.text


async def test_every_key_reads_the_limits_of_its_own_organisation(world: ApiWorld) -> None:
    """And of no other; the id `self` can therefore not be taken."""
    key = await organisation(world, limits={"destinations": 7})
    made = (await world.call("POST", "/destinations", DESTINATION, key=key)).json()
    body = {"name": "k", "scopes": ["events:write"], "destination_ids": [made["id"]]}
    weak = (await world.call("POST", "/keys?organisation_id=acme", body)).json()["key"]
    await world.sql(
        "INSERT INTO counts (destination, day, writer, accepted) "
        "SELECT number, current_date, 32767, 9 FROM destinations"
    )
    world.now = datetime.now(UTC)
    for each in (key, weak):
        own = (await world.call("GET", "/organisations/self", key=each)).json()
        assert (own["id"], own["limits"]["destinations"], own["destinations"]) == ("acme", 7, 1)
        assert own["usage"] == {"events": 9, "requests": 0, "bytes": 0}
    assert (await world.call("GET", "/organisations/self")).json()["id"] == "default"
    assert (await world.call("GET", "/organisations/self", key=None)).status_code == 401
    taken = await world.call("POST", "/organisations", {"id": "self", "name": "Self"})
    assert (taken.status_code, taken.json()["error"]) == (409, "organisation_exists")


async def test_usage_is_given_for_each_day(world: ApiWorld) -> None:
    """Idle days included; days that the pipeline has dropped keep their sums."""
    key = await organisation(world)
    made = (await world.call("POST", "/destinations", DESTINATION, key=key)).json()
    other = await world.create_destination()
    today = datetime.now(UTC).date()
    for destination, events in ((made, 7), (other, 100)):
        await world.sql(
            "INSERT INTO counts (destination, day, writer, accepted) "
            "SELECT number, :day, 32767, :events FROM destinations WHERE id = :id",
            id=destination["id"],
            day=today,
            events=events,
        )
    await world.sql(
        "INSERT INTO organisation_usage VALUES ('acme', CAST(:day AS date) - 1, 5, 600)", day=today
    )
    usage, first = "/organisations/acme/usage", today - timedelta(days=1)
    answer = await world.call("GET", f"{usage}?from={first}&to={today}")
    wrong = await world.call("GET", f"{usage}?from={today}&to={first}")
    page = (await world.call("GET", f"{usage}?from={first}&to={today}&limit=1")).json()
    month = (await world.call("GET", usage)).json()
    noon = f"{today}T12:00:00Z"
    timed = (await world.call("GET", f"{usage}?from={noon}&to={noon}")).json()
    assert answer.json() == {
        "items": [
            {"events": 0, "requests": 5, "bytes": 600, "day": str(first)},
            {"events": 7, "requests": 0, "bytes": 0, "day": str(today)},
        ],
        "total": {"events": 7, "requests": 5, "bytes": 600},
        "next_cursor": None,
    }
    assert (wrong.status_code, wrong.json()["fields"][0]) == (422, {"field": "to", "problem": "before_from"})
    assert (page["items"], page["total"]) == (answer.json()["items"][:1], answer.json()["total"])
    assert page["next_cursor"]
    assert (len(month["items"]), month["items"][-1]["day"]) == (30, str(world.context.now().date()))
    assert len(timed["items"]) == 1

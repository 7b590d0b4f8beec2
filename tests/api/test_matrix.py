"""Every locked route × no key, every other scope, a foreign destination's key, a stale ETag, the right scope.

The routes are read from the application, so that a new one is tried as well, or fails a test by its absence.
"""

from typing import Any

import pytest

from app.admin import Scope
from app.api.access.secured_route import SecuredRoute, SecuredRouter, scopes_of
from app.console.visits import SecuredPage
from app.processes.application import ROUTERS
from tests.api.world import DESTINATION, EVENT, MAPPING, PUBLIC, ApiWorld

ROUTES = [
    (route.path, method, scopes_of(route.endpoint))
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, SecuredRoute)
    for method in sorted(route.methods or ())
]
LOCKED = [route for route in ROUTES if route[2]]
SCOPES = {scopes for _, _, scopes in LOCKED}

# What the interface leaves open to all; anything else without a scope is a slip.
OPEN = {"/oauth/amazon/callback", "/health/live", "/health/ready", "/metrics", "/openapi.json"}

# Bodies with which a route succeeds, where it needs one.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/destinations"): {**DESTINATION, "name": "Another"},
    ("PATCH", "/destinations/{destination_id}"): {"name": "Changed"},
    ("POST", "/destinations/{destination_id}/mappings"): MAPPING,
    ("PATCH", "/destinations/{destination_id}/mappings/{mapping_id}"): {"name": "Changed"},
    ("POST", "/destinations/{destination_id}/mappings/{mapping_id}/rollback"): {"version": 1},
    ("POST", "/destinations/{destination_id}/mappings/{mapping_id}/preview"): {"event": EVENT},
    ("POST", "/advertisers/{advertiser_id}/event-names/{event_type}/rename"): {"to": "Renamed"},
    ("POST", "/destinations/{destination_id}/preflight"): {"check": "terms"},
    ("POST", "/destinations/{destination_id}/status-callback"): {"enabled": True},
    ("PUT", "/destinations/{destination_id}/notifications"): {"min_severity": "critical"},
    ("POST", "/destinations/{destination_id}/mappings/{mapping_id}/shadow"): {"share": 1, "minutes": 1},
    ("POST", "/identity/hash"): {"field": "email", "value": "a@example.com"},
    ("POST", "/identity/explain-hash"): {"field": "email", "value": "a@example.com", "hash": "00"},
    ("POST", "/keys"): {"name": "k", "scopes": ["events:read"]},
}
ROAD_BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/destinations/{destination_id}/replay"): {"status": "dead", "dry_run": True},
    ("POST", "/destinations/{destination_id}/dead-letters/dismiss"): {"status": "dead", "dry_run": True},
    ("POST", "/destinations/{destination_id}/dedupe/compare"): {"ids": ["a"]},
    ("POST", "/destinations/{destination_id}/test-conversions"): {
        "count": 1,
        "dataset_name": "Tests",
        "event_name": "Test",
    },
    ("POST", "/destinations/{destination_id}/reconciliation/explain"): {
        "day": "2026-11-24",
        "event_name": "Cart",
        "amazon_count": 1,
    },
}
# Routes of the events themselves have tests of their own with a pipeline behind them.
ADMIN = [
    route for route in LOCKED if Scope.EVENTS_WRITE not in route[2] and Scope.EVENTS_READ not in route[2]
]
OF_THE_ROAD = {
    "stats", "events", "replay", "backtest", "erase", "{erasure_id}", "dismiss", "find", "reconciliation",
    "dedupe", "test-conversions",
}  # fmt: skip
ADMIN = [route for route in ADMIN if route[0].split("/")[-1] not in OF_THE_ROAD]
# These have tests of their own: test_organisations.py, test_incident_routes.py.
TESTED_APART = ("organisations", "incidents", "notification-channels")
ADMIN = [route for route in ADMIN if route[0].split("/")[1] not in TESTED_APART]


def test_every_route_of_the_application_is_in_the_matrix(world: ApiWorld) -> None:
    """Whatever is reachable is a listed route, or a page of the console, which are tried apart."""
    known = {(path, method) for path, method, _ in ROUTES}
    strangers = [
        route
        for route in world.app.routes
        if not isinstance(route, SecuredPage)
        and {(route.path, method) for method in getattr(route, "methods", None) or ("?",)} - known
    ]
    assert strangers == []
    assert len(known) > 40


# What changes a thing without looking at the version that the caller had seen, each with the reason.
WITHOUT_ETAG = {
    ("POST", "/destinations"): "makes something new",
    ("POST", "/destinations/{destination_id}/mappings"): "makes something new",
    ("POST", "/keys"): "makes something new",
    ("DELETE", "/sessions/{session_id}"): "a session has no version: nothing of it is edited",
    ("DELETE", "/keys/{key_id}"): "keys have no versions: nothing of a key is edited",
    ("POST", "/destinations/{destination_id}/connect"): "begins a sign-in; its end checks the rest",
    ("POST", "/destinations/{destination_id}/disconnect"): "must work at once, even during another edit",
    ("POST", "/destinations/{destination_id}/pause"): "must work at once, even during another edit",
    ("POST", "/destinations/{destination_id}/resume"): "must work at once, even during another edit",
    ("POST", "/destinations/{destination_id}/status-callback"): "a switch: the last word holds",
    ("POST", "/advertisers/{advertiser_id}/event-names/{event_type}/rename"): "names its own before",
    ("POST", "/destinations/{destination_id}/mappings/{mapping_id}/preview"): "changes nothing",
    ("POST", "/destinations/{destination_id}/mappings/suggest"): "changes nothing",
    ("POST", "/destinations/{destination_id}/mappings/{mapping_id}/shadow"): "starts a new one",
    ("DELETE", "/destinations/{destination_id}/mappings/{mapping_id}/shadow"): "a shadow has no version",
    ("POST", "/identity/hash"): "changes nothing",
    ("POST", "/identity/explain-hash"): "changes nothing",
    ("PUT", "/destinations/{destination_id}/notifications"): "replaces settings that have no ETag",
}
CHANGES = [(path, method) for path, method, _ in ADMIN if method != "GET"]


def test_only_changes_that_exist_are_excused_from_etags() -> None:
    """A reason for a route that is gone would hide the next one of its name."""
    assert set(WITHOUT_ETAG) <= {(method, path) for path, method in CHANGES}


async def test_with_a_stale_etag_412_and_nothing_changes(world: ApiWorld) -> None:
    """On every route that changes what the caller had looked at."""
    ids = await things(world)
    for path, method in CHANGES:
        url, before = path.format(**ids), await world.actions()
        answer = await world.call(method, url, BODIES.get((method, path)), headers={"If-Match": '"999999"'})
        if (method, path) in WITHOUT_ETAG:
            assert answer.status_code < 300, (method, path, answer.text)
            await world.sql("DELETE FROM event_names")
            ids = await things(world)
        else:
            assert (answer.status_code, answer.json()["error"]) == (412, "stale"), (method, path)
            assert await world.actions() == before, (method, path)


def test_only_the_interfaces_open_routes_are_open() -> None:
    """A route without a scope must be in the list."""
    assert {path for path, _, scopes in ROUTES if not scopes} == OPEN


async def things(world: ApiWorld) -> dict[str, str]:
    """Make one thing of each kind that a path names, and return their ids."""
    made = await world.create_destination()
    mapping = await world.publish_mapping(made["id"])
    scopes = ["destinations:read", "events:read"]
    key = await world.call("POST", "/keys", {"name": "victim", "scopes": scopes})
    form, origin = {"key": key.json()["key"]}, {"Origin": PUBLIC}
    await world.client.post("/console/sign-in", data=form, headers=origin)
    world.client.cookies.clear()
    sessions = (await world.call("GET", "/sessions")).json()["items"]
    return {
        "destination_id": made["id"],
        "mapping_id": mapping["id"],
        "advertiser_id": made["advertiser_id"],
        "event_type": "ADD_TO_SHOPPING_CART",
        "key_id": key.json()["id"],
        "session_id": sessions[-1]["id"],
        "event_id": "e",
        "replay_id": "rep_none",
    }


async def test_without_a_key_401(world: ApiWorld) -> None:
    """On every route, before anything else is looked at. One world for all: nothing is changed."""
    for path, method, _ in LOCKED:
        url = path.replace("{", "").replace("}", "")
        answer = await world.call(method, url, BODIES.get((method, path)), key=None)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"], (method, path)


async def test_with_every_other_scope_403(world: ApiWorld) -> None:
    """All scopes but those that the route names do not suffice."""
    any_scope = tuple(Scope)
    keys = {
        scopes: await world.key(*(scope for scope in Scope if scope not in scopes))
        for scopes in SCOPES
        if scopes != any_scope
    }
    for path, method, scopes in LOCKED:
        if scopes == any_scope:
            assert path == "/organisations/self"
            continue
        url = path.replace("{", "").replace("}", "")
        answer = await world.call(method, url, BODIES.get((method, path)), key=keys[scopes])
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), (method, path)


async def test_a_key_of_a_foreign_destination_reads_nothing(world: ApiWorld) -> None:
    """404 where something is named, an empty list where all is listed, and nothing changes."""
    ids = await things(world)
    own = (await world.create_destination(name="Foreign", advertiser_id="42"))["id"]
    needed = {scopes for _, _, scopes in ADMIN}
    keys = {scopes: await world.key(*scopes, destination_ids=[own]) for scopes in needed}
    before = await world.actions()
    for path, method, scopes in ADMIN:
        answer = await world.call(method, path.format(**ids), BODIES.get((method, path)), key=keys[scopes])
        if "{" in path:
            assert (answer.status_code, answer.json()["error"]) == (404, "not_found"), (method, path)
        elif path in ("/catalog", "/identity/hash", "/identity/explain-hash"):  # of no destination
            assert answer.status_code == 200, (method, path)
        elif method == "POST":
            assert answer.status_code in (403, 422), (method, path)
        else:
            for item in answer.json()["items"]:
                about = (item.get("id"), item.get("destination_id"), *(item.get("destination_ids") or ()))
                assert own in about, (path, item)
        assert await world.actions() == before, (method, path)


OF_A_DESTINATION = [route for route in LOCKED if route not in ADMIN and "{destination_id}" in route[0]]


async def test_events_of_a_foreign_destination_are_not_listed(world: ApiWorld) -> None:
    """404 as if there were none, whatever is asked about them."""
    ids = await things(world)
    foreign = await world.create_destination(name="Foreign", advertiser_id="42")
    event = ("/events/e?destination_id={destination_id}", "GET", (Scope.EVENTS_READ,))
    for path, method, scopes in [*OF_A_DESTINATION, event]:
        key = await world.key(*scopes, destination_ids=[foreign["id"]])
        answer = await world.call(method, path.format(**ids), ROAD_BODIES.get((method, path)), key=key)
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found"), (method, path)


async def test_with_one_scope_that_the_route_names_it_works(world: ApiWorld) -> None:
    """Each of the scopes alone suffices."""
    keys = {scope: await world.key(scope) for scope in {scope for _, _, scopes in ADMIN for scope in scopes}}
    ids = await things(world)
    for path, method, scopes in ADMIN:
        for scope in scopes:
            url = path.format(**ids)
            answer = await world.call(method, url, BODIES.get((method, path)), key=keys[scope])
            assert answer.status_code in (200, 201), (method, path, scope, answer.text)
            if method != "GET":
                await world.sql("DELETE FROM event_names")
                ids = await things(world)


async def _open_by_mistake() -> None: ...


def test_a_route_without_scopes_cannot_be_built() -> None:
    """Unless it is marked as public, so that no route is public by mistake."""
    router = SecuredRouter()
    for add in (router.get("/x"), router.api_route("/x", methods=["HEAD"])):
        with pytest.raises(TypeError, match="name the scopes"):
            add(_open_by_mistake)
    with pytest.raises(TypeError, match="name the scopes"):
        router.add_api_route("/x", _open_by_mistake)

"""No organisation sees another: every route and page, generated, against each of two walls alone.

*Statements*: the database role is not restricted, so that a missing `organisation_id` in a statement is seen.
*Row-level security*: the application runs as a role that does not own the tables.

What a foreign caller gets for an id of `alpha` is compared with what it gets for an id that does not exist:
any difference tells it that there is an `alpha`.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from inspect import signature
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import create_async_engine

from app.admin.access import Scope
from app.admin.erasure import request_erasure
from app.api.secured_route import SecuredRoute, scopes_of
from app.console.secured_page import SecuredPage
from app.console.sessions import csrf_of
from app.domain.ids import OrganisationId
from app.domain.incidents.kinds import Kind, Severity
from app.domain.incidents.machine import Incident, IncidentState
from app.domain.notifications.channels import read_webhooks
from app.processes.application import ROUTERS
from app.store import counts, incidents, journey_counts, notifications, rejection_records, replays
from app.store.organisation_scope import EVERY, SETTING, ScopedPool, prepare_engine
from app.store.rejection_records import NewRejection
from tests.api.test_matrix import BODIES, routes_of
from tests.api.world import DESTINATION, MAPPING, PUBLIC, World, make_world

EVERY_SCOPE = [scope for scope in Scope if scope is not Scope.ORGANISATIONS_ADMIN]
ROUTES = sorted(
    {
        (route.path, method, scopes_of(route.endpoint))
        for router in ROUTERS
        for route in routes_of(router.routes)
        if isinstance(route, SecuredRoute | SecuredPage)
        for method in route.methods or ()
    }
)
EXPORTS = {
    route.path
    for router in ROUTERS
    for route in routes_of(router.routes)
    if isinstance(route, SecuredRoute) and "export_format" in signature(route.endpoint).parameters
}
LOCKED = [route for route in ROUTES if route[2]]
TODAY = datetime.now(UTC).date()

SENT: dict[tuple[str, str], Any] = {
    **BODIES,
    ("POST", "/organisations"): {"id": "alpha", "name": "Taken"},
    ("PATCH", "/organisations/{id}"): {"name": "Changed"},
    ("POST", "/destinations/{destination_id}/replay"): {"status": "dead", "dry_run": True},
    ("POST", "/destinations/{destination_id}/dead-letters/dismiss"): {"status": "dead"},
    ("PUT", "/destinations/{destination_id}/notifications"): {"min_severity": "critical"},
    ("POST", "/incidents/{incident_id}/acknowledge"): {"note": "n"},
    ("POST", "/incidents/{incident_id}/mute"): {"until": "2030-01-01T00:00:00Z"},
    ("POST", "/subjects/erase"): {"email": "nobody@example.com"},
    ("POST", "/subjects/find"): {"email": "ada@example.com"},
}
QUERIES = {
    "/organisations/{id}/usage": f"from={TODAY}&to={TODAY}",
    "/events/{event_id:path}": "destination_id={destination_id}",
    "/audit": "destination_id={destination_id}",
    "/incidents": "destination_id={destination_id}",
    "/destinations/{destination_id}/stats": "journey_id=journey-alpha",
    "/console/audit": "destination={destination_id}",
    "/console/events": "q={event_id}",
    "/console/destinations/{destination_id}/event": "id={event_id}",
    "/console/destinations/{destination_id}/event/live": "id={event_id}",
}
# Streams: the first answer is the same page, and the stream would not end.
STREAMS = {"/console/destinations/{destination_id}/live", "/console/destinations/{destination_id}/event/live"}
# What ends the caller's own session or organisation, or has no id to compare.
LAST = {"/console/sign-out"}
# Routes of the pipeline: `tests/pipeline/test_two_organisations.py`.
OF_THE_PIPELINE = {("POST", "/events"), ("POST", "/console/destinations/{destination_id}/test")}


@dataclass
class Two:
    """Two organisations on one advertiser: what `alpha` has, and the keys of both."""

    world: World
    ids: dict[str, str]
    keys: dict[str, str]
    cookies: dict[str, str]

    def address(self, path: str, ids: dict[str, str], *, query: bool = True) -> str:
        wanted = f"{path}?{QUERIES[path]}" if query and path in QUERIES else path
        return wanted.replace(":path}", "}").format(**ids)

    async def ask(
        self, who: str, path: str, method: str, ids: dict[str, str], extra: str = ""
    ) -> tuple[int, str]:
        """Return status and content of an answer, without the ids sent and what always differs."""
        address = self.address(path, ids)
        if extra:
            address += ("&" if "?" in address else "?") + extra
        if path.startswith("/console"):
            token = self.cookies[who]
            form = {
                "csrf": csrf_of(token),
                "q": "",
                "hours": "1",
                "event": "{}",
                "name": "n",
                "version": "1",
                "to": "n",
            }
            answer = await self.world.client.request(
                method,
                address,
                data=form if method == "POST" else None,
                headers={"Origin": PUBLIC, "Cookie": f"__Host-console={token}"},
            )
        else:
            answer = await self.world.call(method, address, SENT.get((method, path)), key=self.keys[who])
        content = answer.text + " ".join(f"{name}: {value}" for name, value in answer.headers.items())
        for name, value in ids.items():
            content = content.replace(value, f"<{name}>")
        return answer.status_code, _stable(content)


def _stable(content: str) -> str:
    content = re.sub(r"x-request-id: \S+|content-length: \d+|etag: \S+", "", content)
    content = re.sub(
        r'"(key|id|hint|public_key|signed|signature|code_verifier|authorize_url)": ?"[^"]*"', "", content
    )
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\b(era|inc|key|dst|map|org|rpl)_[0-9a-z]{16,32}\b", "", content)


NOBODY = {
    "destination_id": "dst_" + "0" * 20,
    "mapping_id": "map_" + "0" * 20,
    "key_id": "key_" + "0" * 20,
    "erasure_id": "era_" + "0" * 20,
    "incident_id": "inc_" + "0" * 20,
    "replay_id": "rpl_" + "0" * 20,
    "id": "nobody",
    "event_id": "nowhere-1",
    "advertiser_id": "999999999999",
    "event_type": "ADD_TO_SHOPPING_CART",
    "name": "console.css",
    "anywhere": "nowhere",
}


@pytest_asyncio.fixture(params=["statements", "row-level security"])
async def two(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Two]:
    """Two organisations, behind one wall alone."""
    role = await _restricted_role(database_url) if request.param != "statements" else None
    settings = {SETTING: ""} | ({"role": role} if role else {})
    engine = create_async_engine(database_url, connect_args={"server_settings": settings})
    channels = read_webhooks(
        "ops=https://a.test/,ops-alpha@alpha=https://b.test/,ops-beta@beta=https://c.test/"
    )
    prepare_engine(engine)
    pool = await asyncpg.create_pool(
        database_url.replace("+asyncpg", ""),
        min_size=1,
        max_size=3,
        server_settings=settings | {SETTING: EVERY},
        reset=_keep,
    )
    world = make_world(engine)
    application = world.client._transport.app  # type: ignore[attr-defined]
    world.context = application.state.context = replace(world.context, pool=pool, channels=channels)
    yield await _made(world)
    await world.client.aclose()
    pool.terminate()  # a test that failed may hold a connection
    await engine.dispose()


async def _keep(connection: asyncpg.Connection) -> None:
    """As the application does: nothing is reset."""


async def _restricted_role(database_url: str) -> str:
    """Return a role that owns nothing: the API and a worker in one."""
    c = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    role = f"application_{await c.fetchval('SELECT current_database()')}"
    with suppress(asyncpg.DuplicateObjectError):
        await c.execute(f"CREATE ROLE {role} NOLOGIN")
    await c.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
    await c.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    await c.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    await c.close()
    return role


async def _made(world: World) -> Two:
    keys: dict[str, str] = {"platform": await world.key(Scope.ORGANISATIONS_ADMIN, *EVERY_SCOPE)}
    ids: dict[str, str] = {**NOBODY, "id": "alpha", "event_id": "ord-alpha-1"}
    for name in ("alpha", "beta"):
        made = await world.call("POST", "/organisations", {"id": name, "name": f"Organisation {name}"})
        assert made.status_code == 201, made.text
        wanted = {"name": f"engine of {name}", "scopes": EVERY_SCOPE}
        key = await world.call("POST", f"/keys?organisation_id={name}", wanted)
        assert key.status_code == 201, key.text
        keys[name] = key.json()["key"]
        destination = await world.call(
            "POST", "/destinations", {**DESTINATION, "name": f"Shop of {name}"}, key=keys[name]
        )
        assert destination.status_code == 201, destination.text
        path = f"/destinations/{destination.json()['id']}/mappings"
        mapping = await world.call(
            "POST", path, {**MAPPING, "name": f"Cart of {name}", "event_name": f"Cart {name}"}, key=keys[name]
        )
        published = await world.call("POST", f"{path}/{mapping.json()['id']}/publish", key=keys[name])
        assert published.status_code == 200, published.text
        made = await _observed(world.context.pool, OrganisationId(name), destination.json()["id"])
        if name == "alpha":
            ids |= made
            erasure, _ = await request_erasure(
                ScopedPool(world.context.pool, OrganisationId("alpha")),  # type: ignore[arg-type]
                world.context.vault,
                {"email": "ada@example.com"},
                by="alpha",
                monotonic=lambda: 0.0,
            )
            ids |= {
                "destination_id": destination.json()["id"],
                "mapping_id": mapping.json()["id"],
                "key_id": key.json()["id"],
                "erasure_id": erasure,
            }
            ids["advertiser_id"] = DESTINATION["advertiser_id"]
    cookies = {}
    for who, key_text in keys.items():
        answer = await world.client.post(
            "/console/sign-in", data={"key": key_text}, headers={"Origin": PUBLIC}
        )
        assert answer.status_code == 303, answer.text
        cookies[who] = re.findall(r"console=([\w-]{40,})", answer.headers["set-cookie"])[-1]
        world.client.cookies.clear()
    return Two(world, ids, keys, cookies)


async def _observed(pool: asyncpg.Pool, organisation: OrganisationId, destination: str) -> dict[str, str]:
    """Store what ingest, the monitor and a replay store for a destination, as they do; return the ids."""
    now, incident, replay = (
        datetime.now(UTC),
        f"inc_{'1' * 15}{organisation:a>5}",
        f"rpl_{'1' * 15}{organisation:a>5}",
    )
    async with pool.acquire() as c:
        number = await c.fetchval("SELECT number FROM destinations WHERE id = $1", destination)
        record = dict.fromkeys((each.name for each in fields(NewRejection)), None) | {
            "destination": number,
            "received_at": now,
            "event_id": f"rejected by {organisation}",
            "code": "BAD_REQUEST",
            "reason": "timestamp_missing",
        }
        await rejection_records.add(c, [NewRejection(**record)])
        await journey_counts.add_rejected(c, 1, {(number, f"journey-{organisation}", ""): 1})
        await counts.add_rejections(c, 1, {(number, "BAD_REQUEST", "timestamp_missing", 0, ""): 1})
        for id_, of_destination in ((incident, destination), (incident.replace("1", "2"), None)):
            opened = Incident(
                kind=Kind.FAILING if of_destination else Kind.NOTIFICATIONS_FAILING,
                destination=of_destination,
                severity=Severity.CRITICAL,
                state=IncidentState.OPEN,
                opened_at=now,
                last_seen_at=now,
                summary=f"Trouble of {organisation}.",
            )
            await incidents.insert(c, opened, id=id_, organisation=organisation)
        await notifications.channel_failed(c, organisation, f"ops-{organisation}", "timeout")
    async with ScopedPool(pool, organisation).acquire() as c:
        await replays.begin(c, replay, number, replays.ReplayFilter("dead"), by=f"engine of {organisation}")
    return {"incident_id": incident, "replay_id": replay}


ALPHA = re.compile(
    "Trouble of alpha|rejected by alpha|ops-alpha|"
    "Shop of alpha|Cart of alpha|Cart alpha|engine of alpha|Organisation alpha"
)


def asked() -> Iterator[tuple[str, str]]:
    """Yield every locked route and page, those that change nothing first."""
    for path, method, _ in sorted(LOCKED, key=lambda route: (route[0] in LAST, route[1] != "GET")):
        if path not in STREAMS and (method, path) not in OF_THE_PIPELINE:
            yield path, method


async def test_a_foreign_key_sees_no_data_no_existence_and_no_count(two: Two) -> None:
    """The same answer as for an id that nobody has, and nothing of `alpha` in it."""
    seen: list[str] = []
    before = await _contents(two.world)
    for path, method in asked():
        if path == "/organisations" or "{advertiser_id}" in path:
            continue  # below
        foreign, nobody = [await two.ask("beta", path, method, ids) for ids in (two.ids, NOBODY)]
        if method == "GET" and path in EXPORTS:
            exported = await two.ask("beta", path, method, two.ids, "format=ndjson")
            if (exported[0] < 400 and "{destination_id}" in path) or ALPHA.search(exported[1]):
                seen.append(f"{method} {path} as an export: {exported}")
        if "{" in path and path not in ("/console/static/{name}", "/console/{anywhere:path}"):
            if foreign != nobody:
                seen.append(f"{method} {path}: {foreign} differs from {nobody}")
            if foreign[0] < 400 and "event-names" not in path:
                seen.append(f"{method} {path}: {foreign[0]}")
        if ALPHA.search(foreign[1]):
            seen.append(f"{method} {path}: {ALPHA.search(foreign[1])}")
    assert seen == []
    assert await _contents(two.world) == before


async def test_the_advertiser_of_both_shows_each_its_own_names(two: Two) -> None:
    """Pins are of an organisation; a rename of one is no rename of the other."""
    path = f"/advertisers/{two.ids['advertiser_id']}/event-names"
    names = {}
    for who in ("alpha", "beta"):
        answer = await two.world.call("GET", path, key=two.keys[who])
        names[who] = [item["name"] for item in answer.json()["items"]]
    assert names == {"alpha": ["Cart alpha"], "beta": ["Cart beta"]}
    renamed = await two.world.call(
        "POST", f"{path}/ADD_TO_SHOPPING_CART/rename", {"to": "Other"}, key=two.keys["beta"]
    )
    assert renamed.status_code == 200, renamed.text
    rest = await two.world.call("GET", path, key=two.keys["alpha"])
    assert [item["name"] for item in rest.json()["items"]] == ["Cart alpha"]


async def test_lists_hold_own_things_only(two: Two) -> None:
    """For each organisation, for the platform in `default`, and for the platform in `alpha`."""
    world = two.world
    for path in ("/destinations", "/keys", "/audit", "/incidents", "/notification-channels"):
        of_alpha = await world.call("GET", path, key=two.keys["alpha"])
        assert ALPHA.search(of_alpha.text), path
        as_platform = await world.call("GET", f"{path}?organisation_id=alpha", key=two.keys["platform"])
        assert as_platform.json() == of_alpha.json(), path
        for who in ("beta", "platform"):
            answer = await world.call("GET", path, key=two.keys[who])
            assert not ALPHA.search(answer.text), (path, who)
    answer = await world.call("GET", "/organisations", key=two.keys["beta"])
    assert answer.status_code == 403


async def test_the_owner_and_the_platform_see_it(two: Two) -> None:
    """Else the tests above would pass for an application that shows nothing."""
    for path, method in asked():
        if method != "GET" or "{" not in path or path.startswith("/organisations"):
            continue
        if "{incident_id}" in path or "{replay_id}" in path:
            continue
        if path in (
            "/console/static/{name}",
            "/console/{anywhere:path}",
        ) or "{event_id" in path + QUERIES.get(path, ""):
            continue  # of no organisation, or of an event, which the pipeline's own tests have
        own = await two.ask("alpha", path, method, two.ids)
        assert own[0] == 200, (path, own)
        if not path.startswith("/console"):
            platform = await two.ask("platform", path, method, two.ids, "organisation_id=alpha")
            assert platform[0] == 200, (path, platform)
            outside = await two.ask("platform", path, method, two.ids)
            assert outside[0] == 404 or "event-names" in path, (path, outside)


async def test_the_owner_sees_what_was_observed(two: Two) -> None:
    """Behind each wall: rejections, journeys, replays and incidents were stored for its organisation."""
    destination = f"/destinations/{two.ids['destination_id']}"

    async def get(path: str) -> Any:
        answer = await two.world.call("GET", path, key=two.keys["alpha"])
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    assert [item["event_id"] for item in (await get(f"{destination}/rejections"))["items"]] == [
        "rejected by alpha"
    ]
    assert [item["count"] for item in (await get(f"{destination}/rejections/summary"))["items"]] == [1]
    assert (await get(f"{destination}/stats?journey_id=journey-alpha"))["counts"]["rejected"] == 1
    assert [item["replay_id"] for item in (await get(f"{destination}/replays"))["items"]] == [
        two.ids["replay_id"]
    ]
    listed = (await get("/incidents"))["items"]
    assert [item["summary"] for item in listed] == ["Trouble of alpha."] * 2
    assert (await get("/destinations"))["items"][0]["open_incidents"] == 1
    channels = (await get("/notification-channels"))["items"]
    assert [(item["name"], item["last_error"]) for item in channels] == [("ops-alpha", "timeout")]
    wanted = {"channels": ["ops-beta"]}
    refused = await two.world.call("PUT", f"{destination}/notifications", wanted, key=two.keys["alpha"])
    assert refused.status_code == 422, refused.text
    kept = {"channels": ["ops-alpha"], "min_severity": "info"}
    stored = await two.world.call("PUT", f"{destination}/notifications", kept, key=two.keys["alpha"])
    assert stored.status_code == 200, stored.text
    assert (await get(f"{destination}/notifications"))["channels"] == ["ops-alpha"]
    changed = {"alerting": {"backlog": {"minutes": 7}}}
    patched = await two.world.call("PATCH", destination, changed, key=two.keys["alpha"])
    assert patched.json()["alerting"]["backlog"]["minutes"] == 7, patched.text
    path = f"/incidents/{two.ids['incident_id']}/acknowledge"
    assert (await two.world.call("POST", path, {}, key=two.keys["alpha"])).status_code == 200


async def test_public_answers_tell_nothing_of_an_organisation(two: Two) -> None:
    """Metrics, health, description and errors without a key."""
    for path, method, scopes in ROUTES:
        if scopes or method != "GET" or path.startswith("/console"):
            continue
        answer = await two.world.call(method, two.address(path, two.ids), key=None)
        assert not ALPHA.search(answer.text), path
        assert not any(two.ids[name] in answer.text for name in ("destination_id", "mapping_id", "key_id")), (
            path
        )
        assert "alpha" not in answer.text, path


async def _contents(world: World) -> dict[str, Any]:
    """Return what `alpha` has, table by table."""
    async with world.context.pool.acquire() as c:
        tables = await _owned(c)
        return {
            table: [
                str(dict(row))
                for row in await c.fetch(
                    f"SELECT * FROM {table} WHERE organisation_id = 'alpha' ORDER BY 1, 2"
                )
            ]
            for table in tables
            if table not in ("console_sessions", "api_keys")
        }


async def _owned(c: Any) -> list[str]:
    return [
        row["table_name"]
        for row in await c.fetch(
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND column_name = 'organisation_id' ORDER BY 1"
        )
    ]


@pytest.mark.parametrize("two", ["row-level security"], indirect=True)
async def test_row_level_security_holds_without_any_where(two: Two) -> None:
    """In every table: nothing is read, changed, deleted or added for another organisation."""
    async with two.world.context.pool.acquire() as c:
        tables = await _owned(c)
        assert len(tables) > 12
        for table in tables:
            async with c.transaction():
                mine = await c.fetchval(f"SELECT count(*) FROM {table} WHERE organisation_id = 'beta'")
                await c.execute("SELECT set_config($1, 'beta', true)", SETTING)
                assert await c.fetchval(f"SELECT count(*) FROM {table}") == mine, table
                await c.execute("SELECT set_config($1, '', true)", SETTING)
                assert await c.fetchval(f"SELECT count(*) FROM {table}") == 0, table
        async with c.transaction():
            await c.execute("SELECT set_config($1, 'beta', true)", SETTING)
            assert await c.execute("UPDATE destinations SET name = name") == "UPDATE 1"
            assert await c.fetchval("SELECT count(*) FROM organisations") == 1
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with c.transaction():
                    await c.execute(
                        "INSERT INTO event_names (organisation_id, advertiser_id, event_type, name) "
                        "VALUES ('alpha', '1', 'OTHER', 'n')"
                    )

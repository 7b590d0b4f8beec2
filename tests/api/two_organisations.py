"""Two organisations behind one wall alone: what both have, and how each asks for what `alpha` has."""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from app.admin import Caller, Scope
from app.admin.events.history import ATTEMPT
from app.admin.privacy.subjects import erase_person
from app.console.access.sessions import csrf_of
from app.crypto import OpaqueTexts
from app.domain.event import Rejection
from app.domain.event_query import EventQuery
from app.domain.ids import KeyId, OrganisationId
from app.domain.incidents.kinds import Kind, Severity
from app.domain.incidents.machine import Incident, IncidentState
from app.domain.notifications import read_webhooks
from app.domain.outcomes.status import Status
from app.store import counts, incidents, replays
from app.store.events import journey_figures, rejections
from app.store.events.rejections import NewRejection
from app.store.incidents import notifications
from app.store.organisations.scope import EVERY, SETTING, ScopedPool, prepare_engine
from tests.api.test_matrix import BODIES, ROAD_BODIES
from tests.api.world import DESTINATION, MAPPING, PUBLIC, ApiWorld, make_world
from tests.databases import execute

EVERY_SCOPE = [scope for scope in Scope if scope is not Scope.ORGANISATIONS_ADMIN]
TODAY = datetime.now(UTC).date()
FIRST_NUMBER = 910_000_000

SENT: dict[tuple[str, str], Any] = {
    **BODIES,
    **ROAD_BODIES,
    ("POST", "/organisations"): {"id": "alpha", "name": "Taken"},
    ("PATCH", "/organisations/{id}"): {"name": "Changed"},
    ("POST", "/destinations/{destination_id}/dead-letters/dismiss"): {"status": "dead", "dry_run": False},
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
    "/event-search": "destination_id={destination_id}",
    "/console/tail": "destination={destination_id}",
    "/console/tail/live": "destination={destination_id}",
    "/console/destinations/{destination_id}/event": "id={event_id}",
    "/console/destinations/{destination_id}/event/live": "id={event_id}",
}


@dataclass
class Two:
    """Two organisations on one advertiser: what `alpha` has, and the keys of both."""

    world: ApiWorld
    ids: dict[str, str]
    keys: dict[str, str]
    cookies: dict[str, str]

    def address(self, path: str, ids: dict[str, str]) -> str:
        wanted = f"{path}?{QUERIES[path]}" if path in QUERIES else path
        return wanted.replace(":path}", "}").format(**ids)

    async def ask(
        self, who: str, path: str, method: str, ids: dict[str, str], extra: str = ""
    ) -> tuple[int, str]:
        """Return status and content of an answer, without the ids sent and what always differs."""
        answer = await self.send(who, path, method, ids, extra)
        content = answer.text + " ".join(f"{name}: {value}" for name, value in answer.headers.items())
        for name, value in ids.items():
            content = content.replace(value, f"<{name}>")
        return answer.status_code, _stable(content)

    async def send(
        self, who: str, path: str, method: str, ids: dict[str, str], extra: str = ""
    ) -> httpx.Response:
        """Call a route or a page with the key or the session of an organisation."""
        address = self.address(path, ids)
        if extra:
            address += ("&" if "?" in address else "?") + extra
        if path.startswith("/console"):
            token = self.cookies[who]
            form = {"csrf": csrf_of(token), "q": "", "hours": "1", "event": "{}", "version": "1"}
            form |= {"name": "n", "to": "n", "status": "dead"}
            return await self.world.client.request(
                method,
                address,
                data=form if method == "POST" else None,
                headers={"Origin": PUBLIC, "Cookie": f"__Host-console={token}"},
            )
        return await self.world.call(method, address, SENT.get((method, path)), key=self.keys[who])


def _stable(content: str) -> str:
    content = re.sub(r"x-request-id: \S+|content-length: \d+|etag: \S+", "", content)
    content = re.sub(
        r'"(key|id|hint|public_key|signed|signature|code_verifier|authorize_url)": ?"[^"]*"', "", content
    )
    return re.sub(
        r"\d{4}-\d\d-\d\dT[\d:.]+Z|\b(era|inc|key|dst|map|org|rpl|ses)_[0-9a-z]{16,32}\b", "", content
    )


UNKNOWN_IDS = {
    "destination_id": "dst_" + "0" * 20,
    "mapping_id": "map_" + "0" * 20,
    "key_id": "key_" + "0" * 20,
    "session_id": "ses_" + "0" * 20,
    "erasure_id": "era_" + "0" * 20,
    "incident_id": "inc_" + "0" * 20,
    "replay_id": "rpl_" + "0" * 20,
    "attempt_id": OpaqueTexts(b"pepper").seal(999_999_998, kind=ATTEMPT),
    "id": "unknown",
    "event_id": "nowhere-1",
    "advertiser_id": "999999999999",
    "event_type": "ADD_TO_SHOPPING_CART",
    "name": "console.css",
    "anywhere": "nowhere",
}


@pytest.fixture(params=["statements", "row-level security"])
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
    world.context = world.app.state.context = replace(world.context, pool=pool, channels=channels)
    await _raise_numbers(database_url)
    yield await _made(world)
    await world.client.aclose()
    pool.terminate()  # a test that failed may hold a connection
    await engine.dispose()


async def _keep(connection: asyncpg.Connection) -> None:
    """As the application does: nothing is reset."""


async def _restricted_role(database_url: str) -> str:
    """Return a role that owns nothing: the API and a worker in one."""
    role = f"application_{database_url.rpartition('/')[2]}"
    with suppress(asyncpg.DuplicateObjectError):
        await execute(database_url, f"CREATE ROLE {role} NOLOGIN")
    things = (
        "SCHEMA public",
        *(f"ALL {kind} IN SCHEMA public" for kind in ("TABLES", "SEQUENCES", "FUNCTIONS")),
    )
    await execute(database_url, *(f"GRANT ALL ON {each} TO {role}" for each in things))
    return role


async def _raise_numbers(database_url: str) -> None:
    """Let every sequence continue at a number of its own with nine digits, which a test finds in a text."""
    await execute(
        database_url,
        "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, "
        f"{FIRST_NUMBER} + 1000000 * row_number() OVER (ORDER BY sequencename)) FROM pg_sequences",
    )


async def _made(world: ApiWorld) -> Two:
    keys: dict[str, str] = {"platform": await world.key(Scope.ORGANISATIONS_ADMIN, *EVERY_SCOPE)}
    ids: dict[str, str] = {**UNKNOWN_IDS, "id": "alpha", "event_id": "ord-alpha-1"}
    for name in ("alpha", "beta"):
        made = await world.call("POST", "/organisations", {"id": name, "name": f"Organisation {name}"})
        assert made.status_code == 201, made.text
        wanted = {"name": f"engine of {name}", "scopes": EVERY_SCOPE}
        key = await world.call("POST", f"/keys?organisation_id={name}", wanted, status=201)
        keys[name] = key.json()["key"]
        destination = await world.call(
            "POST", "/destinations", {**DESTINATION, "name": f"Shop of {name}"}, key=keys[name], status=201
        )
        path = f"/destinations/{destination.json()['id']}/mappings"
        mapping = await world.call(
            "POST", path, {**MAPPING, "name": f"Cart of {name}", "event_name": f"Cart {name}"}, key=keys[name]
        )
        published = await world.call("POST", f"{path}/{mapping.json()['id']}/publish", key=keys[name])
        assert published.status_code == 200, published.text
        made = await _observed(world.context.pool, OrganisationId(name), destination.json()["id"])
        made["attempt_id"] = world.context.opaque.seal(made["attempt_id"], kind=ATTEMPT)
        if name == "alpha":
            ids |= made
            caller = Caller(KeyId("alpha"), frozenset(Scope), organisation=OrganisationId("alpha"))
            erased = await erase_person(world.context.of_caller(caller), {"email": "ada@example.com"})
            ids |= {
                "destination_id": destination.json()["id"],
                "mapping_id": mapping.json()["id"],
                "key_id": key.json()["id"],
                "erasure_id": erased.id,
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
    sessions = (await world.call("GET", "/sessions", key=keys["alpha"])).json()["items"]
    ids["session_id"] = sessions[0]["id"]
    return Two(world, ids, keys, cookies)


async def _observed(pool: asyncpg.Pool, organisation: OrganisationId, destination: str) -> dict[str, str]:
    """Store what ingest, the monitor and a replay store for a destination, as they do; return the ids."""
    now = datetime.now(UTC)
    incident, replay = [f"{kind}_{'1' * 15}{organisation:a>5}" for kind in ("inc", "rpl")]
    async with pool.acquire() as c:
        number = await c.fetchval("SELECT number FROM destinations WHERE id = $1", destination)
        rejection = Rejection("timestamp_missing", None, None, "", f"rejected by {organisation}")
        await rejections.add(c, [NewRejection(number, now, None, rejection)])
        node = (number, f"journey-{organisation}", "")
        numbers = (await journey_figures.register(c, [node])).numbers
        await journey_figures.add(c, {(number, numbers[node]): journey_figures.UnstoredEvents(1, 0)})
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
        attempt = 700_000_000 + number
        await c.execute(
            "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation, "
            "  settled_at, outcome, http_status, delivered) "
            "SELECT $1, (now() AT TIME ZONE 'UTC')::date, lane, number, 1, 'w', '{}', 1, 1, now(), "
            "  'answered', 207, 0 FROM destinations WHERE number = $2",
            attempt,
            number,
        )
        await c.execute(
            "INSERT INTO responses (attempt, destination, content) VALUES ($1, $2, $3)",
            attempt,
            number,
            f'{{"message": "rejected by {organisation}"}}',
        )
    async with ScopedPool(pool, organisation).acquire() as c:
        await replays.begin(c, replay, number, EventQuery(status=Status.DEAD), by=f"engine of {organisation}")
    return {"incident_id": incident, "replay_id": replay, "attempt_id": str(attempt)}

"""No organisation sees another: every route and page, generated, against each of two walls alone.

*Statements*: the database role is not restricted, so that a missing `organisation_id` in a statement is seen.
*Row-level security*: the application runs as a role that does not own the tables.

What a foreign caller gets for an id of `alpha` is compared with what it gets for an id that does not exist:
any difference tells it that there is an `alpha`.
"""

import base64
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from app.api.access.secured_route import SecuredRoute, scopes_of
from app.api.http.query_parameters import parameters_of
from app.console.visits import SecuredPage
from app.processes.application import ROUTERS
from app.store import read_sql
from app.store.organisations.scope import SETTING
from tests.api.two_organisations import QUERIES, UNKNOWN_IDS, Two, two
from tests.api.world import DESTINATION, MAPPING, STREAMS, ApiWorld

__all__ = ["two"]  # a fixture

ROUTES = sorted(
    {
        (route.path, method, scopes_of(route.endpoint))
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, SecuredRoute | SecuredPage)
        for method in route.methods or ()
    }
)
EXPORTS, LISTS = (
    {
        route.path
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, SecuredRoute) and name in parameters_of(route.dependant, route.endpoint).names
    }
    for name in ("format", "cursor")
)
LOCKED = [route for route in ROUTES if route[2]]

# What ends the caller's own session or organisation, or has no id to compare.
LAST = {"/console/sign-out"}
# Routes of the pipeline: `tests/pipeline/test_two_organisations.py`.
OF_THE_PIPELINE = {("POST", "/events"), ("POST", "/console/destinations/{destination_id}/test")}


ALPHA = re.compile(
    "Trouble of alpha|rejected by alpha|ops-alpha|"
    "Shop of alpha|Cart of alpha|Cart alpha|engine of alpha|Organisation alpha"
)


def secured_routes() -> Iterator[tuple[str, str]]:
    """Yield every locked route and page, those that change nothing first."""
    for path, method, _ in sorted(LOCKED, key=lambda route: (route[0] in LAST, route[1] != "GET")):
        if path not in STREAMS and (method, path) not in OF_THE_PIPELINE:
            yield path, method


@pytest.mark.campaign
async def test_a_foreign_key_sees_no_data_no_existence_and_no_count(two: Two) -> None:
    """The same response as for an id that does not exist, without anything of `alpha`."""
    seen: list[str] = []
    before = await _contents(two.world)
    for path, method in secured_routes():
        if path == "/organisations" or "{advertiser_id}" in path:
            continue  # below
        foreign, unknown = [await two.ask("beta", path, method, ids) for ids in (two.ids, UNKNOWN_IDS)]
        if method == "GET" and path in EXPORTS:
            exported = await two.ask("beta", path, method, two.ids, "format=ndjson")
            if (exported[0] < 400 and "{destination_id}" in path) or ALPHA.search(exported[1]):
                seen.append(f"{method} {path} as an export: {exported}")
        if "{" in path and path not in ("/console/static/{name}", "/console/{anywhere:path}"):
            if foreign != unknown:
                seen.append(f"{method} {path}: {foreign} differs from {unknown}")
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
    await two.world.call(
        "POST", f"{path}/ADD_TO_SHOPPING_CART/rename", {"to": "Other"}, key=two.keys["beta"], status=200
    )
    rest = await two.world.call("GET", path, key=two.keys["alpha"])
    assert [item["name"] for item in rest.json()["items"]] == ["Cart alpha"]


async def test_lists_hold_own_things_only(two: Two) -> None:
    """For each organisation, for the platform in `default`, and for the platform in `alpha`."""
    world = two.world
    for path in ("/destinations", "/keys", "/audit", "/incidents", "/notification-channels"):
        of_alpha = await world.call("GET", path, key=two.keys["alpha"])
        assert ALPHA.search(of_alpha.text), path
        as_platform = await world.call("GET", f"{path}?organisation_id=alpha", key=two.keys["platform"])
        listed = as_platform.json()["items"]
        if path == "/audit":
            listed = [entry | dict.fromkeys(LINKS) for entry in listed]
        assert listed == of_alpha.json()["items"], path
        for who in ("beta", "platform"):
            answer = await world.call("GET", path, key=two.keys[who])
            assert not ALPHA.search(answer.text), (path, who)
    assert (await world.call("GET", "/organisations", key=two.keys["beta"])).status_code == 403


@pytest.mark.campaign
async def test_the_owner_and_the_platform_see_it(two: Two) -> None:
    """Else the tests above would pass for an application that shows nothing."""
    for path, method in secured_routes():
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
        answer = await two.world.call("GET", path, key=two.keys["alpha"], status=200)
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
    found = await get(f"/event-search?q={quote('rejected by alpha')}")
    assert [item["event_id"] for item in found["items"]] == ["rejected by alpha"]
    assert [item["status"] for item in (await get("/event-search"))["items"]] == ["rejected"]
    assert (await get("/destinations"))["items"][0]["open_incidents"] == 1
    channels = (await get("/notification-channels"))["items"]
    assert [(item["name"], item["last_error"]) for item in channels] == [("ops-alpha", "timeout")]
    wanted = {"channels": ["ops-beta"]}
    await two.world.call("PUT", f"{destination}/notifications", wanted, key=two.keys["alpha"], status=422)
    kept = {"channels": ["ops-alpha"], "min_severity": "info"}
    await two.world.call("PUT", f"{destination}/notifications", kept, key=two.keys["alpha"], status=200)
    assert (await get(f"{destination}/notifications"))["channels"] == ["ops-alpha"]
    changed = {"alerting": {"backlog": {"minutes": 7}}}
    patched = await two.world.call("PATCH", destination, changed, key=two.keys["alpha"])
    assert patched.json()["alerting"]["backlog"]["minutes"] == 7, patched.text
    path = f"/incidents/{two.ids['incident_id']}/acknowledge"
    assert (await two.world.call("POST", path, {}, key=two.keys["alpha"])).status_code == 200


# The members of an audit row that count the rows of all organisations.
LINKS = ("sequence", "prev_hash", "hash")
# A number of a sequence in a response: `two` lets each sequence begin at such a number.
COUNTED = re.compile(r"(?<!\d)9[1-4]\d{7}(?!\d)")
# The form token of a session is random: about one in 200 has such a number among its digits.
FORM_TOKEN = re.compile(r'name="csrf" value="[0-9a-f]{64}"')


def counted(text: str) -> list[str]:
    """Return the numbers of sequences in a response, also those in base64."""
    text = FORM_TOKEN.sub("", text)
    found = COUNTED.findall(text)
    for word in re.findall(r"[A-Za-z0-9_-]{12,}", text):
        decoded = base64.urlsafe_b64decode(word[: len(word) // 4 * 4])
        found += COUNTED.findall(decoded.decode("latin-1"))
    return found


@pytest.mark.parametrize("two", ["row-level security"], indirect=True)
async def test_no_response_contains_a_number_that_all_organisations_share(two: Two) -> None:
    """Two of them, read at two times, would tell how much all others did meanwhile."""
    assert counted('{"id": "910000001"}'), "a plain number"
    assert counted(base64.urlsafe_b64encode(b"924000001 7").decode().rstrip("=")), "a number in a cursor"
    assert not counted(f'<input name="csrf" value="{"a911714446":b<64}">'), "a form token"
    mappings = f"/destinations/{two.ids['destination_id']}/mappings"
    for path, body in (("/destinations", {**DESTINATION, "name": "Second"}), (mappings, MAPPING)):
        await two.world.call("POST", path, body, key=two.keys["alpha"], status=201)
    found: list[str] = []
    cursors = 0
    for path, method in secured_routes():
        if method != "GET":
            continue
        queries = ["", *(["format=csv"] if path in EXPORTS else []), *(["limit=1"] if path in LISTS else [])]
        texts = [(await two.send("alpha", path, method, two.ids, query)).text for query in queries]
        cursors += "cur_" in "".join(texts)
        found += [f"{path}: {number}" for text in texts for number in counted(text)]
    assert found == []
    assert cursors >= 4
    entries = (await two.world.call("GET", "/audit", key=two.keys["alpha"])).json()["items"]
    assert {entry[name] for entry in entries for name in LINKS} == {None}
    of_platform = (await two.world.call("GET", "/audit?organisation_id=alpha")).json()["items"]
    assert [entry["id"] for entry in of_platform[: len(entries)]] == [entry["id"] for entry in entries]
    assert all(entry[name] for entry in of_platform for name in LINKS)


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
        assert "alpha" not in answer.text.replace("ISO 3166-1 alpha-2", ""), path


async def _contents(world: ApiWorld) -> dict[str, Any]:
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


# Tables of the pipeline with row-level security, each with a row for the number of a destination.
PIPELINE = read_sql(__file__)
# Rows of an organisation in tables that do not name a destination.
OURS = {
    "schema_samples": "mapping IN (SELECT number FROM mappings WHERE organisation_id = 'beta')",
    "mapped_duplicates": "batch IN (SELECT s.batch FROM batch_states s JOIN destinations d "
    "ON d.number = s.destination WHERE d.organisation_id = 'beta')",
    "callbacks": "id IN (SELECT n.callback FROM callback_events n JOIN destinations d "
    "ON d.number = n.destination WHERE d.organisation_id = 'beta')",
    "lanes": "id IN (SELECT lane FROM destinations WHERE organisation_id = 'beta')",
}
# Without it, each with the reason (docs/threat-model.md).
WITHOUT_POLICY = {
    "ledger": "keyed digests, which outlive the batches that name their destinations",
    "ledger_generations": "of the whole service",
    "logout_tokens": "digests of ids that the sign-in provider chose",
    **dict.fromkeys(
        (
            "alembic_version",
            "secrets",
            "encryption_keys",
            "readiness",
            "balance_checks",
            "last_base_backup",
            "commit_probes",
            "job_leases",
        ),
        "of the whole service",
    ),
}


@pytest.mark.parametrize("two", ["row-level security"], indirect=True)
async def test_row_level_security_holds_without_any_where(two: Two, owner: asyncpg.Connection) -> None:
    """In every table: nothing is read, changed, deleted or added for another organisation.

    And without the policy of any one table, this is seen.
    """
    await owner.execute("SELECT create_day_partitions(current_date)")
    numbers = await _with_pipeline_rows(owner)
    async with two.world.context.pool.acquire() as c:
        tables = await _owned(c)
        assert len(tables) > 12
        assert await _leaks(c, tables) == set()
        own = "SELECT EXISTS (SELECT FROM {} WHERE organisation_id = 'alpha')"
        filled = [each for each in tables if await owner.fetchval(own.format(each))]
        assert len(filled) > 8
        for table in [*filled, *PIPELINE]:
            await owner.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
            assert await _leaks(c, tables) >= {table}
            await owner.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        async with c.transaction():
            await c.execute("SELECT set_config($1, 'beta', true)", SETTING)
            assert await c.execute("UPDATE destinations SET name = name") == "UPDATE 1"
            assert await c.execute("UPDATE batch_states SET reason = 'r'") == "UPDATE 1"
            assert await c.execute("DELETE FROM counts") == "DELETE 1"
            assert await c.fetchval("SELECT count(*) FROM organisations") == 1
            names = "INSERT INTO event_names (organisation_id, advertiser_id, event_type, name) "
            for statement, *values in (
                (names + "VALUES ('alpha', '1', 'OTHER', 'n')",),
                *(
                    (statement, numbers["alpha"])
                    for table, statement in PIPELINE.items()
                    if table != "schema_samples"  # here it finds no mapping to add a sample of
                ),
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with c.transaction():
                        await c.execute(statement, *values)


async def _with_pipeline_rows(c: Any) -> dict[str, int]:
    """Add a row of each organisation to each table; return the numbers of their destinations."""
    numbers: dict[str, int] = {}
    for organisation in ("alpha", "beta"):
        number = await c.fetchval("SELECT number FROM destinations WHERE organisation_id = $1", organisation)
        numbers[organisation] = number
        for statement in PIPELINE.values():
            await c.execute(statement, number)
    return numbers


async def _leaks(c: Any, tables: list[str]) -> set[str]:
    """Return the tables that show a row of another organisation, or any row without an organisation."""
    leaks = set()
    for table in [*tables, *PIPELINE]:
        mine = "organisation_id = 'beta'"
        if table in PIPELINE:
            mine = OURS.get(
                table, "destination IN (SELECT number FROM destinations WHERE organisation_id = 'beta')"
            )
        async with c.transaction():
            own = await c.fetchval(f"SELECT count(*) FROM {table} WHERE {mine}")
            for organisation, visible in (("beta", own), ("", 0)):
                await c.execute("SELECT set_config($1, $2, true)", SETTING, organisation)
                if await c.fetchval(f"SELECT count(*) FROM {table}") != visible:
                    leaks.add(table)
    return leaks


async def test_every_table_has_row_level_security_or_a_reason(two: Two) -> None:
    async with two.world.context.pool.acquire() as c:
        rows = await c.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition AND NOT relrowsecurity"
        )
    assert {row["relname"] for row in rows} == set(WITHOUT_POLICY)

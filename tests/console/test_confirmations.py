"""Every action of the console says what it did, with a link onward. The routes come from the router."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from app.console.confirmations import LINKS, SENTENCES
from app.domain.notifications import read_webhooks
from app.processes.application import create_application
from tests.api.test_backtests import WITH, saw
from tests.api.world import BOOTSTRAP, PUBLIC, ApiWorld, make_world
from tests.console.test_sessions import COOKIE, WRITES, csrf, new_browser, sign_in

INCIDENT = "inc_0a1b2c3d4e5f6a7b8c9d"
D = "/console/destinations/{destination_id}"
M = D + "/mappings/{mapping_id}"
# Forms that change nothing, or that end the session: they show their result on the page that they return.
NO_ACTION = {
    "/console/sign-out",
    "/console/hash-tester",
    "/console/audit/verify",
    "/console/privacy/find",
    M + "/preview",
    D + "/preflight/ask",
    D + "/replay/selection",
    D + "/match-quality/explain",
    D + "/match-quality/hash",
    D + "/match-quality/compare",
}


@dataclass
class Case:
    """An instance with one of everything, and a signed-in browser."""

    world: ApiWorld
    ids: dict[str, str]
    token: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    async def post(self, path: str, **data: Any) -> httpx.Response:
        """Send a form of the console."""
        filled = re.sub(r"{(\w+)}", lambda found: self.ids[found[1]], path)
        return await self.world.client.post(filled, data={"csrf": self.token, **data})

    async def get(self, path: str) -> str:
        """Return a page."""
        answer = await self.world.client.get(path)
        assert answer.status_code == 200, answer.text[:1000]
        return answer.text

    async def version(self, of: str) -> str:
        """Return the version of a destination or mapping."""
        path = "/destinations/{destination_id}" + ("/mappings/{mapping_id}" if of == "mapping" else "")
        filled = re.sub(r"{(\w+)}", lambda found: self.ids[found[1]], path)
        return str((await self.world.call("GET", filled)).json()["version"])


@pytest.fixture
async def case(engine: AsyncEngine, database_url: str) -> AsyncIterator[Case]:
    """A connected destination with a published mapping, an incident, a channel, a key, an organisation."""
    world = make_world(engine)
    world.now = datetime.now(UTC)  # a maintenance window ends after the database's time
    channels = read_webhooks("ops=https://hooks.test/secret")
    async with asyncpg.create_pool(database_url.replace("+asyncpg", ""), min_size=1) as pool:
        world.context = replace(
            world.context,
            pool=pool,
            channels=channels,
            registry=CollectorRegistry(),
            callback_configured=True,
        )
        world.client = new_browser(httpx.ASGITransport(create_application(world.context)))
        made = await world.create_destination()
        await world.connect(made)
        mapping = await world.publish_mapping(made["id"])
        await world.sql(
            "INSERT INTO incidents (organisation_id, id, destination, kind, severity, state, opened_at, "
            "last_seen_at, summary) VALUES ('default', :id, :destination, 'backlog', 'warning', 'open', "
            "now(), now(), 's.')",
            id=INCIDENT,
            destination=made["id"],
        )
        key = (await world.call("POST", "/keys", {"name": "k", "scopes": ["events:read"]})).json()["id"]
        await world.call("POST", "/organisations", {"id": "acme", "name": "Acme"})
        await sign_in(world)
        ids = {
            "destination_id": made["id"],
            "mapping_id": mapping["id"],
            "incident_id": INCIDENT,
            "key_id": key,
            "id": "acme",
            "advertiser_id": made["advertiser_id"],
            "event_type": "ADD_TO_SHOPPING_CART",
        }
        yield Case(world, ids, await csrf(world))
        await world.client.aclose()


Act = Callable[[Case], Awaitable[httpx.Response]]


async def end_another_session(case: Case) -> httpx.Response:
    """End the session of another browser."""
    async with new_browser(case.world.client._transport) as other:
        await other.post("/console/sign-in", data={"key": BOOTSTRAP})
        case.ids["session_id"] = (await case.world.call("GET", "/sessions")).json()["items"][-1]["id"]
        return await case.post("/console/sessions/{session_id}/end")


async def add_match_key(case: Case) -> httpx.Response:
    """Recent events have a phone number that the mapping does not read."""
    await saw(case.world, case.ids["mapping_id"], (WITH, 6))
    row = {"mapping": case.ids["mapping_id"], "field": "phone", "path": "user.phone"}
    address = f"/console/destinations/{case.ids['destination_id']}/match-quality/add"
    return await case.world.client.post(address, data={"csrf": case.token, **row})


async def start_shadow(case: Case) -> httpx.Response:
    mapping = case.ids["mapping_id"]
    return await case.post(D + "/match-quality/shadow", mapping=mapping, percent="10", minutes="5")


async def resume(case: Case) -> httpx.Response:
    await case.post(D + "/pause")
    return await case.post(D + "/resume")


async def connect(case: Case) -> httpx.Response:
    """The button leads to Amazon. The page after the return from Amazon confirms the action."""
    state = re.search(r"state=([^&]+)", (await case.post(D + "/connect")).headers["location"])
    assert state is not None
    case.world.grant("code-2")
    return await case.world.client.get(
        "/oauth/amazon/callback",
        params={"state": state[1], "code": "code-2"},
        headers={"Accept": "text/html"},
    )


async def change_settings(case: Case) -> httpx.Response:
    fields = {"name": "Renamed", "currency": "USD", "identity_profile": "amazon", "burst": "4"}
    version = await case.version("destination")
    return await case.post(D + "/settings", **fields, requests_per_second="4", version=version)


async def follow_currency(case: Case) -> httpx.Response:
    await case.world.sql("UPDATE amazon_accounts SET currency = 'CAD'")
    return await case.post(D + "/currency", version=await case.version("destination"), currency="CAD")


async def draft(case: Case, **changes: Any) -> None:
    path = f"/destinations/{case.ids['destination_id']}/mappings/{case.ids['mapping_id']}"
    await case.world.call("PATCH", path, changes, status=200)


async def save_draft(case: Case) -> httpx.Response:
    page = f"/console/destinations/{case.ids['destination_id']}/mappings/{case.ids['mapping_id']}"
    html = (await case.world.client.get(page)).text
    fields = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', html))
    for name, options in re.findall(r'<select[^>]* name="([^"]+)"[^>]*>(.*?)</select>', html, re.DOTALL):
        chosen = re.search(r'value="([^"]*)"[^>]* selected', options)
        fields[name] = chosen[1] if chosen else ""
    fields.pop("csrf", None)
    return await case.post(
        M, **{**fields, "consent": "granted", "name": "Other", "version": await case.version("mapping")}
    )


async def publish(case: Case) -> httpx.Response:
    await draft(case, name="Renamed")
    return await case.post(M + "/publish", version=await case.version("mapping"), name="Renamed")


async def roll_back(case: Case) -> httpx.Response:
    await publish(case)
    return await case.post(M + "/rollback", version=await case.version("mapping"), to="1")


async def take_name(case: Case) -> httpx.Response:
    await draft(case, event_name="Another")
    return await case.post(M + "/take-name", name="Added to cart", version=await case.version("mapping"))


async def rename_pin(case: Case) -> httpx.Response:
    await draft(case, event_name="Another")
    form = {"event_type": "ADD_TO_SHOPPING_CART", "name": "Another"}
    return await case.post(M + "/rename-pin", **form, version=await case.version("mapping"))


async def copy_mapping(case: Case) -> httpx.Response:
    return await case.post(M + "/copy", to=case.ids["destination_id"], name="Copy")


# How each action is done: by its form with these fields, or by a function.
ACTS: dict[str, Act | dict[str, str]] = {
    "/console/destinations/new": {
        "name": "Second", "advertiser_id": "1234", "region": "NA", "currency": "USD",
        "identity_profile": "amazon",
    },
    D + "/connect": connect,
    D + "/disconnect": {},
    D + "/pause": {},
    D + "/resume": resume,
    D + "/retry": {},
    D + "/delete": {"name": "Acme US"},
    D + "/currency": follow_currency,
    D + "/settings": change_settings,
    D + "/notifications": {"all_channels": "yes", "all_kinds": "yes", "min_severity": "info"},
    D + "/notifications/thresholds": {"backlog.minutes": "30"},
    D + "/notifications/maintenance": {"hours": "2"},
    D + "/notifications/callback": {"enabled": "yes"},
    D + "/replay": {"status": "dead"},
    D + "/dismiss": {"status": "dead"},
    D + "/journey-key": {},
    D + "/match-quality/add": add_match_key,
    D + "/match-quality/shadow": start_shadow,
    M + "/copy": copy_mapping,
    D + "/mappings/new": {"name": "Purchases", "action": "send_events"},
    M: save_draft,
    M + "/delete": {},
    M + "/publish": publish,
    M + "/rollback": roll_back,
    M + "/take-name": take_name,
    M + "/rename-pin": rename_pin,
    "/console/event-names/{advertiser_id}/{event_type}": {"to": "Cart"},
    "/console/incidents/acknowledge": {"incident": INCIDENT},
    "/console/incidents/{incident_id}/acknowledge": {"note": "seen"},
    "/console/incidents/{incident_id}/mute": {"hours": "8"},
    "/console/privacy/erase": {"kind": "email", "value": "ada@example.com"},
    "/console/keys": {"name": "engine", "purpose": "journey"},
    "/console/sessions/{session_id}/end": end_another_session,
    "/console/keys/{key_id}/revoke": {},
    "/console/organisations": {"id": "other", "name": "Other"},
    "/console/organisations/{id}": {"name": "Acme Inc", "destinations": "5"},
    "/console/organisations/{id}/suspend": {},
    "/console/organisations/{id}/resume": {},
    "/console/organisations/{id}/switch": {},
}  # fmt: skip
# What the sentence of an action is, where another one could be taken for it.
SAID = {
    "/console/destinations/new": "Destination created.",
    D + "/pause": "Delivery paused.",
    D + "/resume": "Delivery resumed.",
    D + "/delete": "Destination deleted.",
    D + "/currency": "Currency changed",
    D + "/replay": "0 events queued again",
    D + "/mappings/new": "Mapping created.",
    M: "Draft saved.",
    M + "/delete": "Mapping deleted.",
    M + "/publish": "Version 2 published.",
    M + "/rollback": "Rolled back to version 1.",
}
# The test event needs the pipeline: tests/console/test_walks.py sends one in a browser.
ELSEWHERE = {D + "/test", D + "/match-quality/test"}  # the latter: tests/console/test_match_quality_page.py


def test_no_action_escapes_the_table() -> None:
    """A new form needs a row here with its effect, or that it changes nothing."""
    assert {path for path, _, _ in WRITES} == set(ACTS) | NO_ACTION | ELSEWHERE


def test_every_sentence_leads_somewhere() -> None:
    """A confirmation has a link, unless it stands on the page where one continues."""
    elsewhere = {name for name in SENTENCES if not name.startswith("organisation_")}
    assert elsewhere <= set(LINKS) <= set(SENTENCES)


@pytest.mark.parametrize("path", sorted(ACTS))
async def test_an_action_says_what_it_did(case: Case, path: str) -> None:
    """On the page that follows, once; with a link that works."""
    act = ACTS[path]
    answer = await (case.post(path, **act) if isinstance(act, dict) else act(case))
    following = place = ""
    if answer.status_code == 303:
        done = re.search(r"console_done=(\w+)", answer.headers["set-cookie"])
        assert done is not None, f"{path} says nothing"
        place = LINKS.get(done[1], ("", ""))[1].rpartition("}")[2]
        following = answer.headers["location"].removeprefix(PUBLIC)
        answer = await case.world.client.get(following)
        again = await case.world.client.get(following)
        assert not re.search(r'<p class="notice good" role="status">', again.text)
    assert answer.status_code == 200, answer.text[:2000]
    notice = re.search(r'<(p|section|div) class="notice good" role="status".*?</\1>', answer.text, re.DOTALL)
    assert notice is not None, f"{path} says nothing"
    assert SAID.get(path, "") in notice[0]
    if (link := re.search(r'href="(([^"#]+)[^"]*)', notice[0])) is not None:
        assert (await case.world.client.get(link[2])).status_code == 200, link[2]
        assert link[1] != following
    else:
        # The secret is on this page only, or the link would lead to this page.
        assert path in ("/console/keys", D + "/journey-key") or following.endswith(place)


async def test_a_forged_cookie_says_nothing_else(case: Case) -> None:
    """Only the fixed sentences, with a number."""
    words = ("<b>Send your key to Mallory</b>", "nonsense.1", "published", "published.x", "replayed.<b>")
    for forged in (*words, "published.1234567890", "replayed.-1"):
        case.world.client.cookies.set("console_done", forged, path="/console")
        page = await case.world.client.get("/console/settings")
        assert page.status_code == 200
        assert "notice good" not in page.text
    assert COOKIE in case.world.client.cookies


async def test_an_organisation_is_chosen_in_the_session_alone(case: Case) -> None:
    """Its name is on every page; a key of one organisation cannot choose another."""
    await case.post("/console/organisations/{id}/switch")
    page = await case.world.client.get("/console/settings")
    assert '<span class="unseen">Organisation: </span><bdi>Acme</bdi>' in page.text
    assert "You act for this organisation." in page.text
    assert case.ids["destination_id"] not in (await case.world.client.get("/console")).text
    assert (
        await case.world.client.get(f"/console/destinations/{case.ids['destination_id']}")
    ).status_code == 404
    await sign_in(case.world, await case.world.key("destinations:read", "events:read", "keys:admin"))
    case.token = await csrf(case.world)
    assert (await case.post("/console/organisations/{id}/switch")).status_code == 403
    page = await case.world.client.get("/console/settings")
    assert '<span class="unseen">Organisation: </span><bdi>Default</bdi>' in page.text
    assert "You act for this organisation." not in page.text
    assert "Acme" not in page.text

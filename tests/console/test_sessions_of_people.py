"""Sign-ins and sessions of people against a fake provider: audit, freshness, roles, and how sessions end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.access.people import PersonClaims
from app.console.access.sign_in import CALLBACK
from app.console.visits import BACK_CHANNEL
from app.oidc_client import OidcClient
from tests.api.world import BOOTSTRAP, PUBLIC, ApiWorld, make_world
from tests.console.identity_provider import ISSUER, Provider, from_now
from tests.console.test_sessions import COOKIE, new_browser, submit

GROUPS = (("admin", "leads"), ("viewer", "all"), ("platform", "ops"), ("privacy", "legal"))


class Signing:
    """The application with a provider. Each `Signing.browser()` is a browser of its own."""

    def __init__(self, world: ApiWorld) -> None:
        self.world, self.provider = world, Provider(claims={"groups": ["leads"], "org": "default"})
        world.now = datetime.now(UTC)
        people = OidcClient(
            ISSUER,
            "console",
            "secret",
            PUBLIC + CALLBACK,
            transport=httpx.MockTransport(self.provider),
            monotonic=lambda: world.elapsed,
        )
        world.context = world.app.state.context = replace(
            world.app.state.context, people=people, people_claims=PersonClaims("groups", GROUPS, "org")
        )
        self.world.client = self.browser()

    def browser(self) -> httpx.AsyncClient:
        return new_browser(self.world.client._transport)

    async def start(self, browser: httpx.AsyncClient | None = None, **query: str) -> str:
        """Start a sign-in and return its state; the provider knows its nonce."""
        answer = await (browser or self.world.client).get("/console/oidc/start", params=query)
        asked = parse_qs(urlsplit(answer.headers["location"]).query)
        self.provider.nonce = asked["nonce"][0]
        return asked["state"][0]

    async def sign_in(
        self, browser: httpx.AsyncClient | None = None, query: dict[str, str] | None = None, **claims: Any
    ) -> httpx.Response:
        state = await self.start(browser, **(query or {}))
        self.provider.claims |= claims
        return await (browser or self.world.client).get(CALLBACK, params={"state": state, "code": "c"})

    async def is_signed_in(self, browser: httpx.AsyncClient | None = None) -> bool:
        return (await (browser or self.world.client).get("/console/settings")).status_code == 200

    async def audit(self, action: str) -> list[tuple[str, Any]]:
        rows = await self.world.sql(
            "SELECT actor, after FROM audit WHERE action = :action ORDER BY id", action=action
        )
        return [(row.actor, row.after) for row in rows]

    async def log_out(self, token: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Send a logout token as the provider does: without cookie and without Origin."""
        transport = self.world.client._transport
        async with httpx.AsyncClient(transport=transport, base_url=PUBLIC) as provider:
            return await provider.post(BACK_CHANNEL, data={"logout_token": token}, headers=headers)


@pytest.fixture
async def signing(engine: AsyncEngine) -> AsyncIterator[Signing]:
    made = Signing(make_world(engine))
    yield made
    await made.world.client.aclose()


async def test_each_sign_in_is_in_the_audit(signing: Signing) -> None:
    """With its roles; the end of the session too."""
    assert (await signing.sign_in()).status_code == 303
    await submit(signing.world, "/console/sign-out")
    assert await signing.audit("sign_in") == [("Ada (oidc:ada)", {"roles": ["admin"]})]
    ended = {"reason": "signed_out", "sub": "ada", "name": "Ada"}
    assert await signing.audit("session_ended") == [("Ada (oidc:ada)", ended)]


@pytest.mark.parametrize(
    ("claims", "changes", "reason"),
    [
        ({"groups": []}, {}, "no_role"),
        ({"org": "nowhere"}, {}, "no_organisation"),
        ({"org": "a\0b"}, {}, "no_organisation"),
        ({"sub": "a\0b"}, {}, "invalid_claim_sub"),
        ({"aud": "other"}, {}, "invalid_claim_aud"),
        ({"nonce": "other"}, {}, "invalid_claim_nonce"),
        ({"exp": 1}, {}, "expired_token_exp"),
        ({}, {"token": "e30.e30.e30"}, "missing_algorithm"),
        ({}, {"token": "not a token"}, "decode_error"),
        ({}, {"header": {"typ": "at+jwt"}}, "invalid_claim_typ"),
        ({}, {"away": True}, "provider_unavailable"),
    ],
)
async def test_each_refused_sign_in_is_in_the_audit(
    signing: Signing, claims: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    """With its reason; the name of the person only if the provider confirmed it."""
    state = await signing.start()
    signing.provider.claims |= claims
    for name, value in changes.items():
        setattr(signing.provider, name, value)
    answer = await signing.world.client.get(CALLBACK, params={"state": state, "code": "c"})
    assert answer.status_code in (403, 503), answer.text
    if reason in ("no_role", "no_organisation"):
        assert f"You have {reason.replace('_', ' ')} here" in answer.text
    ((actor, after),) = await signing.audit("sign_in_refused")
    actor_of = "Ada (oidc:ada)" if reason.startswith("no_") else "unknown"
    assert (actor, after) == (actor_of, {"reason": reason})
    assert not await signing.is_signed_in()


@pytest.mark.parametrize("state", ["é", "\xff", "", "x" * 400, "other"])
async def test_a_wrong_state_is_refused_and_recorded(signing: Signing, state: str) -> None:
    """And a state works once."""
    right = await signing.start()
    answer = await signing.world.client.get(CALLBACK, params={"state": state, "code": "c"})
    assert answer.status_code == 400
    query = {"state": right, "code": "c"}
    assert (await signing.world.client.get(CALLBACK, params=query)).status_code == 303
    assert (await signing.world.client.get(CALLBACK, params=query)).status_code == 400
    assert await signing.audit("sign_in_refused") == [("unknown", {"reason": "state_unknown"})] * 2
    assert await signing.is_signed_in()


async def test_a_flood_of_refusals_does_not_fill_the_audit(signing: Signing) -> None:
    """60 a minute without an identity; the next minute counts again."""
    for _ in range(70):
        await signing.world.client.get(CALLBACK)
    assert len(await signing.audit("sign_in_refused")) == 60
    await signing.sign_in(groups=[])
    assert len(await signing.audit("sign_in_refused")) == 61
    signing.world.elapsed += 60
    await signing.world.client.get(CALLBACK)
    assert len(await signing.audit("sign_in_refused")) == 62


async def test_a_key_signs_in_and_is_refused_in_the_audit(signing: Signing) -> None:
    """Never with the key itself."""
    for key in ("ack_wrong", BOOTSTRAP, await signing.world.key("events:write")):
        await signing.world.client.post("/console/sign-in", data={"key": key})
    assert await signing.audit("sign_in") == [("bootstrap", {"roles": ["admin"]})]
    (wrong, weak) = await signing.audit("sign_in_refused")
    assert wrong == ("unknown", {"reason": "unknown_key"})
    assert weak[0].startswith("key_")
    assert weak[1] == {"reason": "role"}


@pytest.mark.parametrize(
    ("claims", "query", "status"),
    [
        ({"auth_time": from_now(0)}, {}, 422),
        ({"auth_time": from_now(0)}, {"fresh": "true"}, 422),
        ({"auth_time": from_now(-3600)}, {}, 403),
        ({}, {}, 403),
    ],
    ids=["just signed in", "asked to sign in again", "an hour ago", "the provider does not say"],
)
async def test_a_protected_form_needs_a_recent_sign_in_at_the_provider(
    signing: Signing, claims: dict[str, Any], query: dict[str, str], status: int
) -> None:
    """A new session at this service is not a new sign-in. 422: the form was read."""
    await signing.sign_in(query=query, **claims)
    assert (await submit(signing.world, "/console/keys")).status_code == status


@pytest.mark.parametrize(
    "refusal", [{"groups": []}, {"org": "nowhere"}, {"aud": "other"}], ids=["role", "organisation", "token"]
)
async def test_a_refused_renewal_ends_the_old_session(signing: Signing, refusal: dict[str, Any]) -> None:
    """Of this browser; if the provider named the person, of its other browsers too."""
    other, stranger = signing.browser(), signing.browser()
    for browser in (other, signing.world.client):
        await signing.sign_in(browser)
    await signing.sign_in(stranger, sub="grace")
    await signing.sign_in(sub="ada", **refusal)
    assert not await signing.is_signed_in()
    assert await signing.is_signed_in(other) is ("aud" in refusal)
    assert await signing.is_signed_in(stranger)
    assert {after["reason"] for _, after in await signing.audit("session_ended")} == {"sign_in_refused"}


async def test_a_cancelled_renewal_ends_the_old_session_and_an_outage_does_not(signing: Signing) -> None:
    """The provider also says `access_denied` when it withdrew the access."""
    await signing.sign_in()
    state = await signing.start()
    signing.provider.away = True
    await signing.world.client.get(CALLBACK, params={"state": state, "code": "c"})
    assert await signing.is_signed_in()
    signing.provider.away = False
    state = await signing.start()
    await signing.world.client.get(CALLBACK, params={"state": state, "error": "access_denied"})
    assert not await signing.is_signed_in()


async def test_an_unavailable_provider_has_a_page(signing: Signing) -> None:
    signing.provider.away = True
    answer = await signing.world.client.get("/console/oidc/start")
    assert answer.status_code == 503
    assert "The sign-in service does not respond" in answer.text


async def test_a_person_is_not_called_a_key(signing: Signing) -> None:
    """Nor asked to stop using the bootstrap key. Where keys do not sign in, none is asked for."""
    client, state = signing.world.client, signing.world.app.state
    await signing.sign_in(auth_time=from_now(0))
    assert "bootstrap key" not in (await client.get("/console/keys")).text
    assert "<dt>Person</dt>" in (await client.get("/console/settings")).text
    state.context = replace(state.context, key_sign_in=False)
    assert 'name="key"' not in (await signing.browser().get("/console/sign-in")).text
    assert (await client.post("/console/sign-in", data={"key": BOOTSTRAP})).status_code == 403


async def test_fewer_roles_end_the_sessions_with_more(signing: Signing) -> None:
    """A session with the same roles in another browser stays."""
    first, second = signing.browser(), signing.browser()
    await signing.sign_in(first, groups=["leads", "all"])
    await signing.sign_in(second, groups=["all"])
    assert not await signing.is_signed_in(first)
    await signing.sign_in(groups=["all"])
    assert await signing.is_signed_in(second)


async def test_a_person_has_the_scopes_of_all_roles(signing: Signing) -> None:
    """Platform and admin: switch to an organisation and see its keys. Platform alone is offered no switch."""
    await signing.world.call("POST", "/organisations", {"id": "acme", "name": "Acme"})
    await signing.sign_in(groups=["leads", "ops"], auth_time=from_now(0))
    assert "/acme/switch" in (await signing.world.client.get("/console/organisations")).text
    assert (await submit(signing.world, "/console/organisations/acme/switch")).status_code == 303
    for page in ("keys", "audit", "organisations", "sessions"):
        assert (await signing.world.client.get(f"/console/{page}")).status_code == 200, page
    rows = await signing.world.sql("SELECT * FROM audit WHERE action = 'organisation_switched'")
    assert [(row.actor, row.organisation_id, row.subject) for row in rows] == [
        ("Ada (oidc:ada)", "acme", "acme")
    ]
    await signing.sign_in(groups=["ops"])
    assert "/acme/switch" not in (await signing.world.client.get("/console/organisations")).text


@pytest.mark.parametrize("path", ["/console/live", "/console/tail/live"])
async def test_an_open_page_does_not_keep_a_session_alive(signing: Signing, path: str) -> None:
    """Neither a stream nor its opening counts as use; a page does."""
    await signing.sign_in()
    await signing.world.sql(
        "UPDATE console_sessions SET seen_at = now() - interval '29 minutes', "
        "created_at = now() - interval '1 hour'"
    )
    seen = "SELECT seen_at > now() - interval '1 minute' AS recent FROM console_sessions"
    await signing.world.client.head(path)
    await signing.world.client.get("/console/settings", headers={"X-Polled": "true"})
    assert [row.recent for row in await signing.world.sql(seen)] == [False]
    await signing.world.client.get("/console/settings")
    assert [row.recent for row in await signing.world.sql(seen)] == [True]


async def test_sessions_are_listed_and_ended_over_the_api(signing: Signing) -> None:
    """By a key of the organisation with keys:admin; another organisation's key finds nothing."""
    world = signing.world
    await signing.sign_in(groups=["leads", "all"])
    key, weak = await world.key("keys:admin"), await world.key("events:read")
    await world.call("POST", "/organisations", {"id": "acme", "name": "Acme"})
    body = {"name": "k", "scopes": ["keys:admin"]}
    foreign = (await world.call("POST", "/keys?organisation_id=acme", body)).json()["key"]
    (item,) = (await world.call("GET", "/sessions", key=key)).json()["items"]
    assert set(item) == {
        "id", "person", "roles", "organisation_id", "started_at", "last_seen_at", "current"
    }  # fmt: skip
    assert (item["person"], item["roles"]) == ({"sub": "ada", "name": "Ada"}, ["viewer", "admin"])
    assert (item["organisation_id"], item["current"]) == ("default", False)
    path = f"/sessions/{item['id']}"
    assert (await world.call("GET", "/sessions", key=foreign)).json()["items"] == []
    assert (await world.call("DELETE", path, key=foreign)).status_code == 404
    assert (await world.call("DELETE", path, key=weak)).status_code == 403
    assert (await world.call("DELETE", "/sessions/ses_unknown", key=key)).status_code == 404
    assert await signing.is_signed_in()
    assert (await world.call("DELETE", path, key=key)).json()["id"] == item["id"]
    assert not await signing.is_signed_in()
    assert (await world.call("DELETE", path, key=key)).status_code == 404
    ((actor, after),) = await signing.audit("session_ended")
    assert actor.startswith("key_")
    assert after == {"reason": "ended_by_admin", "sub": "ada", "name": "Ada"}


async def test_sessions_of_platform_keys_are_listed_for_platform_keys_only(signing: Signing) -> None:
    """And a key that is limited to destinations sees no session, also not of a person."""
    world = signing.world
    await signing.sign_in(signing.browser())
    await world.client.post("/console/sign-in", data={"key": BOOTSTRAP})
    destination = (await world.create_destination())["id"]
    key = await world.key("keys:admin")
    limited = await world.key("keys:admin", destination_ids=[destination])
    person, own = (await world.call("GET", "/sessions")).json()["items"]
    assert (own["person"]["sub"], own["roles"]) == ("bootstrap", ["admin"])
    for each, visible in ((key, [person]), (limited, [])):
        assert (await world.call("GET", "/sessions", key=each)).json()["items"] == visible
        assert (await world.call("DELETE", f"/sessions/{own['id']}", key=each)).status_code == 404
    assert (await world.call("DELETE", f"/sessions/{person['id']}", key=limited)).status_code == 404


async def test_an_admin_ends_a_session_in_the_console(signing: Signing) -> None:
    """The page marks the admin's own session."""
    other = signing.browser()
    await signing.sign_in(other, sub="grace", name="Grace")
    await signing.sign_in(sub="ada", name="Ada", auth_time=from_now(0))
    page = (await signing.world.client.get("/console/sessions")).text
    assert page.count("/end") == 1
    assert "current" in page
    (row,) = await signing.world.sql("SELECT id FROM console_sessions WHERE subject = 'grace'")
    assert (await submit(signing.world, f"/console/sessions/{row.id}/end")).status_code == 303
    assert not await signing.is_signed_in(other)
    assert await signing.is_signed_in()


async def test_the_provider_signs_a_person_out(signing: Signing) -> None:
    """In every browser; a logout token works once, also if it arrives several times at once."""
    other = signing.browser()
    await signing.sign_in(other, sub="grace")
    await signing.sign_in(sub="ada")
    token = signing.provider.logout_token(sub="ada", nonce=None)
    answers = await asyncio.gather(*(signing.log_out(token) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [204, 400, 400, 400]
    assert answers[0].headers["cache-control"] == "no-store"
    assert not await signing.is_signed_in()
    assert await signing.is_signed_in(other)
    ended = {"reason": "signed_out_at_provider", "sub": "ada", "name": "Ada"}
    assert await signing.audit("session_ended") == [("identity provider", ended)]
    assert (await signing.log_out(token)).json() == {
        "error": "invalid_request",
        "error_description": "replayed_jti",
        "detail": "No session was ended: replayed_jti.",
        "fields": [],
    }


async def test_the_provider_signs_one_session_out(signing: Signing) -> None:
    """By its `sid`. A session without a `sid` ends with its person."""
    browsers = {name: signing.browser() for name in ("s1", "s2", "none")}
    for name, browser in browsers.items():
        await signing.sign_in(browser, sid=None if name == "none" else name)
    assert (await signing.log_out(signing.provider.logout_token(sub=None, sid="s1"))).status_code == 204
    assert [await signing.is_signed_in(browser) for browser in browsers.values()] == [False, True, True]
    token = signing.provider.logout_token(sid="s2", jti="jti-2")
    assert (await signing.log_out(token)).status_code == 204
    assert not any([await signing.is_signed_in(browser) for browser in browsers.values()])


async def test_a_provider_may_name_a_charset_of_an_encoded_form(signing: Signing) -> None:
    """Some do, by default. Every encoded form is ASCII."""
    await signing.sign_in(sub="ada")
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=ISO-8859-1"}
    answer = await signing.log_out(signing.provider.logout_token(sub="ada"), headers)
    assert answer.status_code == 204
    assert not await signing.is_signed_in()


async def test_a_logout_token_that_cannot_be_checked_is_sent_again(signing: Signing) -> None:
    """The provider's keys are not available: 503 with the time to wait."""
    token = signing.provider.logout_token(sub="ada")
    signing.provider.away = True
    answer = await signing.log_out(token)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
    assert answer.json()["detail"] == "No session was ended: provider_unavailable."


async def test_a_wrong_logout_token_ends_nothing(signing: Signing) -> None:
    """400 with the reason, which is in the audit."""
    await signing.sign_in()
    for claims in ({"aud": "x"}, {"nonce": "n"}, {"events": None}, {"iat": 1}, {"exp": 1}):
        answer = await signing.log_out(signing.provider.logout_token(**claims))
        assert answer.status_code == 400, claims
    for text in ("", "a.b.c", "é", "e30.e30."):
        assert (await signing.log_out(text)).status_code == 400
    assert await signing.is_signed_in()
    reasons = [after["reason"] for _, after in await signing.audit("sign_in_refused")]
    assert len(reasons) == 9
    assert all(reason.startswith("logout_") for reason in reasons)


async def test_a_session_of_a_key_acts_in_the_organisation_of_the_key(signing: Signing) -> None:
    """Also a session that the previous release began, without the organisation."""
    world = signing.world
    await world.call("POST", "/organisations", {"id": "acme", "name": "Acme"})
    body = {"name": "k of acme", "scopes": ["keys:admin", "destinations:read", "events:read"]}
    key = (await world.call("POST", "/keys?organisation_id=acme", body)).json()["key"]
    await world.client.post("/console/sign-in", data={"key": key})
    (item,) = (await world.call("GET", "/sessions", key=key)).json()["items"]
    assert (item["person"]["name"], item["organisation_id"]) == ("k of acme", "acme")
    await world.call("POST", "/keys", {"name": "k of default", "scopes": ["replay"]})
    await world.sql("UPDATE console_sessions SET organisation_id = 'default'")
    page = (await world.client.get("/console/keys")).text
    assert "k of acme" in page
    assert "k of default" not in page
    assert COOKIE in world.client.cookies

"""Connecting a destination to Amazon (interface §3, OAuth), and its preflight: green, red, unknown lines."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.admin.destinations.preflight import ENTITY_HINT, PreflightFacts, run_preflight
from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.domain.destination import DEFAULT_RATE, Region, State
from app.store.destinations.destinations import Destination
from app.store.destinations.sign_ins import AmazonAccount
from app.store.encryption import access_place, refresh_place
from tests.api.world import ACCESS, JSON, PUBLIC, REFRESH, ApiWorld


async def ready(world: ApiWorld) -> tuple[dict[str, object], str]:
    """Return a destination that Amazon would show, and the state of a sign-in begun for it."""
    made = await world.create_destination()
    world.advertisers.visible.add(("NA", "580123456789"))
    world.grant("abc")
    return made, await world.state_of_sign_in(made["id"])


async def unchanged(world: ApiWorld, made: dict[str, object]) -> bool:
    """Return whether the destination is as it was made, without tokens."""
    now = (await world.call("GET", f"/destinations/{made['id']}")).json()
    return (now["state"], now["version"]) == ("draft", 1) and await world.sql("SELECT * FROM sign_ins") == []


async def test_connect_gives_the_page_where_the_user_clicks_allow(world: ApiWorld, acme: JSON) -> None:
    """With a state and an S256 challenge; the state is kept as a hash, the verifier sealed."""
    answer = await world.call("POST", f"/destinations/{acme['id']}/connect")
    assert (answer.status_code, set(answer.json())) == (200, {"authorize_url"})
    query = parse_qs(urlsplit(answer.json()["authorize_url"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["state"][0] not in str(await world.sql("SELECT * FROM oauth_states"))


async def test_the_browser_comes_back_to_the_destinations_page(world: ApiWorld) -> None:
    """303 to the console under PUBLIC_URL, and the tokens are kept sealed, each for its place."""
    made, state = await ready(world)
    answer = await world.back(html=True, state=state, code="abc")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{PUBLIC}/console/destinations/{made['id']}"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    (row,) = await world.sql("SELECT * FROM sign_ins")
    vault = world.context.vault
    assert vault.open(row.refresh_token, place=refresh_place(made["id"])).decode() == REFRESH  # type: ignore[arg-type]
    assert vault.open(row.access_token, place=access_place(made["id"])).decode() == ACCESS  # type: ignore[arg-type]
    assert row.lifetime_s == 3600
    now = (await world.call("GET", f"/destinations/{made['id']}")).json()
    assert (now["state"], now["connected"]) == ("connected", True)
    assert "destination.connected" in await world.actions()


async def test_a_client_that_asks_for_json_gets_json(world: ApiWorld) -> None:
    """`{"status": "connected"}`."""
    made, state = await ready(world)
    answer = await world.back(json=True, state=state, code="abc")
    assert answer.status_code == 200
    assert answer.json() == {"status": "connected", "destination_id": made["id"]}


async def test_no_answer_and_no_audit_holds_a_token(world: ApiWorld, acme: JSON) -> None:
    """Neither in clear nor sealed."""
    await world.connect(acme)
    shown = [
        (await world.call("GET", path)).text for path in ("/audit", f"/destinations/{acme['id']}", "/metrics")
    ]
    for text in shown:
        for secret in ("Atza|", "Atzr|", "refresh_token", "ciphertext", "client_secret"):
            assert secret not in text


@pytest.mark.parametrize("query", [{}, {"state": "zzz", "code": "abc"}, {"state": "", "code": "abc"}])
async def test_an_unknown_state_is_400_and_asks_amazon_nothing(
    world: ApiWorld, query: dict[str, str]
) -> None:
    """`invalid_state`."""
    await ready(world)
    answer = await world.back(**query)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_state")
    assert world.sign_in.exchanged == []


async def test_two_states_in_one_query_are_refused(world: ApiWorld) -> None:
    """A parser before us might read the other one."""
    _, state = await ready(world)
    answer = await world.call("GET", f"/oauth/amazon/callback?state={state}&state=x&code=abc", key=None)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_state")
    assert world.sign_in.exchanged == []


async def test_a_used_state_is_400_and_asks_amazon_nothing(world: ApiWorld) -> None:
    """One state, one exchange."""
    _, state = await ready(world)
    assert (await world.back(json=True, state=state, code="abc")).status_code == 200
    world.grant("abc")
    answer = await world.back(json=True, state=state, code="abc")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_state")
    assert world.sign_in.exchanged == ["abc"]


async def test_an_expired_state_is_400_and_asks_amazon_nothing(world: ApiWorld) -> None:
    """After ten minutes."""
    made, state = await ready(world)
    await world.sql("UPDATE oauth_states SET expires_at = expires_at - interval '11 minutes'")
    answer = await world.back(state=state, code="abc")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_state")
    assert world.sign_in.exchanged == []
    assert await unchanged(world, made)


async def test_of_twenty_callbacks_at_once_one_exchanges_the_code(world: ApiWorld) -> None:
    """The state is spent before Amazon is asked."""
    _, state = await ready(world)
    answers = await asyncio.gather(*(world.back(json=True, state=state, code="abc") for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19
    assert world.sign_in.exchanged == ["abc"]


async def test_denied_is_400_access_denied(world: ApiWorld) -> None:
    """The user clicked Deny; the state is spent all the same. A page says once what to do."""
    made, state = await ready(world)
    answer = await world.back(state=state, error="access_denied")
    assert (answer.status_code, answer.json()["error"]) == (400, "access_denied")
    assert (await world.back(state=state, code="abc")).json()["error"] == "invalid_state"
    assert await unchanged(world, made)
    again = await world.state_of_sign_in(str(made["id"]))
    page = (await world.back(html=True, state=again, error="access_denied")).text
    assert page.count("Try again and click Allow.") == 1


@pytest.mark.parametrize("accept", ["html", "json"])
async def test_nothing_from_the_query_appears_in_an_error(world: ApiWorld, accept: str) -> None:
    """A script in `error` or in `state` is not repeated, escaped or not."""
    _, state = await ready(world)
    script = "<script>alert(1)</script>"
    for query in ({"error": script, "state": state}, {"state": script, "code": script}):
        answer = await world.back(**{accept: True}, **query)  # type: ignore[arg-type]
        assert answer.status_code == 400
        assert "alert(1)" not in answer.text
        own = "self" if accept == "html" else "none"
        assert answer.headers["content-security-policy"].startswith(f"default-src '{own}'")


@pytest.mark.parametrize(
    ("who", "setting", "value", "status", "error"),
    [
        # Connected must mean a verified call, and the same id in another region does not count.
        ("advertisers", "visible", set(), 409, "advertiser_not_visible"),
        ("advertisers", "visible", {("EU", "580123456789")}, 409, "advertiser_not_visible"),
        ("advertisers", "unavailable", True, 502, "amazon_unavailable"),
        ("advertisers", "declines", True, 400, "sign_in_failed"),  # 401 for the token
        ("sign_in", "unavailable", True, 502, "amazon_unavailable"),
        ("sign_in", "unknown", True, 502, "amazon_client_invalid"),  # the operator's fault
        ("sign_in", "codes", {}, 400, "sign_in_failed"),
    ],
)
async def test_what_amazon_does_not_confirm_changes_nothing(
    world: ApiWorld, who: str, setting: str, value: object, status: int, error: str
) -> None:
    """The tokens are not stored, and the destination stays a draft."""
    made, state = await ready(world)
    setattr(getattr(world, who), setting, value)
    answer = await world.back(state=state, code="abc")
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert "abc" not in answer.text
    assert await unchanged(world, made)


async def test_a_sign_in_begun_with_a_key_that_was_revoked_is_refused(world: ApiWorld, acme: JSON) -> None:
    """The state is bound to the key that began it."""
    key = await world.key("destinations:write")
    url = (await world.call("POST", f"/destinations/{acme['id']}/connect", key=key)).json()["authorize_url"]
    await world.sql("UPDATE api_keys SET revoked_at = now()")
    answer = await world.back(state=parse_qs(urlsplit(url).query)["state"][0], code="abc")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_state")
    assert world.sign_in.exchanged == []


async def test_a_sign_in_of_a_destination_deleted_meanwhile_is_refused(world: ApiWorld) -> None:
    """409, and Amazon is not asked."""
    made, state = await ready(world)
    await world.call("DELETE", f"/destinations/{made['id']}")
    answer = await world.back(state=state, code="abc")
    assert (answer.status_code, answer.json()["error"]) == (409, "destination_archived")
    assert world.sign_in.exchanged == []


async def test_tokens_are_stored_only_for_the_requested_sign_in(world: ApiWorld) -> None:
    """The advertiser id changed while Amazon was asked: 409, nothing kept."""
    made, state = await ready(world)
    find = world.context.find_advertiser
    moved = []

    async def move_first(*given: object, **named: object) -> object:
        moved.append(await world.call("PATCH", f"/destinations/{made['id']}", {"advertiser_id": "42"}))
        return await find(*given, **named)  # type: ignore[arg-type]

    world.app.state.context = replace(world.context, find_advertiser=move_first)
    answer = await world.back(state=state, code="abc")
    assert moved[0].status_code == 200
    assert (answer.status_code, answer.json()["error"]) == (409, "destination_changed")
    assert await world.sql("SELECT * FROM sign_ins") == []


@pytest.mark.parametrize("reason", ["revoked", "unauthorized", "forbidden", "disconnected"])
async def test_reconnecting_heals_needs_reconnect(world: ApiWorld, reason: str, acme: JSON) -> None:
    """The reason is cleared, the generation grows, the workers are notified."""
    await world.connect(acme)
    before = (await world.sql("SELECT generation FROM sign_ins"))[0].generation
    await world.sql("UPDATE destinations SET sign_in = 'broken', sign_in_reason = :reason", reason=reason)
    now = (await world.call("GET", f"/destinations/{acme['id']}")).json()
    assert (now["state"], now["reason"]) == ("needs_reconnect", reason)
    now = await world.connect(acme)
    assert (now["state"], now["reason"]) == ("connected", None)
    assert (await world.sql("SELECT generation FROM sign_ins"))[0].generation > before
    assert world.delivery_control.calls[-1] == ("wake", 1)


@pytest.mark.parametrize("target", ["https://evil.example", "/\\evil.example", "//evil.example"])
async def test_no_parameter_moves_the_redirect(world: ApiWorld, target: str) -> None:
    """There is no `next`; unknown parameters are not read, and there is no other way in."""
    made, state = await ready(world)
    answer = await world.back(html=True, state=state, code="abc", next=target, redirect_uri=target)
    assert answer.headers["location"] == f"{PUBLIC}/console/destinations/{made['id']}"
    await world.call("GET", "/oauth/start", key=None, params={"next": target}, status=404)


AT = datetime(2026, 11, 24, tzinfo=UTC)


def known(*, reason: str | None = None, sign_in: str = "valid", **changes: Any) -> PreflightFacts:
    destination: Any = Destination(
        id="dst_1", number=1, lane=1, name="Acme", advertiser_id="580123456789", region=Region.NA,
        currency="USD", identity_profile="amazon", dataset_name=None, rate_limit=DEFAULT_RATE,
        sign_in=sign_in, sign_in_reason=reason, connected=sign_in == "valid", reason=reason, paused=False,
        suspended=False, status_callback=False, published_mappings=1, state=State.ACTIVE, version=1,
        archived_at=None, created_at=AT, updated_at=AT,  # type: ignore[arg-type]
    )  # fmt: skip
    given: dict[str, Any] = {
        "configured": True,
        "account": AmazonAccount("Acme", "USD", AT),
        "live_answer": None,
        "accepted": False,
        "delivered": 0,
        "seconds_apart": 0.0,
    }
    return PreflightFacts(destination, **{**given, **changes})


@pytest.mark.parametrize(
    ("given", "name", "status", "word"),
    [
        (known(), "account", "ok", "Acme"),
        (known(account=None), "account", "unknown", "connected"),
        (known(live_answer=Visible(None, None)), "account", "ok", "confirms access"),
        (known(live_answer=CannotTell("timeout")), "account", "unknown", "again"),
        (known(live_answer=NotVisible(("42",))), "account", "failed", "access to 42"),
        (known(live_answer=NotVisible(())), "account", "failed", ENTITY_HINT),
        (known(live_answer=NotVisible(())), "region", "failed", "another region"),
        (known(), "region", "ok", "North America"),
        (known(account=None), "region", "unknown", "North America"),
        (known(), "currency", "ok", "USD"),
        (known(account=AmazonAccount("Acme", "CAD", AT)), "currency", "failed", "CAD"),
        (known(account=AmazonAccount("Acme", None, AT)), "currency", "unknown", "did not report"),
        (known(account=None), "currency", "unknown", "USD is checked when connecting"),
        (known(account=AmazonAccount("Acme", "XXX", AT)), "currency", "failed", "takes no events in XXX"),
        (known(), "terms", "unknown", "Accept the terms"),
        (known(delivered=1), "terms", "ok", "accepted"),
        (known(delivered=1), "permission", "ok", "accepted"),
        (known(sign_in="broken", reason="forbidden"), "permission", "failed", "edit"),
        (known(), "first_event", "unknown", "No event was accepted yet"),
        (known(accepted=True), "first_event", "unknown", "none has"),
        (known(delivered=3), "first_event", "ok", "events: 3"),
        (known(seconds_apart=-60.0), "clock", "failed", "60 seconds"),
        (known(literal_times=["Cart"]), "mapping", "failed", "Cart"),
        (known(), "mapping", "ok", "1"),
        (known(configured=False), "credentials", "failed", "CLIENT_ID"),
    ],
)
def test_a_line_says_how_it_stands_and_what_to_do(
    given: PreflightFacts, name: str, status: str, word: str
) -> None:
    """One judgement each."""
    (line,) = [line for line in run_preflight(given) if line.name == name]
    assert line.status == status
    assert word in line.detail
    assert line.who


async def lines(world: ApiWorld, path: str, query: str = "") -> dict[str, str]:
    answer = (await world.call("GET", f"{path}/preflight{query}")).json()
    return {line["name"]: line["status"] for line in answer["checks"]}


async def test_amazon_is_asked_anew_when_that_is_wished(world: ApiWorld, acme: JSON) -> None:
    """An advertiser that is gone since shows, with the ids that are visible."""
    path = f"/destinations/{acme['id']}"
    await world.connect(acme)
    world.advertisers.visible = {("NA", "42")}
    assert (await lines(world, path))["account"] == "ok"
    answer = (await world.call("GET", f"{path}/preflight?ask=true")).json()
    account = next(line for line in answer["checks"] if line["name"] == "account")
    assert account["status"] == "failed"
    assert "It has access to 42." in account["detail"]
    for trouble in ("unavailable", "declines"):
        setattr(world.advertisers, trouble, True)
        assert (await lines(world, path, "?ask=true"))["account"] == "unknown"
        setattr(world.advertisers, trouble, False)


async def test_what_amazon_answers_anew_is_remembered(world: ApiWorld, acme: JSON) -> None:
    """The check and the warnings compare with it, not with its answer at the sign-in."""
    path = f"/destinations/{acme['id']}"
    world.advertisers.currency = "USD"
    await world.connect(acme)
    world.advertisers.currency = "EUR"
    assert (await lines(world, path))["currency"] == "ok"
    assert (await lines(world, path, "?ask=true"))["currency"] == "failed"
    assert (await lines(world, path))["currency"] == "failed"
    changed = await world.call("PATCH", path, {"currency": "EUR"})
    assert changed.json()["warnings"] == []
    assert (await lines(world, path))["currency"] == "ok"


async def test_a_wrong_advertiser_is_answered_with_those_that_are_visible(world: ApiWorld) -> None:
    """And with the hint where to find the right id."""
    state = await world.state_of_sign_in((await world.create_destination())["id"])
    world.grant("code-1")
    world.advertisers.visible = {("NA", "42"), ("EU", "43")}
    answer = (await world.back(state=state, code="code-1", json=True)).json()
    assert answer["error"] == "advertiser_not_visible"
    assert answer["visible_advertiser_ids"] == ["42"]
    assert "ENTITY" in answer["detail"]


async def test_preflight_lists_what_is_missing_and_who_can_help(world: ApiWorld, acme: JSON) -> None:
    """From a draft to an active destination."""
    path = f"/destinations/{acme['id']}/preflight"
    answer = (await world.call("GET", path)).json()
    assert answer["ready"] is False
    assert {line["name"]: line["status"] for line in answer["checks"]} == {
        "credentials": "ok",
        "sign_in": "failed",
        "account": "unknown",
        "region": "unknown",
        "currency": "unknown",
        "permission": "unknown",
        "terms": "unknown",
        "mapping": "failed",
        "state": "failed",
        "first_event": "unknown",
        "clock": "failed",  # the test's clock stands still in 2026
    }
    assert all(line["detail"] and line["who"] for line in answer["checks"])

    await world.connect(acme)
    await world.publish_mapping(acme["id"])
    world.now = (await world.sql("SELECT clock_timestamp() AS at"))[0].at
    answer = (await world.call("GET", path)).json()
    assert answer["ready"] is True, answer

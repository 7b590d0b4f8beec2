"""The preflight of a destination: each line green, red or unknown, with who must do what."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.admin.destinations.preflight import ENTITY_HINT, PreflightFacts, run_preflight
from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.domain.destination import DEFAULT_RATE, Region, State
from app.store.destinations.destinations import Destination
from app.store.destinations.sign_ins import AmazonAccount
from tests.api.world import JSON, ApiWorld

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
        (known(account=AmazonAccount("Acme", None, AT)), "currency", "unknown", "USD"),
        (known(account=AmazonAccount("Acme", "XXX", AT)), "currency", "failed", "takes no events in XXX"),
        (known(), "terms", "unknown", "Accept the terms"),
        (known(delivered=1), "terms", "ok", "accepted"),
        (known(delivered=1), "permission", "ok", "accepted"),
        (known(sign_in="broken", reason="forbidden"), "permission", "failed", "edit"),
        (known(), "first_event", "unknown", "Send one"),
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


async def test_what_amazon_shows_at_the_sign_in_is_remembered(world: ApiWorld, acme: JSON) -> None:
    """Another currency than the destination's is red from then on, until it is changed."""
    path = f"/destinations/{acme['id']}"
    world.advertisers.currency = "CAD"
    await world.connect(acme)
    found = await lines(world, path)
    assert (found["account"], found["region"], found["currency"]) == ("ok", "ok", "failed")
    await world.call("PATCH", path, {"currency": "CAD"})
    assert (await lines(world, path))["currency"] == "ok"


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
    world.advertisers.unavailable = True
    assert (await lines(world, path, "?ask=true"))["account"] == "unknown"


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

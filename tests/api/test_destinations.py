"""Destinations over HTTP (interface §3): settings, pause, resume, disconnect and delete, status callbacks."""

import asyncio
from typing import Any

import pytest

from app.api.lists import cursor_of
from tests.api.world import DESTINATION, JSON, ApiWorld


async def test_a_post_that_creates_answers_201_with_id_and_state(world: ApiWorld) -> None:
    """A new destination is a draft with the defaults of the interface."""
    answer = await world.call("POST", "/destinations", DESTINATION, status=201)
    made = answer.json()
    assert made["id"].startswith("dst_")
    assert len(made["id"]) == 24
    assert made["state"] == "draft"
    assert made["identity_profile"] == "amazon"
    assert made["rate_limit"] == {"requests_per_second": 5.0, "burst": 5}
    assert made["warnings"] == []
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["location"] == f"/destinations/{made['id']}"
    assert await world.actions() == ["destination.created"]


@pytest.mark.reads_only
@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"advertiser_id": "ENTITY1ABC"}, "in the DSP console open Advertisers"),
        ({"dataset_name": "abc"}, "5 to 100 letters"),
        ({"currency": "usd"}, "GET /catalog"),
    ],
)
async def test_a_refusal_says_where_the_right_value_is_found(
    world: ApiWorld, change: dict[str, Any], hint: str
) -> None:
    """P2: an entity id is refused with a hint on where to find the advertiser id."""
    answer = await world.call("POST", "/destinations", {**DESTINATION, **change}, status=422)
    assert hint in answer.json()["detail"]


@pytest.mark.reads_only
@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("advertiser_id", "ENTITY1ABC", "entity_id"),
        *(("advertiser_id", value, "invalid") for value in ("123 ", "123\n", "１２３", "")),
        ("advertiser_id", 123, "not_a_string"),
        *(("region", value, "not_in_list") for value in ("na", "http://127.0.0.1/")),
        *(("currency", value, "not_in_list") for value in ("usd", "XYZ")),
        ("identity_profile", "other", "not_in_list"),
        *(("dataset_name", value, "invalid") for value in ("abc", "9lives")),
        ("name", "", "too_short"),
        ("name", "  ", "blank"),
        ("name", "\u0410cme", "two_alphabets"),  # a Cyrillic letter
        ("name", "a\u202eb", "control_character"),  # a direction mark
        ("name", "x" * 201, "too_long"),
        ("name", None, "not_a_string"),
        ("endpoint", "http://x/", "unknown_field"),
        *(("rate_limit.requests_per_second", value, "out_of_range") for value in (0.05, 1000.5)),
        ("rate_limit.burst", 0, "out_of_range"),
        *(("rate_limit.burst", value, "not_an_integer") for value in (2.5, "5")),
        ("rate_limit.x", 1, "unknown_field"),
        *((name, ..., "missing") for name in sorted(DESTINATION)),
    ],
)
async def test_what_is_wrong_is_named_by_field_and_word(
    world: ApiWorld, field: str, value: Any, problem: str
) -> None:
    """422 names the field and a stable word, and repeats nothing that was sent. `...` is a missing field."""
    name, _, member = field.partition(".")
    body = {**DESTINATION, name: {member: value} if member else value}
    sent = {name: value for name, value in body.items() if value is not ...}
    answer = await world.call("POST", "/destinations", sent, status=422)
    assert answer.json()["error"] == "invalid"
    assert answer.json()["fields"] == [{"field": field, "problem": problem}]


async def test_the_global_account_id_is_accepted(world: ApiWorld) -> None:
    """P2: digits, or amzn1.ads-account.g.…"""
    made = await world.create_destination(advertiser_id="amzn1.ads-account.g.abc123")
    assert made["advertiser_id"] == "amzn1.ads-account.g.abc123"


async def test_the_fraction_of_a_rate_is_stored(world: ApiWorld) -> None:
    """0.1 to 1,000 requests a second, burst 1 to 1,000; what is left out has its default."""
    made = await world.create_destination(rate_limit={"requests_per_second": 0.1})
    assert made["rate_limit"] == {"requests_per_second": 0.1, "burst": 5}
    made = await world.create_destination(rate_limit={"requests_per_second": 1000, "burst": 1000})
    assert made["rate_limit"] == {"requests_per_second": 1000.0, "burst": 1000}


async def test_destinations_of_one_advertiser_and_region_share_a_lane(world: ApiWorld) -> None:
    """One lane for each (region, advertiser)."""
    await world.create_destination()
    await world.create_destination(name="Second")
    await world.create_destination(name="Third", region="EU")
    lanes = await world.sql("SELECT count(*) AS n, count(DISTINCT lane) AS lanes FROM destinations")
    assert (lanes[0].n, lanes[0].lanes) == (3, 2)


async def test_a_currency_that_is_not_the_accounts_is_warned_of(world: ApiWorld) -> None:
    """Before Amazon reported one there is nothing to compare; the account's own gives no warning."""
    world.advertisers.currency = "EUR"
    made = await world.create_destination()

    async def warnings(**change: str) -> object:
        answer = await world.call("PATCH", f"/destinations/{made['id']}", change, status=200)
        return answer.json()["warnings"]

    assert await warnings(currency="GBP") == []
    await world.connect(made)
    differs = {"code": "currency_differs", "field": "currency", "account_currency": "EUR"}
    assert await warnings(currency="USD") == [differs]
    assert await warnings(name="Other") == []
    assert await warnings(currency="EUR") == []


async def test_reading_gives_the_same_as_making_and_an_etag(world: ApiWorld, acme: JSON) -> None:
    """GET answers the destination, without warnings."""
    answer = await world.call("GET", f"/destinations/{acme['id']}", status=200)
    assert answer.headers["etag"] == '"1"'
    assert answer.json() == {name: value for name, value in acme.items() if name != "warnings"}


async def test_a_list_is_given_in_pages(world: ApiWorld) -> None:
    """`next_cursor` leads through every destination once."""
    made = [(await world.create_destination(name=f"d{number}"))["id"] for number in range(5)]
    assert [item["id"] for item in await world.pages("/destinations")] == made


@pytest.mark.reads_only
@pytest.mark.parametrize("parts", [(10**12,), ("x",), (1, 2), ("2026-11-29T00:00:00Z", "key_1")])
async def test_a_cursor_of_another_list_is_refused(world: ApiWorld, parts: tuple[object, ...]) -> None:
    """It is ours, but its number is too large, or it has other parts."""
    answer = await world.call("GET", f"/destinations?cursor={cursor_of(world.context, *parts)}")
    assert answer.json()["fields"] == [{"field": "cursor", "problem": "invalid"}], answer.text


async def test_q_searches_names_and_advertiser_ids_as_text(world: ApiWorld) -> None:
    """No letter of a search is a pattern."""
    await world.create_destination(name="100% Acme")
    await world.create_destination(name="Other", advertiser_id="99")

    async def found(q: str) -> list[str]:
        answer = await world.call("GET", "/destinations", params={"q": q})
        return [item["name"] for item in answer.json()["items"]]

    assert await found("acme") == ["100% Acme"]
    assert await found("%") == ["100% Acme"]
    assert await found("_") == []
    assert await found("99") == ["Other"]
    assert await found("") == ["100% Acme", "Other"]


async def test_a_change_touches_only_what_it_names(world: ApiWorld) -> None:
    """PATCH changes a member and leaves the rest, also of the rate limit; the version grows."""
    rate = {"requests_per_second": 2, "burst": 3}
    made = await world.create_destination(dataset_name="My_Events", rate_limit=rate)
    answer = await world.call("PATCH", f"/destinations/{made['id']}", {"currency": "EUR"}, status=200)
    assert answer.json()["currency"] == "EUR"
    assert answer.json()["dataset_name"] == "My_Events"
    assert answer.headers["etag"] == '"2"'
    change = {"dataset_name": None, "rate_limit": {"burst": 9}}
    changed = (await world.call("PATCH", f"/destinations/{made['id']}", change)).json()
    assert changed["dataset_name"] is None
    assert changed["rate_limit"] == {"requests_per_second": 2.0, "burst": 9}


async def test_a_change_that_changes_nothing_leaves_version_and_audit(world: ApiWorld, acme: JSON) -> None:
    """An empty PATCH, or one with the values that stand there, is no act."""
    for body in ({}, {"name": acme["name"]}):
        answer = await world.call("PATCH", f"/destinations/{acme['id']}", body)
        assert answer.headers["etag"] == '"1"'
    assert await world.actions() == ["destination.created"]


async def test_of_twenty_changes_at_once_from_one_reading_one_wins(world: ApiWorld, acme: JSON) -> None:
    """The version is compared under the row's lock."""
    answers = await asyncio.gather(
        *(
            world.call("PATCH", f"/destinations/{acme['id']}", {"name": f"n{n}"}, headers={"If-Match": '"1"'})
            for n in range(20)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19


async def test_advertiser_and_region_can_change_on_a_draft(world: ApiWorld, acme: JSON) -> None:
    """A wrong value can be corrected before anything was sent; the lane follows."""
    answer = await world.call("PATCH", f"/destinations/{acme['id']}", {"advertiser_id": "42", "region": "EU"})
    assert answer.status_code == 200
    lane = await world.sql(
        "SELECT l.region, l.advertiser_id FROM destinations d JOIN lanes l ON l.id = d.lane"
    )
    assert tuple(lane[0]) == ("EU", "42")


async def test_advertiser_and_region_are_fixed_once_connected(world: ApiWorld, acme: JSON) -> None:
    """What was accepted for one account must not arrive at another."""
    await world.connect(acme)
    answer = await world.call("PATCH", f"/destinations/{acme['id']}", {"advertiser_id": "42"})
    assert (answer.status_code, answer.json()["error"]) == (409, "destination_fixed")
    assert answer.json()["fields"] == [{"field": "advertiser_id", "problem": "not_allowed"}]
    await world.call("PATCH", f"/destinations/{acme['id']}", {"name": "Other"}, status=200)


async def test_advertiser_is_fixed_once_an_event_was_accepted(world: ApiWorld, acme: JSON) -> None:
    """A draft that was connected once and took events keeps its account."""
    await world.sql(
        "INSERT INTO counts (destination, day, writer, accepted) "
        "SELECT number, current_date, 32767, 1 FROM destinations"
    )
    answer = await world.call("PATCH", f"/destinations/{acme['id']}", {"region": "EU"})
    assert (answer.status_code, answer.json()["error"]) == (409, "destination_fixed")


async def test_resume_returns_to_the_state_before_the_pause(world: ApiWorld, acme: JSON) -> None:
    """From every state that can be paused."""
    path = f"/destinations/{acme['id']}"
    for expected in ("draft", "connected", "active"):
        assert (await world.call("GET", path)).json()["state"] == expected
        assert (await world.call("POST", f"{path}/pause")).json()["state"] == "paused"
        assert (await world.call("POST", f"{path}/resume")).json()["state"] == expected
        if expected == "draft":
            await world.connect(acme)
        if expected == "connected":
            await world.publish_mapping(acme["id"])


async def test_a_pause_answers_only_after_started_requests_have_settled(world: ApiWorld, acme: JSON) -> None:
    """The fact is committed first, then the pipeline is waited for."""
    seen: list[bool] = []
    quiesce = world.delivery_control.quiesce

    async def read_state(destination: object) -> None:
        seen.append((await world.sql("SELECT paused FROM destinations"))[0].paused)
        await quiesce(destination)  # type: ignore[arg-type]

    world.delivery_control.quiesce = read_state  # type: ignore[method-assign]
    assert (await world.call("POST", f"/destinations/{acme['id']}/pause")).status_code == 200
    assert seen == [True]


async def test_pausing_twice_is_one_act(world: ApiWorld, acme: JSON) -> None:
    """And the second answers only once all has settled, too."""
    await world.call("POST", f"/destinations/{acme['id']}/pause")
    await world.call("POST", f"/destinations/{acme['id']}/pause")
    assert await world.actions() == ["destination.created", "destination.paused"]
    assert [calls for calls, _ in world.delivery_control.calls] == ["quiesce", "quiesce"]


async def test_a_pause_survives_a_reconnect(world: ApiWorld, acme: JSON) -> None:
    """Connecting a paused destination leaves it paused."""
    await world.call("POST", f"/destinations/{acme['id']}/pause")
    assert (await world.connect(acme))["state"] == "paused"
    assert (await world.call("POST", f"/destinations/{acme['id']}/resume")).json()["state"] == "connected"


async def test_an_action_takes_no_body_but_an_empty_one(world: ApiWorld, acme: JSON) -> None:
    """A POST without a body needs no Content-Type; what is refused is named as everywhere."""
    for action in ("replay", "dead-letters/dismiss", "pause"):
        path = f"/destinations/{acme['id']}/{action}"
        assert (await world.call("POST", path)).status_code == 200
        assert (await world.call("POST", path, {})).status_code == 200
    for body, field in (
        ({"until": "tomorrow"}, {"field": "until", "problem": "unknown_field"}),
        ([], {"field": "body", "problem": "not_an_object"}),
    ):
        answer = await world.call("POST", path, body, status=422)
        assert answer.json()["fields"] == [field]


async def test_disconnect_gives_draft_when_nothing_waits(world: ApiWorld, acme: JSON) -> None:
    """And the tokens are gone."""
    await world.connect(acme)
    answer = await world.call("POST", f"/destinations/{acme['id']}/disconnect")
    assert (answer.status_code, answer.json()["state"]) == (200, "draft")
    assert await world.sql("SELECT * FROM sign_ins") == []


async def test_disconnect_gives_needs_reconnect_when_events_wait(world: ApiWorld, acme: JSON) -> None:
    """They are kept, and reconnecting releases them."""
    await world.connect(acme)
    world.delivery_control.owed[1] = 3
    answer = await world.call("POST", f"/destinations/{acme['id']}/disconnect")
    assert (answer.json()["state"], answer.json()["reason"]) == ("needs_reconnect", "disconnected")
    assert (await world.connect(acme))["state"] == "connected"


async def test_disconnecting_a_draft_changes_nothing(world: ApiWorld, acme: JSON) -> None:
    """200, no act."""
    assert (await world.call("POST", f"/destinations/{acme['id']}/disconnect")).json()["state"] == "draft"
    assert await world.actions() == ["destination.created"]


async def test_delete_archives(world: ApiWorld, acme: JSON) -> None:
    """It leaves the list, stays readable, and keeps nothing that opens the advertiser's account."""
    path = f"/destinations/{acme['id']}"
    await world.connect(acme)
    answer = await world.call("DELETE", path)
    assert (answer.status_code, answer.json()["state"]) == (200, "archived")
    assert (await world.call("GET", path)).json()["state"] == "archived"
    assert (await world.call("GET", "/destinations")).json()["items"] == []
    assert len((await world.call("GET", "/destinations?state=archived")).json()["items"]) == 1
    assert await world.sql("SELECT * FROM sign_ins") == []


@pytest.mark.parametrize(
    ("method", "action", "body"),
    [
        ("PATCH", "", {"name": "x"}),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/connect", None),
        ("POST", "/disconnect", None),
        ("POST", "/mappings", {"name": "m"}),
    ],
)
async def test_an_archived_destination_does_not_change(
    world: ApiWorld, method: str, action: str, body: object, acme: JSON
) -> None:
    """409 `destination_archived` for every act."""
    await world.call("DELETE", f"/destinations/{acme['id']}")
    answer = await world.call(method, f"/destinations/{acme['id']}{action}", body)
    assert (answer.status_code, answer.json()["error"]) == (409, "destination_archived")


async def test_delete_is_refused_while_events_wait(world: ApiWorld, acme: JSON) -> None:
    """409 with the number, and the destination stays as it was."""
    world.delivery_control.owed[1] = 7
    answer = await world.call("DELETE", f"/destinations/{acme['id']}")
    assert (answer.status_code, answer.json()["error"], answer.json()["waiting"]) == (
        409,
        "events_waiting",
        7,
    )
    assert (await world.call("GET", f"/destinations/{acme['id']}")).json()["state"] == "draft"


async def test_delete_with_discard_gives_up_what_waits_after_started_requests_settled(
    world: ApiWorld, acme: JSON
) -> None:
    """Archived, waited for, discarded: in this order."""
    world.delivery_control.owed[1] = 7
    answer = await world.call("DELETE", f"/destinations/{acme['id']}?discard=true")
    assert (answer.status_code, answer.json()["discarded"]) == (200, 7)
    calls = ["waiting", "quiesce", *2 * ["discard", "count_discarded"]]  # until none is left
    assert [name for name, _ in world.delivery_control.calls] == calls


async def test_deleting_again_finishes_a_discard_that_was_cut_short(world: ApiWorld, acme: JSON) -> None:
    """An archived destination still owing events gives them up on the second try."""
    await world.call("DELETE", f"/destinations/{acme['id']}")
    world.delivery_control.owed[1] = 2
    answer = await world.call("DELETE", f"/destinations/{acme['id']}?discard=true")
    assert (answer.status_code, answer.json()["discarded"]) == (200, 2)


async def test_it_is_off_until_switched_on_and_twice_is_once(world: ApiWorld) -> None:
    """On, on, off, off: two acts in the audit."""
    path = f"/destinations/{(await world.create_destination())['id']}/status-callback"
    before = (await world.call("GET", path)).json()
    assert (before["enabled"], before["waiting"], before["problem"]) == (False, 0, None)
    for enabled in (True, True, False, False):
        answer = (await world.call("POST", path, {"enabled": enabled})).json()
        assert answer["enabled"] is enabled
        assert (await world.call("GET", path)).json() == answer
    assert (await world.actions())[-2:] == ["destination.callback_changed"] * 2


@pytest.mark.parametrize("name", ["url", "address", "STATUS_CALLBACK_URL"])
async def test_no_caller_chooses_the_address(world: ApiWorld, name: str) -> None:
    """A body that names one is refused whole."""
    path = f"/destinations/{(await world.create_destination())['id']}/status-callback"
    await world.call("POST", path, {"enabled": True, name: "http://169.254.169.254/"}, status=422)
    assert (await world.call("GET", path)).json()["enabled"] is False

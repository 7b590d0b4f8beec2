"""Destinations over HTTP (interface §3)."""

import asyncio
from typing import Any

import pytest

from app.api.paging import cursor_of
from tests.api.world import DESTINATION, ApiWorld


async def test_a_post_that_creates_answers_201_with_id_and_state(world: ApiWorld) -> None:
    """A new destination is a draft with the defaults of the interface."""
    answer = await world.call("POST", "/destinations", DESTINATION)

    assert answer.status_code == 201
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
    answer = await world.call("POST", "/destinations", {**DESTINATION, **change})
    assert answer.status_code == 422
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
    ],
)
async def test_what_is_wrong_is_named_by_field_and_word(
    world: ApiWorld, field: str, value: Any, problem: str
) -> None:
    """422 names the field and a stable word, and repeats nothing that was sent."""
    name, _, member = field.partition(".")
    change = {name: {member: value} if member else value}
    answer = await world.call("POST", "/destinations", {**DESTINATION, **change})
    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid"
    assert answer.json()["fields"] == [{"field": field, "problem": problem}]


@pytest.mark.reads_only
@pytest.mark.parametrize("missing", sorted(DESTINATION))
async def test_every_required_field_is_asked_for(world: ApiWorld, missing: str) -> None:
    """Name, advertiser id, region and currency are required."""
    body = {name: value for name, value in DESTINATION.items() if name != missing}
    answer = await world.call("POST", "/destinations", body)
    assert (answer.status_code, answer.json()["fields"]) == (422, [{"field": missing, "problem": "missing"}])


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
        answer = await world.call("PATCH", f"/destinations/{made['id']}", change)
        assert answer.status_code == 200, answer.text
        return answer.json()["warnings"]

    assert await warnings(currency="GBP") == []
    await world.connect(made)
    differs = {"code": "currency_differs", "field": "currency", "account_currency": "EUR"}
    assert await warnings(currency="USD") == [differs]
    assert await warnings(name="Other") == []
    assert await warnings(currency="EUR") == []


async def test_reading_gives_the_same_as_making_and_an_etag(world: ApiWorld) -> None:
    """GET answers the destination, without warnings."""
    made = await world.create_destination()
    answer = await world.call("GET", f"/destinations/{made['id']}")
    assert answer.status_code == 200
    assert answer.headers["etag"] == '"1"'
    assert answer.json() == {name: value for name, value in made.items() if name != "warnings"}


@pytest.mark.reads_only
@pytest.mark.parametrize(
    "path", [f"/destinations/{text}" for text in ("dst_00000000000000000000", "x", "dst_%00", "..%2fx")]
)
async def test_an_id_that_does_not_exist_is_404(world: ApiWorld, path: str) -> None:
    """Whatever stands in the path: 404 in the one shape."""
    answer = await world.call("GET", path)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_a_list_is_given_in_pages(world: ApiWorld) -> None:
    """`next_cursor` leads through every destination once."""
    made = [(await world.create_destination(name=f"d{number}"))["id"] for number in range(5)]
    assert [item["id"] for item in await world.pages("/destinations")] == made


@pytest.mark.reads_only
@pytest.mark.parametrize("cursor", ["x", "%00", "MTIz!", "é", "LTE", "MSAy", "OTk5OTk5OTk5OTk5"])
async def test_a_cursor_that_is_not_ours_is_refused(world: ApiWorld, cursor: str) -> None:
    """422 on the field `cursor`, never a 500; NUL is refused before."""
    answer = await world.call("GET", f"/destinations?cursor={cursor}")
    assert answer.status_code in (400, 422)
    assert set(answer.json()) >= {"error", "detail", "fields"}


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
    """PATCH changes a member and leaves the rest; the version grows."""
    made = await world.create_destination(dataset_name="My_Events")
    answer = await world.call("PATCH", f"/destinations/{made['id']}", {"currency": "EUR"})
    assert answer.status_code == 200
    assert answer.json()["currency"] == "EUR"
    assert answer.json()["dataset_name"] == "My_Events"
    assert answer.headers["etag"] == '"2"'
    answer = await world.call("PATCH", f"/destinations/{made['id']}", {"dataset_name": None})
    assert answer.json()["dataset_name"] is None


async def test_a_change_of_half_the_rate_limit_keeps_the_other_half(world: ApiWorld) -> None:
    """PATCH of `rate_limit.burst` leaves the rate."""
    made = await world.create_destination(rate_limit={"requests_per_second": 2, "burst": 3})
    answer = await world.call("PATCH", f"/destinations/{made['id']}", {"rate_limit": {"burst": 9}})
    assert answer.json()["rate_limit"] == {"requests_per_second": 2.0, "burst": 9}


async def test_a_change_that_changes_nothing_leaves_version_and_audit(world: ApiWorld) -> None:
    """An empty PATCH, or one with the values that stand there, is no act."""
    made = await world.create_destination()
    for body in ({}, {"name": made["name"]}):
        answer = await world.call("PATCH", f"/destinations/{made['id']}", body)
        assert answer.headers["etag"] == '"1"'
    assert await world.actions() == ["destination.created"]


async def test_null_is_refused_where_a_value_is_needed(world: ApiWorld) -> None:
    """A destination cannot lose its name."""
    made = await world.create_destination()
    answer = await world.call("PATCH", f"/destinations/{made['id']}", {"name": None, "region": None})
    assert answer.status_code == 422
    assert {field["field"] for field in answer.json()["fields"]} == {"name", "region"}


async def test_a_stale_if_match_is_412_and_nothing_changes(world: ApiWorld) -> None:
    """Of two changes from one reading, the second is refused."""
    made = await world.create_destination()
    path, headers = f"/destinations/{made['id']}", {"If-Match": '"1"'}
    assert (await world.call("PATCH", path, {"name": "A"}, headers=headers)).status_code == 200
    answer = await world.call("PATCH", path, {"name": "B"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (412, "stale")
    assert (await world.call("GET", path)).json()["name"] == "A"
    assert (await world.call("PATCH", path, {"name": "C"}, headers={"If-Match": "*"})).status_code == 200


async def test_of_twenty_changes_at_once_from_one_reading_one_wins(world: ApiWorld) -> None:
    """The version is compared under the row's lock."""
    made = await world.create_destination()
    answers = await asyncio.gather(
        *(
            world.call("PATCH", f"/destinations/{made['id']}", {"name": f"n{n}"}, headers={"If-Match": '"1"'})
            for n in range(20)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19


async def test_advertiser_and_region_can_change_on_a_draft(world: ApiWorld) -> None:
    """A wrong value can be corrected before anything was sent; the lane follows."""
    made = await world.create_destination()
    answer = await world.call("PATCH", f"/destinations/{made['id']}", {"advertiser_id": "42", "region": "EU"})
    assert answer.status_code == 200
    lane = await world.sql(
        "SELECT l.region, l.advertiser_id FROM destinations d JOIN lanes l ON l.id = d.lane"
    )
    assert tuple(lane[0]) == ("EU", "42")


async def test_advertiser_and_region_are_fixed_once_connected(world: ApiWorld) -> None:
    """What was accepted for one account must not arrive at another."""
    made = await world.create_destination()
    await world.connect(made)
    answer = await world.call("PATCH", f"/destinations/{made['id']}", {"advertiser_id": "42"})
    assert (answer.status_code, answer.json()["error"]) == (409, "destination_fixed")
    assert answer.json()["fields"] == [{"field": "advertiser_id", "problem": "not_allowed"}]
    answer = await world.call("PATCH", f"/destinations/{made['id']}", {"name": "Other"})
    assert answer.status_code == 200


async def test_advertiser_is_fixed_once_an_event_was_accepted(world: ApiWorld) -> None:
    """A draft that was connected once and took events keeps its account."""
    made = await world.create_destination()
    await world.sql(
        "INSERT INTO counts (destination, day, writer, accepted) "
        "SELECT number, current_date, 32767, 1 FROM destinations"
    )
    answer = await world.call("PATCH", f"/destinations/{made['id']}", {"region": "EU"})
    assert (answer.status_code, answer.json()["error"]) == (409, "destination_fixed")

"""The name rule under a race (R12): of twenty who publish at once exactly one name wins."""

import asyncio
from collections import Counter

from tests.api.world import JSON, ApiWorld

PUBLISHERS = 20


async def test_of_twenty_publishers_one_wins_and_the_others_see_the_winner(world: ApiWorld) -> None:
    """Twenty destinations of one advertiser, each with its own name; 19 get 409 with the one that won."""
    paths = []
    for number in range(PUBLISHERS):
        made = await world.create_destination(name=f"Acme {number}", region=("NA", "EU", "FE")[number % 3])
        mapping = await world.create_mapping(made["id"], event_name=f"Name {number}")
        paths.append(f"/destinations/{made['id']}/mappings/{mapping['id']}/publish")
    answers = await asyncio.gather(*(world.call("POST", path) for path in paths))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: PUBLISHERS - 1}
    winner = next(answer.json()["event_name"] for answer in answers if answer.status_code == 200)
    lost = [answer.json() for answer in answers if answer.status_code == 409]
    assert {(one["error"], one["pinned_name"]) for one in lost} == {("event_name_conflict", winner)}
    (pin,) = (await world.call("GET", "/advertisers/580123456789/event-names")).json()["items"]
    assert pin["name"] == winner
    published = await world.sql("SELECT count(*) FROM mappings WHERE published_version IS NOT NULL")
    assert published == [(1,)]


async def test_a_near_miss_is_called_out(world: ApiWorld, acme: JSON) -> None:
    """Mostly it is the pinned name, misspelt."""
    await world.publish_mapping(acme["id"])
    other = await world.create_mapping(acme["id"], name="Other", event_name="added to cart")
    answer = await world.call("POST", f"/destinations/{acme['id']}/mappings/{other['id']}/publish")
    assert answer.json()["near_miss"] == "case"
    assert "capital letters" in answer.json()["detail"]


async def test_a_name_that_cannot_be_meant_is_not_pinned(world: ApiWorld, acme: JSON) -> None:
    """The first use is refused, also of a type from the event and of a rename. A pinned name stays usable."""
    odd = {"event_name": "Added\u00a0to cart"}
    for number, event_type in enumerate(("ADD_TO_SHOPPING_CART", {"path": "type"})):
        mapping = await world.create_mapping(acme["id"], name=f"Cart {number}", event_type=event_type, **odd)
        path = f"/destinations/{acme['id']}/mappings/{mapping['id']}/publish"
        answer = await world.call("POST", path)
        assert (answer.status_code, answer.json()["fields"]) == (
            422,
            [{"field": "event_name", "problem": "event_name_invalid"}],
        )
    await world.sql(
        "INSERT INTO event_names (organisation_id, advertiser_id, event_type, name) "
        "VALUES ('default', '580123456789', 'ADD_TO_SHOPPING_CART', :name)",
        name=odd["event_name"],
    )
    assert (await world.call("POST", path)).status_code == 200
    rename = "/advertisers/580123456789/event-names/ADD_TO_SHOPPING_CART/rename"
    answer = await world.call("POST", rename, {"to": "\ufb01ne"})
    assert (answer.status_code, answer.json()["fields"][0]["problem"]) == (422, "event_name_invalid")
    other = await world.create_mapping(acme["id"], name="Other", event_name="Added to cart")
    answer = await world.call("POST", f"/destinations/{acme['id']}/mappings/{other['id']}/publish")
    assert answer.json()["near_miss"] == "unicode"
    assert "“Added\u00a0to cart”" in answer.json()["detail"]

"""Mappings over HTTP (interface §4): drafts, publishing, versions, the name rule, preview."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.api.world import EVENT, JSON, MAPPING, ApiWorld
from tests.databases import WAITING_LOCKS
from tests.pipeline.world import eventually

RENAME = "/advertisers/580123456789/event-names/ADD_TO_SHOPPING_CART/rename"


async def test_a_mapping_is_made_on_a_draft_destination(world: ApiWorld, acme: JSON) -> None:
    """201 with `id`; the draft's own members come back as they were sent."""
    answer = await world.call("POST", f"/destinations/{acme['id']}/mappings", MAPPING, status=201)
    mapping = answer.json()
    assert mapping["id"].startswith("map_")
    assert {name: mapping[name] for name in MAPPING} == MAPPING
    assert mapping["state"] == "draft"
    assert mapping["published_version"] is None
    assert mapping["problems"] == []
    assert answer.headers["etag"] == '"1"'


async def test_a_draft_may_lack_what_publishing_needs(world: ApiWorld, acme: JSON) -> None:
    """A name suffices, and is needed; `problems` says what publishing needs."""
    answer = await world.call("POST", f"/destinations/{acme['id']}/mappings", {"name": "Empty"}, status=201)
    lacking = {problem["field"] for problem in answer.json()["problems"]}
    assert lacking >= {"country_code", "event_type", "event_source", "event_name", "consent"}
    published = await world.call("POST", f"/destinations/{acme['id']}/mappings/{answer.json()['id']}/publish")
    assert (published.status_code, published.json()["error"]) == (422, "not_publishable")
    assert {field["field"] for field in published.json()["fields"]} == lacking
    nameless = await world.call("POST", f"/destinations/{acme['id']}/mappings", {}, status=422)
    assert nameless.json()["fields"] == [{"field": "name", "problem": "missing"}]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fields": {"email": "a." * 5000}}, "fields.email.path"),
        *(({"email": value}, "email") for value in ("user.email", None)),
        ({"custom_data": [{"name": "a b", "path": "x"}]}, "custom_data[0].name"),
        *(({"name": name}, "name") for name in ("a\u0007", 5, None)),
    ],
)
async def test_what_a_draft_says_must_be_right(world: ApiWorld, change: dict[str, Any], field: str) -> None:
    """422 with the place, at POST and at PATCH; nothing is stored. The rules: tests/domain."""
    made = await world.create_destination()
    path = f"/destinations/{made['id']}/mappings"
    answer = await world.call("POST", path, {**MAPPING, **change}, status=422)
    assert field in {found["field"] for found in answer.json()["fields"]}
    assert (await world.call("GET", path)).json()["items"] == []

    mapping = await world.create_mapping(made["id"])
    assert (await world.call("PATCH", f"{path}/{mapping['id']}", change)).status_code == 422
    assert (await world.call("GET", f"{path}/{mapping['id']}")).json()["version"] == 1


async def test_exact_numbers_survive(world: ApiWorld, acme: JSON) -> None:
    """A constant comes back as it was sent, and unchanged it is no change."""
    fields = {**MAPPING["fields"], "value": {"const": 19.99}}
    mapping = await world.create_mapping(acme["id"], fields=fields, event_name={"const": "Added to cart"})
    assert mapping["fields"]["value"] == {"const": 19.99}
    assert mapping["event_name"] == {"const": "Added to cart"}
    path = f"/destinations/{acme['id']}/mappings/{mapping['id']}"
    assert (await world.call("PATCH", path, {"fields": fields})).headers["etag"] == '"1"'


async def test_a_path_that_names_another_field_is_warned_of(world: ApiWorld, acme: JSON) -> None:
    """Email from user.maid breaks no rule; it is accepted with a hint."""
    mapping = await world.create_mapping(acme["id"], fields={**MAPPING["fields"], "email": "user.maid"})
    assert {"code": "path_names_another_field", "field": "fields.email"} in mapping["warnings"]
    for path in (
        f"/destinations/{acme['id']}/mappings",
        f"/destinations/{acme['id']}/mappings/{mapping['id']}",
    ):
        shown = (await world.call("GET", path)).json()
        assert shown.get("items", [shown])[0]["warnings"] == mapping["warnings"]


async def test_a_change_from_true_to_1_is_a_change(world: ApiWorld) -> None:
    """Python calls them equal. The draft is stored, differs from what is published, and can be published."""
    path = await world.mapping_path(published=True)
    for version, value in enumerate((True, 1, True), start=2):
        rows = [{"name": "member", "const": value}]
        changed = (await world.call("PATCH", path, {"custom_data": rows})).json()
        assert (changed["custom_data"][0]["const"] is True) is (value is True)
        assert changed["unpublished_changes"] is True
        published = (await world.call("POST", f"{path}/publish", {}, status=200)).json()
        assert (published["published_version"], published["unpublished_changes"]) == (version, False)


async def test_patch_edits_the_draft_and_not_what_is_published(world: ApiWorld) -> None:
    """A published version is immutable; the named members are replaced as a whole."""
    path = await world.mapping_path(published=True)
    answer = await world.call("PATCH", path, {"fields": {"event_timestamp": "t", "phone": "user.phone"}})
    assert answer.json()["fields"] == {"event_timestamp": "t", "phone": "user.phone"}
    assert answer.json()["published_version"] == 1
    assert answer.json()["unpublished_changes"] is True
    (version,) = (await world.call("GET", f"{path}/versions")).json()["items"]
    assert version["mapping"]["fields"] == MAPPING["fields"]
    assert "custom_data" not in (await world.call("PATCH", path, {"custom_data": None})).json()


async def test_publishing_on_a_draft_is_allowed_and_connecting_then_leads_to_active(world: ApiWorld) -> None:
    """Interface §3."""
    made = await world.create_destination()
    mapping = await world.publish_mapping(made["id"])
    assert (mapping["published_version"], mapping["state"]) == (1, "published")
    assert (await world.call("GET", f"/destinations/{made['id']}")).json()["state"] == "draft"
    assert (await world.connect(made))["state"] == "active"


async def test_publishing_twice_is_one_act(world: ApiWorld) -> None:
    """The draft equals the published version: same version, no new row, no audit."""
    answer = await world.call("POST", await world.mapping_path(published=True) + "/publish")
    assert (answer.status_code, answer.json()["published_version"]) == (200, 1)
    assert (await world.actions()).count("mapping.published") == 1


async def test_publishing_makes_cached_configurations_stale(world: ApiWorld) -> None:
    """The destination's version grows. Those of the advertiser's others stay: a flush reads new names."""
    first, second = await world.create_destination(), await world.create_destination(name="Second")
    await world.publish_mapping(first["id"])
    versions = [row.version for row in await world.sql("SELECT version FROM destinations ORDER BY number")]
    assert versions[0] > first["version"]
    assert versions[1] == second["version"]


async def test_a_second_name_for_a_type_is_409_with_the_pinned_one(world: ApiWorld) -> None:
    """R12, over all destinations and regions of the advertiser."""
    await world.publish_mapping((await world.create_destination())["id"])
    second = await world.create_destination(name="Second", region="EU")
    other = await world.create_mapping(second["id"], event_name="In the cart")
    path = f"/destinations/{second['id']}/mappings/{other['id']}/publish"
    answer = await world.call("POST", path)
    assert (answer.status_code, answer.json()["error"]) == (409, "event_name_conflict")
    assert answer.json()["pinned_name"] == "Added to cart"
    assert "Added to cart" in answer.json()["detail"]
    assert (await world.call("GET", f"/destinations/{second['id']}")).json()["published_mappings"] == 0


async def test_another_advertiser_or_type_has_names_of_its_own(world: ApiWorld) -> None:
    """A pin belongs to (advertiser, event type)."""
    first = await world.create_destination()
    second = await world.create_destination(name="Second", advertiser_id="42")
    await world.publish_mapping(first["id"])
    await world.publish_mapping(second["id"], event_name="In the cart")
    await world.publish_mapping(first["id"], event_type="CHECKOUT", event_name="In the cart")


async def test_a_mapped_type_pins_nothing_when_published(world: ApiWorld) -> None:
    """Its names are pinned as events are stored."""
    await world.mapping_path(published=True, event_type={"path": "event.kind"})
    assert await world.sql("SELECT * FROM event_names") == []


async def test_moving_a_draft_to_another_advertiser_keeps_to_its_names(world: ApiWorld) -> None:
    """A published mapping's name is judged by the advertiser's pins that the destination moves to."""
    first = await world.create_destination()
    second = await world.create_destination(name="Second", advertiser_id="42")
    await world.publish_mapping(first["id"])
    await world.publish_mapping(second["id"], event_name="In the cart")
    answer = await world.call("PATCH", f"/destinations/{second['id']}", {"advertiser_id": "580123456789"})
    assert (answer.status_code, answer.json()["error"]) == (409, "event_name_conflict")
    assert (await world.call("GET", f"/destinations/{second['id']}")).json()["advertiser_id"] == "42"


async def test_rename_changes_the_pin_and_published_mappings_follow(world: ApiWorld) -> None:
    """An explicit, audited act; the mapping has a new version with the new name, and so does its draft."""
    path = await world.mapping_path(published=True)
    answer = await world.call("POST", RENAME, {"to": "In the cart"}, status=200)
    assert (answer.json()["previous_name"], answer.json()["name"]) == ("Added to cart", "In the cart")
    after = (await world.call("GET", path)).json()
    assert [one["id"] for one in answer.json()["mappings"]] == [after["id"]]
    assert (after["event_name"], after["published_version"]) == ("In the cart", 2)
    assert after["unpublished_changes"] is False
    pins = (await world.call("GET", "/advertisers/580123456789/event-names")).json()["items"]
    assert [(pin["event_type"], pin["name"]) for pin in pins] == [("ADD_TO_SHOPPING_CART", "In the cart")]
    (action,) = (await world.call("GET", "/audit?action=event_name.renamed")).json()["items"]
    assert (action["before"]["name"], action["after"]["name"]) == ("Added to cart", "In the cart")


async def test_rename_names_the_mappings_that_cannot_follow(world: ApiWorld, acme: JSON) -> None:
    """A mapping with a mapped type carries one name for all of them: it is listed under `mappings_left`."""
    await world.publish_mapping(acme["id"])
    mapped = await world.publish_mapping(acme["id"], event_type={"path": "event.kind"})
    answer = (await world.call("POST", RENAME, {"to": "In the cart"})).json()
    assert [one["id"] for one in answer["mappings_left"]] == [mapped["id"]]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/advertisers/580123456789/event-names/CHECKOUT/rename", {"to": "x"}, 404),
        ("/advertisers/580123456789/event-names/NONE/rename", {"to": "x"}, 404),
        ("/advertisers/abc/event-names/CHECKOUT/rename", {"to": "x"}, 404),
        *((RENAME, body, 422) for body in ({"to": "50%"}, {"to": " "}, {})),
    ],
)
async def test_a_rename_of_nothing_or_to_nothing_is_refused(
    world: ApiWorld, path: str, body: dict[str, str], status: int
) -> None:
    """404 where nothing is pinned, 422 for a name that Amazon would refuse."""
    await world.mapping_path(published=True)
    assert (await world.call("POST", path, body)).status_code == status


async def test_rollback_points_back_and_keeps_every_version(world: ApiWorld) -> None:
    """The draft stays, so that it can be repaired; the next publish is a new version."""
    path = await world.mapping_path(published=True)
    await world.call("PATCH", path, {"country_code": "DE"})
    assert (await world.call("POST", f"{path}/publish")).json()["published_version"] == 2
    answer = await world.call("POST", f"{path}/rollback", {"version": 1})
    assert (answer.status_code, answer.json()["published_version"]) == (200, 1)
    assert answer.json()["country_code"] == "DE"
    versions = (await world.call("GET", f"{path}/versions")).json()["items"]
    assert [(one["version"], one["current"]) for one in versions] == [(2, False), (1, True)]
    assert (await world.call("POST", f"{path}/publish")).json()["published_version"] == 3


async def test_a_version_keeps_the_note_of_its_author(world: ApiWorld) -> None:
    """The list of versions shows it; the audit says only that there is one; blanks are none."""
    path = await world.mapping_path()
    for country, body in (("US", {"note": " The phone moved. "}), ("DE", {"note": " "}), ("FR", None)):
        await world.call("PATCH", path, {"country_code": country})
        assert (await world.call("POST", f"{path}/publish", body)).status_code == 200
    versions = (await world.call("GET", f"{path}/versions")).json()["items"]
    assert [one["note"] for one in versions] == [None, None, "The phone moved."]
    recorded = str((await world.call("GET", "/audit?action=mapping.published")).json())
    assert "The phone moved." not in recorded
    assert recorded.count("has_note") == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [({"note": "n" * 1001}, "too_long"), ({"note": 5}, "not_a_string"), ({"nota": "n"}, "unknown_field")],
)
async def test_a_note_that_is_none_is_refused(world: ApiWorld, body: dict[str, Any], problem: str) -> None:
    """And nothing is published."""
    path = await world.mapping_path()
    answer = await world.call("POST", f"{path}/publish", body)
    assert (answer.status_code, answer.json()["fields"][0]["problem"]) == (422, problem)
    assert (await world.call("GET", path)).json()["published_version"] is None


async def test_a_rename_leaves_a_note_on_the_versions_that_it_publishes(world: ApiWorld) -> None:
    """So that the list of versions says why there is one more."""
    path = await world.mapping_path(published=True)
    await world.call("POST", RENAME, {"to": "In the cart"})
    newest = (await world.call("GET", f"{path}/versions")).json()["items"][0]
    assert newest["note"] == "Event renamed from “Added to cart” to “In the cart”."


async def test_rollback_to_no_version_is_refused(world: ApiWorld) -> None:
    """422 on `version`, for what does not exist and what is no number."""
    path = await world.mapping_path(published=True) + "/rollback"
    for body, problem in (
        ({"version": 9}, "unknown"),
        ({"version": 0}, "out_of_range"),
        ({"version": "1"}, "not_an_integer"),
        ({"version": 10**30}, "out_of_range"),
        ({}, "missing"),
    ):
        answer = await world.call("POST", path, body, status=422)
        assert answer.json()["fields"] == [{"field": "version", "problem": problem}]


async def test_rollback_takes_the_pinned_name(world: ApiWorld) -> None:
    """A version from before a rename is published again under the new name; the draft stays."""
    path = await world.mapping_path(published=True)
    await world.call("PATCH", path, {"country_code": "DE"})
    await world.call("POST", f"{path}/publish")
    assert (await world.call("POST", RENAME, {"to": "In the cart"})).json()["waiting_events"] == 0
    answer = await world.call("POST", f"{path}/rollback", {"version": 1})
    assert (answer.status_code, answer.json()["published_version"]) == (200, 4)
    versions = (await world.call("GET", f"{path}/versions")).json()["items"]
    assert [(one["version"], one["current"]) for one in versions[:2]] == [(4, True), (3, False)]
    assert len(versions[0]["changes"]) == 1
    assert (await world.call("GET", path)).json()["event_name"] == "In the cart"


async def test_delete_archives_and_the_destination_is_no_longer_active(world: ApiWorld, acme: JSON) -> None:
    """It leaves the list, stays readable with its versions, and does not change any more."""
    await world.connect(acme)
    mapping = await world.publish_mapping(acme["id"])
    path = f"/destinations/{acme['id']}/mappings/{mapping['id']}"
    answer = await world.call("DELETE", path)
    assert (answer.status_code, answer.json()["state"]) == (200, "archived")
    assert (await world.call("DELETE", path)).status_code == 200
    assert (await world.call("GET", f"/destinations/{acme['id']}")).json()["state"] == "connected"
    assert (await world.call("GET", f"/destinations/{acme['id']}/mappings")).json()["items"] == []
    assert (await world.call("GET", f"{path}/versions")).status_code == 200
    for method, action in (("PATCH", ""), ("POST", "/publish")):
        answer = await world.call(method, path + action, {})
        assert (answer.status_code, answer.json()["error"]) == (409, "mapping_archived")


async def test_a_mapping_is_found_under_its_own_destination_only(world: ApiWorld) -> None:
    """404 under another one."""
    first, second = await world.create_destination(), await world.create_destination(name="Second")
    mapping = await world.create_mapping(first["id"])
    await world.call("GET", f"/destinations/{second['id']}/mappings/{mapping['id']}", status=404)


async def test_preview_shows_what_would_be_sent(world: ApiWorld) -> None:
    """On a draft destination, with the saved draft; no trait in clear in the answer, nothing stored."""
    path = await world.mapping_path() + "/preview"
    answer = await world.call("POST", path, {"event": EVENT}, status=200)
    shown = answer.json()
    assert shown["ok"] is True
    assert shown["amazon_event"]["eventDescription"]["name"] == "Added to cart"
    assert {step["field"] for step in shown["steps"]} >= {"event_timestamp", "email"}
    assert "ada@example.com" not in answer.text
    assert await world.sql("SELECT * FROM event_names") == []


async def test_preview_takes_an_unsaved_mapping(world: ApiWorld) -> None:
    """`mapping` in the body is used instead of the saved one, and is judged like it."""
    path = await world.mapping_path() + "/preview"
    answer = await world.call("POST", path, {"event": EVENT, "mapping": {**MAPPING, "event_name": "Other"}})
    assert answer.json()["amazon_event"]["eventDescription"]["name"] == "Other"
    answer = await world.call("POST", path, {"event": EVENT, "mapping": {**MAPPING, "event_type": "BUY"}})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid")
    assert answer.json()["fields"][0]["field"] == "mapping.event_type"


async def test_preview_without_an_event_id_shows_the_derived_one(world: ApiWorld) -> None:
    """And warns, as acceptance does."""
    path = await world.mapping_path() + "/preview"
    event = {name: value for name, value in EVENT.items() if name != "event_id"}
    shown = (await world.call("POST", path, {"event": event})).json()
    assert ":derived-" in shown["amazon_event"]["eventId"]
    assert {"code": "event_id_derived", "field": "event_id"} in shown["warnings"]


@pytest.mark.parametrize(
    "body", [{}, {"event": []}, {"event": EVENT, "mapping": []}, {"event": EVENT, "x": 1}]
)
async def test_preview_refuses_a_bad_request(world: ApiWorld, body: dict[str, Any]) -> None:
    """422 for a body of another form."""
    path = await world.mapping_path() + "/preview"
    assert (await world.call("POST", path, body)).status_code == 422


async def test_preview_judges_names_by_the_pins(world: ApiWorld, acme: JSON) -> None:
    """What publishing or ingest would refuse is refused here."""
    await world.publish_mapping(acme["id"])
    other = await world.create_mapping(acme["id"], event_name="In the cart")
    path = f"/destinations/{acme['id']}/mappings/{other['id']}/preview"
    shown = (await world.call("POST", path, {"event": EVENT})).json()
    assert (shown["ok"], shown["reason"]) == (False, "event_name_conflict")


async def while_waiting(
    world: ApiWorld, statement: str, publish: Awaitable[httpx.Response]
) -> httpx.Response:
    """Hold a change open until a publish waits for it, commit it, and return the publish's answer."""
    async with world.engine.begin() as holder:
        await holder.execute(text(statement))
        task = asyncio.ensure_future(publish)
        await eventually(lambda: world.sql(WAITING_LOCKS))
    return await task


async def test_a_publish_that_meets_a_move_keeps_to_the_new_advertisers_names(world: ApiWorld) -> None:
    """The destination moves while the publish waits: the name is pinned where it is now."""
    path = await world.mapping_path()
    answer = await while_waiting(
        world,
        "UPDATE destinations SET advertiser_id = '42', version = version + 1",
        world.call("POST", f"{path}/publish"),
    )
    assert answer.status_code == 200
    assert [pin.advertiser_id for pin in await world.sql("SELECT * FROM event_names")] == ["42"]


async def test_a_publish_that_meets_a_delete_is_refused(world: ApiWorld) -> None:
    """409, and nothing is pinned."""
    path = await world.mapping_path()
    answer = await while_waiting(
        world,
        "UPDATE destinations SET archived_at = now(), version = version + 1",
        world.call("POST", f"{path}/publish"),
    )
    assert (answer.status_code, answer.json()["error"]) == (409, "destination_archived")
    assert await world.sql("SELECT * FROM event_names") == []


async def test_the_history_says_what_each_version_changed(world: ApiWorld) -> None:
    """Member by member, against the version before; the first has none, on any page."""
    path = await world.mapping_path(published=True)
    await world.call("PATCH", path, {"fields": {**MAPPING["fields"], "phone": "user.phone"}})
    await world.call("POST", f"{path}/publish")
    changed = [{"path": "fields.phone", "before": None, "after": "user.phone"}]
    (second, first) = (await world.call("GET", f"{path}/versions")).json()["items"]
    assert (second["changes"], first["changes"]) == (changed, [])
    (alone,) = (await world.call("GET", f"{path}/versions?limit=1")).json()["items"]
    assert alone["changes"] == changed


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
    answer = await world.call("POST", RENAME, {"to": "\ufb01ne"})
    assert (answer.status_code, answer.json()["fields"][0]["problem"]) == (422, "event_name_invalid")
    other = await world.create_mapping(acme["id"], name="Other", event_name="Added to cart")
    answer = await world.call("POST", f"/destinations/{acme['id']}/mappings/{other['id']}/publish")
    assert answer.json()["near_miss"] == "unicode"
    assert "“Added\u00a0to cart”. Yours looks the same" in answer.json()["detail"]

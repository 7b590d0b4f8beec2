"""Configuration as code: one file, planned, applied in one transaction, exported again."""

import asyncio
from dataclasses import astuple
from fractions import Fraction
from typing import Any

import pytest
import yaml
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config_as_code import apply as applying
from app.config_as_code.apply import AppliedPlan
from app.config_as_code.commands import lines
from app.config_as_code.file import InvalidFile
from app.config_as_code.plan import PlannedAction
from app.domain.ids import OrganisationId
from app.store.organisations.scope import scoped_engine
from tests.api.test_backtests import WITH, WITHOUT, saw
from tests.api.world import MAPPING, ApiWorld
from tests.config_as_code.files import BY, acme, apply, exported, file, options, plan, refused, wanted
from tests.databases import WAITING_LOCKS
from tests.pipeline.world import eventually

EU = {"name": "Acme EU", "advertiser_id": "580123456789", "region": "EU", "currency": "EUR"}


async def test_applying_makes_publishes_and_pins_as_the_api_does(world: ApiWorld) -> None:
    """Read back over HTTP: a published mapping, a pinned name, the same acts in the audit."""
    done = await apply(world.engine, file(acme(rate_limit={"requests_per_second": 2.5, "burst": 3})))
    (one,) = done.destinations
    shown = (await world.call("GET", f"/destinations/{one.id}")).json()
    assert shown["published_mappings"] == 1
    assert shown["rate_limit"] == {"requests_per_second": 2.5, "burst": 3}
    (mapping,) = (await world.call("GET", f"/destinations/{one.id}/mappings")).json()["items"]
    assert (mapping["published_version"], mapping["unpublished_changes"]) == (1, False)
    (pin,) = (await world.call("GET", "/advertisers/580123456789/event-names")).json()["items"]
    assert pin["name"] == MAPPING["event_name"]
    assert await world.actions() == ["destination.created", "mapping.created", "mapping.published"]
    assert {action["actor"] for action in (await world.call("GET", "/audit")).json()["items"]} == {BY}


RICH = {
    **MAPPING,
    "fields": {
        "event_timestamp": {
            "path": "at",
            "pipe": [["time", {"formats": ["DD.MM.YYYY HH:mm", "iso"], "zone": "Europe/Berlin"}]],
        },
        "email": {"first_of": ["user.email", {"path": "contact.mail", "pipe": ["trim"]}], "default": "-"},
        "value": {
            "path": "items[*]",
            "pipe": [["where", "price", "above", 0.5], ["sum", "price", "quantity", {"decimal": ","}]],
            "on_error": "omit",
        },
        "event_id": {"template": "{order.id}-{order.line | lower}"},
    },
}


async def test_another_spelling_of_an_event_name_is_no_drift(world: ApiWorld) -> None:
    """Blanks around it and a decomposed accent are stored in one form, by files as by the API."""
    text = file(acme({**MAPPING, "event_name": " Cafe\u0301 "}))
    await apply(world.engine, text)
    assert (await plan(world.engine, text)).plan.actions == []
    ((name, pinned),) = await world.sql(
        "SELECT m.draft ->> 'event_name', n.name FROM mappings m, event_names n"
    )
    assert (name, pinned) == ("Caf\u00e9", "Caf\u00e9")


async def test_a_plan_says_what_an_apply_would_do_and_does_nothing(world: ApiWorld) -> None:
    """The same acts, the same members; nothing is left of it."""
    await apply(world.engine, file(acme()))
    before = await exported(world.engine), await world.actions()
    changed = {**MAPPING, "fields": {**MAPPING["fields"], "phone": "user.phone"}}
    text = file(acme(changed, currency="EUR"), acme(**EU))
    planned = await plan(world.engine, text)
    assert planned.plan.actions == [
        PlannedAction.CHANGE,
        PlannedAction.CHANGE,
        PlannedAction.CREATE,
        PlannedAction.CREATE,
    ]
    (step, _) = planned.plan.steps
    assert [astuple(one) for one in step.changes] == [("currency", "USD", "EUR")]
    assert [astuple(one) for one in step.mappings[0].changes] == [("fields.phone", None, "user.phone")]
    assert (await exported(world.engine), await world.actions()) == before
    assert (await apply(world.engine, text)).plan.actions == planned.plan.actions


async def test_a_change_from_true_to_1_is_planned(world: ApiWorld) -> None:
    """Python calls them equal, JSON does not."""
    before, after = (
        file(acme({**MAPPING, "custom_data": [{"name": "member", "const": c}]})) for c in (True, 1)
    )
    await apply(world.engine, before)
    planned = (await plan(world.engine, after)).plan
    assert planned.actions == [PlannedAction.CHANGE]
    ((step,),) = (destination.mappings for destination in planned.steps)
    (change,) = step.changes
    assert (change.path, change.before is True, change.after is True) == ("custom_data[0].const", True, False)
    assert change.after == 1
    assert (await apply(world.engine, after)).plan.actions == [PlannedAction.CHANGE]
    assert (await plan(world.engine, after)).plan.actions == []


async def test_one_refusal_rolls_back_the_file(world: ApiWorld) -> None:
    """The second destination breaks the name rule: the first is not made either, and both problems show."""
    other = {**MAPPING, "name": "Other", "event_name": "added to cart"}
    unready = {"name": "No consent", "fields": {"email": "user.email"}}
    found = await refused(world.engine, file(acme(), acme(other, unready, **EU)))
    assert [one.path for one in found.problems] == [
        "destinations[1].mappings[0]",
        "destinations[1].mappings[1]",
    ]
    assert "“Added to cart”" in found.problems[0].sentence
    assert "not_publishable" in found.problems[1].sentence
    assert await world.sql("SELECT 1 FROM destinations") == []
    assert await world.actions() == []


@pytest.mark.parametrize(
    ("changes", "others", "at"),
    [({"advertiser_id": "42"}, [EU], "destinations[0]"), ({}, [{}], "destinations[1]")],
    ids=["refused by a use case", "named twice"],
)
async def test_a_refused_destination_does_not_hide_the_problems_of_its_mappings(
    world: ApiWorld, changes: dict[str, Any], others: list[dict[str, Any]], at: str
) -> None:
    """Each problem of the file is in the first list; an unchanged mapping has none."""
    await apply(world.engine, file(acme()))
    await world.connect((await world.call("GET", "/destinations")).json()["items"][0])
    wrong = {**MAPPING, "name": "Other", "fields": {"email": {"template": "x"}}}
    text = file(acme(MAPPING, wrong, **changes), *(acme(**other) for other in others))
    found = await refused(world.engine, text)
    assert [one.path for one in found.problems] == [at, "destinations[0].mappings[1]"]
    assert "fields.email.template" in found.problems[1].sentence


async def test_an_export_applied_to_an_empty_instance_exports_the_same(
    world: ApiWorld, empty_instance: AsyncEngine
) -> None:
    """Ids, numbers, drafts, every kind of source, words that YAML would bend: all comes back to the byte."""
    odd = {
        **MAPPING,
        "name": "No: 'ja'",
        "country_code": {"path": "user.country", "default": "NO"},
        "event_type": "SIGN_UP",
        "event_name": "Sign up",
        "custom_data": [{"name": "plan", "const": 1.5}, {"name": "date", "const": "2026-01-02"}],
    }
    draft = {"name": "Später", "published": False, "fields": {"email": "user.email"}}
    await apply(world.engine, file(acme(RICH, odd, draft), acme(dataset_name="acme-eu", **EU)))
    text = await exported(world.engine)
    assert yaml.safe_load(text)["destinations"][0]["mappings"][0]["fields"] == RICH["fields"]
    await apply(empty_instance, text)
    assert await exported(empty_instance) == text
    assert (await plan(world.engine, text)).plan.actions == []


async def test_things_of_one_name_are_distinguished_by_their_ids(
    world: ApiWorld, empty_instance: AsyncEngine
) -> None:
    """Made over HTTP, two destinations and two mappings may share a name: their export can be applied."""
    one, other = await world.create_destination(name="Twin"), await world.create_destination(name="Twin")
    for _ in range(2):
        await world.create_mapping(one["id"], name="Cart")
    text = await exported(world.engine)
    assert (await plan(world.engine, text)).plan.actions == []
    await apply(empty_instance, text)
    assert await exported(empty_instance) == text
    # One without an id could be either, now or at the next apply.
    by_name = acme(name="Twin")
    for twice in (file(acme(id=other["id"], name="Twin"), by_name), file(by_name, by_name)):
        found = await refused(empty_instance, twice)
        assert found.problems[-1].path.startswith("destinations[1]")


async def test_a_file_sets_whether_the_journey_engine_gets_callbacks(
    world: ApiWorld, empty_instance: AsyncEngine
) -> None:
    """On and off by the act of the API; left out it stays, and an export restores it elsewhere."""
    done = await apply(world.engine, file(acme(status_callback=True)))
    path = f"/destinations/{done.destinations[0].id}/status-callback"

    async def is_enabled() -> bool:
        return bool((await world.call("GET", path)).json()["enabled"])

    assert await is_enabled()
    assert (await world.actions()).count("destination.callback_changed") == 1
    assert (await plan(world.engine, file(acme(status_callback=True)))).plan.actions == []
    assert (await apply(world.engine, file(acme()))).plan.actions == []
    assert await is_enabled()
    text = await exported(world.engine)
    await apply(empty_instance, text)
    assert await exported(empty_instance) == text

    off = file(acme(status_callback=False))
    (step,) = (await plan(world.engine, off)).plan.steps
    assert [astuple(one) for one in step.changes] == [("status_callback", True, False)]
    assert await is_enabled()
    await apply(world.engine, off)
    assert not await is_enabled()
    assert (await world.actions()).count("destination.callback_changed") == 2
    assert "status_callback: false" in await exported(world.engine)


async def test_a_file_sets_thresholds_and_messages_of_incidents(world: ApiWorld) -> None:
    """The file has all of them; without the members the stored ones stay. A maintenance window stays, too."""
    await apply(world.engine, file(acme()))
    (destination,) = (await world.call("GET", "/destinations")).json()["items"]
    path = f"/destinations/{destination['id']}"
    window = {"muted_until": "2099-01-01T00:00:00Z", "failing": {"share": 0.9}}
    assert (await world.call("PATCH", path, json={"alerting": window})).status_code == 200
    managed = {
        "alerting": {"backlog": {"minutes": 30}, "dead_letters": {"enabled": False}},
        "notifications": {"channels": [], "kinds": ["failing"], "min_severity": "critical"},
    }
    planned = await plan(world.engine, file(acme(**managed)))
    assert [change.path for change in planned.plan.steps[0].changes] == [
        "alerting.backlog",
        "alerting.dead_letters",
        "alerting.failing",
        "notifications.channels",
        "notifications.kinds",
        "notifications.min_severity",
    ]
    before = (await world.call("GET", path)).json()
    async with world.engine.begin() as erasure:
        await erasure.exec_driver_sql("SELECT FROM lanes FOR UPDATE")
        # One change, which reads no lane.
        await apply(world.engine, file(acme(**managed, rate_limit={"requests_per_second": 2.0, "burst": 2})))
    assert (await world.call("GET", path)).json()["version"] == before["version"] + 1
    await apply(world.engine, file(acme(**managed)))
    after = (await world.call("GET", path)).json()["alerting"]
    assert (after["backlog"]["minutes"], after["dead_letters"]["enabled"]) == (30, False)
    assert (after["failing"]["share"], after["muted_until"]) == (0.5, "2099-01-01T00:00:00Z")
    assert (await world.call("GET", f"{path}/notifications")).json() == managed["notifications"]
    text = await exported(world.engine)
    assert "muted_until" not in text
    for unchanged in (file(acme(**managed)), file(acme()), text):
        assert (await plan(world.engine, unchanged)).plan.actions == []


@pytest.mark.parametrize(
    ("members", "path", "sentence"),
    [
        ({"alerting": {"backlog": {"hours": 1}}}, "destinations[0].alerting.backlog.hours", "No member"),
        ({"alerting": {"backlog": {"minutes": 0}}}, "destinations[0].alerting.backlog.minutes", "0.01"),
        ({"alerting": {"muted_until": None}}, "destinations[0].alerting.muted_until", "maintenance"),
        ({"notifications": {"kinds": "some"}}, "destinations[0].notifications.kinds", ""),
        ({"notifications": {"channels": ["a", "a"]}}, "destinations[0].notifications.channels", "twice"),
        ({"notifications": {"channels": ["pager"]}}, "destinations[0]", "of this organisation: none"),
    ],
)
async def test_a_problem_of_alerting_has_its_place(
    world: ApiWorld, members: dict[str, Any], path: str, sentence: str
) -> None:
    """As over HTTP."""
    (problem,) = (await refused(world.engine, file(acme(**members)))).problems
    assert problem.path == path
    assert sentence in problem.sentence


async def test_a_file_names_channels_of_running_processes(world: ApiWorld) -> None:
    """Those of other organisations do not count, so that no message goes there."""
    entry = file(acme(notifications={"channels": ["pager"]}))
    declare = (
        "INSERT INTO notification_channels (organisation_id, name, declared_at) "
        "VALUES (:organisation, 'pager (email)', now())"
    )
    await world.sql("INSERT INTO organisations (id, name) VALUES ('other', 'Other')")
    await world.sql(declare, organisation="other")
    await refused(world.engine, entry)
    await world.sql(declare, organisation="default")
    await apply(world.engine, entry)


async def test_an_id_of_another_organisation_is_refused(world: ApiWorld) -> None:
    """Also the id of a mapping. The sentence says no more than that the id is taken."""
    await world.sql("INSERT INTO organisations (id, name) VALUES ('other', 'Other')")
    other = scoped_engine(world.engine, OrganisationId("other"))
    await applying.apply(other, wanted(file(acme())), options())
    ((destination,),) = await world.sql("SELECT id FROM destinations")
    ((mapping,),) = await world.sql("SELECT id FROM mappings")
    (problem,) = (await refused(world.engine, file(acme(id=destination)))).problems
    assert problem.path == "destinations[0]"
    assert problem.sentence == "invalid: Another destination has this id."
    (problem,) = (await refused(world.engine, file(acme({**MAPPING, "id": mapping})))).problems
    assert problem.path == "destinations[0].mappings[0]"
    assert problem.sentence == "invalid: Another mapping has this id."


async def test_the_limit_of_destinations_holds(world: ApiWorld) -> None:
    """One more was created. A change at the limit is applied."""
    await world.sql("UPDATE organisations SET max_destinations = 1")
    (problem,) = (await refused(world.engine, file(acme(), acme(**EU)))).problems
    assert problem.path == "destinations[1]"
    assert problem.sentence.startswith("destination_limit: The organisation has reached its limit")
    assert await world.sql("SELECT 1 FROM destinations") == []
    await apply(world.engine, file(acme()))
    await apply(world.engine, file(acme(currency="CAD")))
    (problem,) = (await refused(world.engine, file(acme(), acme(**EU)))).problems
    assert problem.path == "destinations[1]"


async def test_an_export_without_ids_makes_the_same_under_other_ids(
    world: ApiWorld, empty_instance: AsyncEngine
) -> None:
    """From staging to production."""
    await apply(world.engine, file(acme(), acme(**EU)))
    text = await exported(world.engine, ids=False)
    assert "dst_" not in text
    await apply(empty_instance, text)
    assert await exported(empty_instance, ids=False) == text
    assert await exported(empty_instance) != await exported(world.engine)


async def test_an_export_holds_no_secret(world: ApiWorld) -> None:
    """A connected destination's tokens and the key that made it stay where they are."""
    await world.connect(await world.create_destination())
    text = await exported(world.engine)
    for secret in ("Atza", "Atzr", "bootstrap"):
        assert secret not in text


async def test_what_the_file_does_not_name_is_left_alone(world: ApiWorld) -> None:
    """A destination and a mapping made by hand stay; with --prune the mapping goes, never the destination."""
    await apply(world.engine, file(acme()))
    by_hand = await world.create_destination(name="By hand")
    (one,) = (await plan(world.engine, file(acme()))).plan.unmanaged
    assert one.id == by_hand["id"]
    acme_id = (await plan(world.engine, file(acme()))).destinations[0].id
    extra = await world.publish_mapping(acme_id, name="Extra")
    assert (await plan(world.engine, file(acme()))).plan.actions == []
    await apply(world.engine, file(acme()), prune=True)
    path = f"/destinations/{acme_id}/mappings/{extra['id']}"
    assert (await world.call("GET", path)).json()["state"] == "archived"
    assert (await world.call("GET", f"/destinations/{by_hand['id']}")).json()["state"] == "draft"


async def test_somebodys_unpublished_edit_is_no_drift(world: ApiWorld) -> None:
    """The file speaks of what is published; the draft stays as they left it."""
    destination = (await apply(world.engine, file(acme()))).destinations[0].id
    (mapping,) = (await world.call("GET", f"/destinations/{destination}/mappings")).json()["items"]
    path = f"/destinations/{destination}/mappings/{mapping['id']}"
    await world.call("PATCH", path, {"custom_data": None})
    assert (await apply(world.engine, file(acme()))).plan.actions == []
    assert (await world.call("GET", path)).json()["unpublished_changes"] is True


async def test_a_rename_in_the_file_needs_an_id(world: ApiWorld) -> None:
    """Without an id, another name is another destination; with the id, the destination is renamed."""
    id_ = (await apply(world.engine, file(acme()))).destinations[0].id
    renamed = await apply(world.engine, file(acme(id=id_, name="Acme USA")))
    assert renamed.plan.actions == [PlannedAction.CHANGE]
    assert [one.id for one in renamed.destinations] == [id_]


async def test_a_deleted_destinations_id_is_not_brought_back(world: ApiWorld) -> None:
    """Nor is a mapping taken from another destination."""
    gone, other = await world.create_destination(name="Gone"), await world.create_destination(name="Other")
    taken = await world.create_mapping(other["id"])
    await world.call("DELETE", f"/destinations/{gone['id']}")
    found = await refused(world.engine, file(acme(id=gone["id"]), acme({**MAPPING, "id": taken["id"]}, **EU)))
    assert [one.path for one in found.problems] == ["destinations[0].id", "destinations[1].mappings[0].id"]


async def test_a_currency_that_is_not_the_accounts_is_warned_of(world: ApiWorld) -> None:
    """As when it changes over HTTP."""
    world.advertisers.currency = "USD"
    await apply(world.engine, file(acme()))
    await world.connect((await world.call("GET", "/destinations")).json()["items"][0])
    warning = "    warning: The Amazon account's currency is USD, but this destination uses EUR."
    for text in (file(acme(currency="EUR")), file(acme(name="Other")), file(acme())):
        done = await apply(world.engine, text, dry_run=True)
        assert (warning in lines(done)) == ("EUR" in text)


async def test_two_applies_at_once_take_turns(world: ApiWorld) -> None:
    """Eight at a time make two destinations once; the others find them made, and record no act."""
    text = file(acme(), acme(**EU))
    done = await asyncio.gather(*(applying.apply(world.engine, wanted(text), options()) for _ in range(8)))
    assert all(isinstance(one, AppliedPlan) for one in done)
    assert sorted(len(one.plan.actions) for one in done if not isinstance(one, InvalidFile)) == [0] * 7 + [4]
    assert len(await world.sql("SELECT 1 FROM destinations")) == 2
    assert len(await world.actions()) == 6


async def test_an_apply_waits_longer_for_another_one_than_for_other_locks(world: ApiWorld) -> None:
    """The other may backtest many mappings."""

    def shorten(connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '10ms'")

    async with world.engine.begin() as other:
        await other.exec_driver_sql("SELECT FROM organisations FOR NO KEY UPDATE")
        event.listen(world.engine.sync_engine, "begin", shorten)
        applying = asyncio.create_task(apply(world.engine, file(acme())))
        try:
            await eventually(lambda: world.sql(WAITING_LOCKS))
            await other.exec_driver_sql("SELECT pg_sleep(0.1)")
        finally:
            event.remove(world.engine.sync_engine, "begin", shorten)
    assert (await applying).plan.actions


async def test_a_plan_backtests_each_change_and_fails_beyond_the_most_loss(world: ApiWorld) -> None:
    """A broken phone path: 6 of the last 10 lose PHONE. Both plan and apply refuse it under --max-loss 1%."""
    phone = {**MAPPING, "fields": {**MAPPING["fields"], "phone": "user.phone"}}
    broken = {**MAPPING, "fields": {**MAPPING["fields"], "phone": "user.fone"}}
    id_ = (await apply(world.engine, file(acme(phone)))).destinations[0].id
    (mapping,) = (await world.call("GET", f"/destinations/{id_}/mappings")).json()["items"]
    await saw(world, mapping["id"], (WITH, 6), (WITHOUT, 4))
    planned = await plan(world.engine, file(acme(broken)))
    assert "Of the last 10: 6 lose PHONE." in "\n".join(lines(planned))
    strict = options(max_loss=Fraction(1, 100))
    for dry_run in (True, False):
        found = await applying.apply(world.engine, wanted(file(acme(broken))), strict, dry_run=dry_run)
        assert isinstance(found, InvalidFile)
        assert "6 lose PHONE" in found.problems[0].sentence
    assert await applying.apply(world.engine, wanted(file(acme(phone))), strict)
    assert (await plan(world.engine, file(acme(phone)))).plan.actions == []

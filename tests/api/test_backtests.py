"""What samples of recent events show: backtests and match quality, and how long other work may take."""

from datetime import UTC, datetime

from app.domain.observed.fingerprints import Fingerprints
from app.domain.observed.schema_sample import SampleGroup, SchemaSample, pack, take_sample
from tests.api.world import EVENT, JSON, MAPPING, ApiWorld

PHONE = {**MAPPING["fields"], "phone": {"path": "user.phone"}}
SAMPLED_AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
WITH = take_sample({**EVENT, "user": {**EVENT["user"], "phone": "+12025550173"}}, now=SAMPLED_AT)
WITHOUT = take_sample(EVENT, now=SAMPLED_AT)


async def saw(world: ApiWorld, mapping: str, *seen: tuple[SchemaSample, int]) -> None:
    """Store samples of events of a mapping."""
    ((number,),) = await world.sql("SELECT number FROM mappings WHERE id = :id", id=mapping)
    for shape, times in seen:
        await world.sql(
            "INSERT INTO schema_samples (mapping, events, content) VALUES (:mapping, :events, :content)",
            mapping=number,
            events=times,
            content=pack(SampleGroup({shape: times}, {}), Fingerprints()),
        )


async def ready(world: ApiWorld) -> tuple[str, str]:
    """Publish a mapping with a phone, and return the paths of its destination and of it."""
    made = await world.create_destination()
    mapping = await world.publish_mapping(made["id"], fields=PHONE)
    await saw(world, mapping["id"], (WITH, 6), (WITHOUT, 4))
    destination = f"/destinations/{made['id']}"
    return destination, f"{destination}/mappings/{mapping['id']}"


async def test_an_event_schema_lists_paths_types_and_suggestions(world: ApiWorld) -> None:
    """Never a value."""
    destination, _ = await ready(world)
    answer = (await world.call("GET", f"{destination}/event-schema")).json()
    paged = await world.pages(f"{destination}/event-schema")
    assert (paged, answer["next_cursor"]) == (answer["items"], None)
    assert len(paged) > 2
    assert answer["events"] == 10
    items = {item["path"]: item for item in answer["items"]}
    assert items["user.phone"] == {
        "path": "user.phone",
        "types": {"text": 1.0},
        "forms": ["phone"],
        "fill_rate": 0.6,
        "suggested_for": ["phone"],
    }
    assert answer["suggestions"]["email"] == ["user.email"]
    assert "ada@example.com" not in str(answer)


async def test_a_broken_draft_is_reported_in_numbers(world: ApiWorld) -> None:
    """Six of ten lose PHONE; an unsaved mapping is tried likewise."""
    _, mapping = await ready(world)
    broken = {**PHONE, "phone": {"path": "user.fone"}}
    await world.call("PATCH", mapping, {"fields": broken})
    saved = (await world.call("POST", f"{mapping}/backtest")).json()
    assert saved["lost"] == {"PHONE": 6}
    assert saved["summary"] == "Of the last 10: 6 lose PHONE."
    assert saved["loss"] == 0.6
    sent = await world.call("POST", f"{mapping}/backtest", {"mapping": {**MAPPING, "fields": broken}})
    assert sent.json() == saved
    fewer = (await world.call("POST", f"{mapping}/backtest", {"events": 4})).json()
    assert (fewer["events"], fewer["lost"]) == (4, {})


async def test_a_backtest_compares_everything_that_is_sent(world: ApiWorld) -> None:
    """Type and consent lose no key and reject nothing, and still change each event."""
    _, mapping = await ready(world)
    draft = {**MAPPING, "fields": PHONE, "event_type": "LEAD", "event_name": "Lead"}
    report = (await world.call("POST", f"{mapping}/backtest", {"mapping": draft})).json()
    assert {"event_type", "event_name"} <= set(report["changed"])
    assert (report["lost"], report["gained"], report["newly_rejected"]) == ({}, {}, [])
    assert "10 send a different event_type" in report["summary"]
    draft = {**MAPPING, "fields": {**PHONE, "event_timestamp": "user.nowhere"}}
    report = (await world.call("POST", f"{mapping}/backtest", {"mapping": draft})).json()
    assert report["newly_rejected"] == [
        {
            "reason": "timestamp_missing",
            "field": "user.nowhere",
            "mapping_field": "event_timestamp",
            "events": 10,
        }
    ]


async def test_a_backtest_needs_something_published_and_a_draft_that_can_be(world: ApiWorld) -> None:
    """422 with what is missing."""
    path = await world.mapping_path()
    assert (await world.call("POST", f"{path}/backtest")).json()["error"] == "not_publishable"
    answer = await world.call("POST", f"{path}/backtest", {"mapping": {"name": "x"}}, status=422)
    assert {"field": "mapping.consent", "problem": "missing"} in answer.json()["fields"]


async def test_a_path_that_no_event_has_is_a_lint_warning(world: ApiWorld) -> None:
    """As one types; nothing is refused."""
    _, mapping = await ready(world)
    answer = await world.call("PATCH", mapping, {"fields": {**PHONE, "phone": {"path": "user.fone"}}})
    assert answer.status_code == 200
    assert {"code": "path_unknown", "field": "fields.phone"} in answer.json()["warnings"]
    await world.call("PATCH", mapping, {"fields": PHONE})
    assert {"code": "path_unknown", "field": "fields.phone"} not in (await world.call("GET", mapping)).json()[
        "warnings"
    ]


async def test_a_damaged_schema_sample_is_left_out(world: ApiWorld) -> None:
    """Schema and backtest read the other samples."""
    destination, mapping = await ready(world)
    await world.sql("UPDATE schema_samples SET content = substring(content FOR 9) WHERE events = 6")
    assert (await world.call("GET", f"{destination}/event-schema")).json()["events"] == 4
    await world.call("PATCH", mapping, {"fields": MAPPING["fields"]})
    await world.call("POST", f"{mapping}/backtest", status=200)


async def test_what_another_path_would_add(world: ApiWorld, acme: JSON) -> None:
    """Six of ten events have a phone number that the mapping does not read."""
    mapping = await world.publish_mapping(acme["id"])
    await world.create_mapping(acme["id"], name="A draft")
    await saw(world, mapping["id"], (WITH, 6), (WITHOUT, 4))
    answer = await world.call("GET", f"/destinations/{acme['id']}/match-quality", status=200)
    (item,) = answer.json()["items"]
    assert (item["mapping_id"], item["events"], item["sendable_share"]) == (mapping["id"], 10, 1.0)
    assert item["coverage"]["EMAIL"] == {"hashed_here": 10, "came_hashed": 0, "unhashed": 0, "changed": 0}
    assert item["what_if"] == [
        {
            "field": "phone",
            "path": "user.phone",
            "source": {"path": "user.phone"},
            "events_gained": 6,
            "share_gained": 0.6,
            "sendable_gained": 0,
        }
    ]
    assert (item["score"], item["prehashed"]) == (5.0, "unknown")
    assert "ada@example.com" not in answer.text


async def test_pages_and_a_mapping_that_reads_the_path(world: ApiWorld, acme: JSON) -> None:
    """A path that is mapped adds nothing; the cursor leads over drafts."""
    first = await world.publish_mapping(acme["id"], fields=PHONE)
    await world.create_mapping(acme["id"], name="A draft")
    second = await world.publish_mapping(acme["id"], name="Second", prehashed="refuse")
    await saw(world, first["id"], (WITH, 6))
    found = await world.pages(f"/destinations/{acme['id']}/match-quality", limit=1)
    assert [(each["mapping_id"], each["events"], each["prehashed"]) for each in found] == [
        (first["id"], 6, "unknown"),
        (second["id"], 0, "refuse"),
    ]
    assert found[0]["what_if"] == []
    assert MAPPING["fields"] != PHONE

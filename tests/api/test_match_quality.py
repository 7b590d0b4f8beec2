"""Match quality over HTTP: exact numbers from samples, no value of a person, one organisation's own."""

from tests.api.test_backtests import PHONE, WITH, WITHOUT, saw
from tests.api.world import MAPPING, ApiWorld


async def test_what_another_path_would_add(world: ApiWorld) -> None:
    """Six of ten events have a phone number that the mapping does not read."""
    made = await world.create_destination()
    mapping = await world.publish_mapping(made["id"])
    await world.create_mapping(made["id"], name="A draft")
    await saw(world, mapping["id"], (WITH, 6), (WITHOUT, 4))
    answer = await world.call("GET", f"/destinations/{made['id']}/match-quality")
    assert answer.status_code == 200, answer.text
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


async def test_pages_and_a_mapping_that_reads_the_path(world: ApiWorld) -> None:
    """A path that is mapped adds nothing; the cursor leads over drafts."""
    made = await world.create_destination()
    first = await world.publish_mapping(made["id"], fields=PHONE)
    await world.create_mapping(made["id"], name="A draft")
    second = await world.publish_mapping(made["id"], name="Second", prehashed="refuse")
    await saw(world, first["id"], (WITH, 6))
    found = await world.pages(f"/destinations/{made['id']}/match-quality", limit=1)
    assert [(each["mapping_id"], each["events"], each["prehashed"]) for each in found] == [
        (first["id"], 6, "unknown"),
        (second["id"], 0, "refuse"),
    ]
    assert found[0]["what_if"] == []
    assert MAPPING["fields"] != PHONE

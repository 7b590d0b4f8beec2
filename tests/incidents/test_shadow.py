"""A shadow converts a share of the live events with a draft, counts exactly, and sends nothing."""

import json
from datetime import timedelta
from typing import Any

from app.domain.event import LARGE_JSON_BYTES
from app.domain.observed.differences import ShadowCounts
from app.store.match_quality import shadows
from tests.event_loop import pauses
from tests.incidents.conftest import Service
from tests.pipeline.rows import LABORIOUS_VALUE
from tests.pipeline.world import MAPPING, event, laborious_event

PHONE = {"path": "user.phone"}


async def drafted(service: Service, **changes: Any) -> tuple[str, str]:
    """Publish a mapping, change its draft, and return the destination and the path of the shadow.

    The clock of shadows stands still: on a busy machine, events would wait too long and be skipped.
    """
    service.world.intake.shadows.monotonic = lambda: 0.0
    destination = await service.world.destination()
    (row,) = await service.world.fetch("SELECT id FROM mappings WHERE destination = $1", destination)
    path = f"/destinations/{destination}/mappings/{row['id']}"
    answer = await service.client.patch(path, content=json.dumps(changes))
    assert answer.status_code == 200, answer.text
    return destination, f"{path}/shadow"


def fields(**changes: Any) -> dict[str, Any]:
    found = {**MAPPING["fields"], **changes}
    return {name: source for name, source in found.items() if source is not None}


async def test_the_counts_are_exact(service: Service) -> None:
    """Gained, lost, changed, newly rejected and newly accepted; nothing of it is sent or changes a result."""
    world = service.world
    destination, path = await drafted(
        service,
        fields=fields(phone=PHONE, value=None),
        custom_data=[{"name": "brand", "path": "event.label"}],
    )
    assert (await service.get(path))["state"] == "none"
    started = await service.send(path, share=1, minutes=5)
    assert started.status_code == 200, started.text
    assert (started.json()["state"], started.json()["events"]) == ("running", 0)
    plain = [event(n) for n in range(10)]  # lose value and brand
    labelled = [event(20 + n) for n in range(6)]
    for made in labelled:
        made["event"]["label"] = "other"  # brand changes
        made["user"]["phone"] = "+12025550173"  # gain phone
    rejected = [event(40 + n) for n in range(4)]
    for made in rejected:
        made["event"]["total"] = "no number"  # only the published version reads it
    results = await service.post(destination, *plain, *labelled, *rejected)
    assert [each["status"] for each in results] == ["accepted"] * 16 + ["rejected"] * 4
    await service.post(destination, event(1))  # a duplicate is not counted
    found = await service.get(path)
    names = ("events", "same", "different", "newly_rejected", "newly_accepted", "skipped")
    assert {name: found[name] for name in names} == {
        "events": 20, "same": 0, "different": 16, "newly_rejected": 0, "newly_accepted": 4, "skipped": 0,
    }  # fmt: skip
    assert {each.pop("field"): each for each in found["fields"]} == {
        "value": {"gained": 0, "lost": 16, "changed": 0},
        "custom_data.brand": {"gained": 0, "lost": 10, "changed": 6},
        "phone": {"gained": 6, "lost": 0, "changed": 0},
    }
    (stored,) = await world.fetch("SELECT document::text || fields::text AS text FROM shadows")
    assert "person1@" not in stored["text"]
    ended = await service.client.delete(path)
    assert (ended.status_code, ended.json()["state"]) == (200, "ended")
    await service.post(destination, event(60))
    assert (await service.get(path))["events"] == 20
    actions = await world.fetch("SELECT action FROM audit ORDER BY sequence DESC LIMIT 2")
    assert [row["action"] for row in actions] == ["mapping.shadow_ended", "mapping.shadow_started"]


async def test_counts_of_processes_are_added(service: Service) -> None:
    """Also of fields that only one of them saw. An ended shadow's counts do not reach the next one."""
    destination, path = await drafted(service, custom_data=[{"name": "brand", "path": "event.label"}])
    await service.send(path, share=1, minutes=5)
    await service.post(destination, event(1))
    (row,) = await service.world.fetch("SELECT destination, started_at FROM shadows")
    counts = ShadowCounts(9, 1, 2, 3, 3, 4, {"custom_data.brand": [1, 2, 3], "phone": [5, 0, 0]})
    async with service.world.resources.pool.acquire() as connection:
        await shadows.add(connection, row["destination"], row["started_at"], counts)
        await shadows.add(connection, row["destination"], row["started_at"] - timedelta(seconds=1), counts)
    found = await service.get(path)
    names = ("events", "same", "different", "newly_rejected", "newly_accepted", "skipped")
    assert [found[name] for name in names] == [10, 1, 3, 3, 3, 4]
    assert {each.pop("field"): each for each in found["fields"]} == {
        "custom_data.brand": {"gained": 1, "lost": 3, "changed": 3},
        "phone": {"gained": 5, "lost": 0, "changed": 0},
    }
    await service.send(path, share=1, minutes=5)
    assert (await service.get(path))["fields"] == []


async def test_a_number_of_a_mapping_stays_exact(service: Service) -> None:
    """A double has 17 digits. Preview, published version and shadow calculate with all 24."""
    world, exact = service.world, "123456789012.123456789012"
    row = {"name": "exact", "path": "event.total", "pipe": [["add", 0.5], "to_string"]}
    destination = await world.destination()
    (found,) = await world.fetch("SELECT id FROM mappings WHERE destination = $1", destination)
    path = f"/destinations/{destination}/mappings/{found['id']}"
    changed = await service.client.patch(
        path, content=json.dumps({"custom_data": [row]}).replace("0.5", exact)
    )
    assert changed.status_code == 200, changed.text
    preview = (await service.send(f"{path}/preview", event=event(1))).json()
    assert (await service.send(f"{path}/publish")).status_code == 200
    await service.send(f"{path}/shadow", share=1, minutes=5)
    await service.post(destination, event(1))
    await world.work_until(destination, delivered=1)
    (sent,) = world.amazon.requests[0].events
    assert sent["customData"] == preview["amazon_event"]["customData"] == [
        {"name": "exact", "value": "123456789023.123456789012"}
    ]  # fmt: skip
    assert (await service.get(f"{path}/shadow"))["same"] == 1


async def test_an_equal_draft_is_the_same_and_a_worse_one_rejects(service: Service) -> None:
    """A field that no event has makes every event lack its match key."""
    destination, path = await drafted(service, name="Renamed only")
    await service.send(path, share=1, minutes=5)
    await service.post(destination, *(event(n) for n in range(7)))
    found = await service.get(path)
    assert (found["events"], found["same"], found["fields"]) == (7, 7, [])
    worse, path = await drafted(service, fields=fields(email={"path": "user.mail"}))
    await service.send(path, share=1, minutes=5)
    await service.post(worse, *(event(n) for n in range(5)))
    found = await service.get(path)
    assert (found["events"], found["newly_rejected"]) == (5, 5)


async def test_a_share_is_a_share_and_a_busy_process_skips(service: Service) -> None:
    """A tenth of the events, give or take; more than 500 waiting ones are counted as skipped."""
    destination, path = await drafted(service, name="Renamed only")
    await service.send(path, share=0.1, minutes=5)
    await service.post(destination, *(event(n) for n in range(1000)))
    found = await service.get(path)
    assert 50 <= found["events"] + found["skipped"] <= 160
    await service.send(path, share=1, minutes=5)
    await service.post(destination, *(event(2000 + n) for n in range(1500)))
    found = await service.get(path)
    assert found["events"] + found["skipped"] == 1500
    assert found["skipped"] >= 1000


async def test_an_event_that_waits_too_long_or_is_large_is_skipped(service: Service) -> None:
    """Half a second shows that the process is busy; a large event would keep it busy."""
    destination, path = await drafted(service, name="Renamed only")
    shadows = service.world.intake.shadows
    await service.send(path, share=1, minutes=5)
    await shadows.synchronise()
    await service.post(destination, event(1))
    shadows.monotonic = lambda: 0.5
    await service.post(destination, event(2))
    await service.post(destination, event(3, note="x" * LARGE_JSON_BYTES))
    shadows.monotonic = lambda: 0.6
    found = await service.get(path)
    assert (found["events"], found["skipped"]) == (1, 2)


async def test_events_that_take_much_work_are_converted_with_pauses(service: Service) -> None:
    """A draft can take more than ten milliseconds for an event, in which no request is answered."""
    destination, path = await drafted(service, fields=fields(value=LABORIOUS_VALUE))
    await service.send(path, share=1, minutes=5)
    await service.world.intake.shadows.synchronise()
    await service.post(destination, *(laborious_event(n) for n in range(20)))
    assert 9 <= pauses(service.world.intake.shadows._convert()) <= 20
    assert (await service.get(path))["events"] == 20


async def test_what_cannot_be_shadowed(service: Service) -> None:
    """A draft that cannot be published, and limits of share and time."""
    _, path = await drafted(service, fields={"email": {"path": "user.email"}})
    assert (await service.send(path, share=1, minutes=5)).status_code == 422
    _, path = await drafted(service, name="Good")
    for body in ({"share": 0, "minutes": 5}, {"share": 1.1, "minutes": 5}, {"share": 1, "minutes": 0}):
        assert (await service.send(path, **body)).status_code == 422
    assert (await service.send(path, share=1, minutes=1441)).status_code == 422

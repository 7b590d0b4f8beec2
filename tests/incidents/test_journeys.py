"""Figures by journey node, replay of selected events with its history, and dismissal of dead letters."""

import hashlib
import json
from typing import Any

from tests.incidents.conftest import Service
from tests.pipeline.amazon import refuse_odd
from tests.pipeline.world import event, eventually


def of_node(number: int, node: str, *, execution: str = "x1", journey: str = "j1") -> dict[str, Any]:
    return event(number, journey={"id": journey, "node_id": node, "execution_id": execution})


async def test_the_dead_events_of_an_execution_are_replayed(service: Service, dst: str) -> None:
    """The record of the replay has its filter and what became of the events."""
    await service.post(
        dst,
        *(of_node(number, "n1") for number in range(4)),
        *(of_node(number, "n2", execution="x2") for number in range(4, 7)),
        of_node(8, "n2", journey="j2"),
    )
    service.world.amazon.script = refuse_odd
    await service.world.work_until(dst, delivered=5, dead=3)
    listed = await service.get(f"/destinations/{dst}/events", node_id="n1", status="dead")
    assert sorted(item["event_id"] for item in listed["items"]) == ["ord-1", "ord-3"]
    assert (await service.get(f"/destinations/{dst}/events", node_id=""))["items"] == []

    service.world.amazon.script = None
    path = f"/destinations/{dst}"
    dry = (await service.send(f"{path}/replay", status="dead", execution_id="x1", dry_run=True)).json()
    assert (dry["matched"], dry["replay_id"]) == (2, None)
    done = (await service.send(f"{path}/replay", status="dead", execution_id="x1", dry_run=False)).json()
    assert done["replayed"] == 2
    await service.world.until(dst, delivered=7, dead=1)
    (replay,) = (await service.get(f"{path}/replays"))["items"]
    assert replay == await service.get(f"{path}/replays/{done['replay_id']}")
    assert {**replay, "requested_at": ""} == {
        "replay_id": done["replay_id"], "requested_at": "", "requested_by": "bootstrap", "status": "dead",
        "reason": None, "since": None, "until": None, "event_ids": None, "execution_id": "x1",
        "journey_id": None, "node_id": None, "mapping_id": None, "event_type": None, "cause": None,
        "include_dismissed": False, "replayed": 2, "waiting": 0, "delivered": 2, "dead": 0,
        "expired": 0, "erased": 0,
    }  # fmt: skip
    await service.world.stop_workers()


async def test_dismissed_dead_letters_stay_dead_and_are_no_longer_open(service: Service, dst: str) -> None:
    """A dismissed one that is replayed and fails again is open again."""
    await service.post(dst, *(of_node(number, "n1") for number in (1, 3, 5)))
    service.world.amazon.script = refuse_odd
    await service.world.work_until(dst, dead=3)
    path = f"/destinations/{dst}"

    async def dead_open() -> int:
        return int((await service.get(f"{path}/stats"))["dead_open"])

    assert await dead_open() == 3
    dismiss = f"{path}/dead-letters/dismiss"
    dry = (await service.send(dismiss, event_ids=["ord-1"])).json()
    assert dry == {"dry_run": True, "matched": 1, "dismissed": 1, "not_found": []}
    assert await dead_open() == 3
    for dismissed in (1, 0):
        done = (await service.send(dismiss, event_ids=["none", "ord-1"], dry_run=False)).json()
        assert done == {
            "dry_run": False, "matched": dismissed, "dismissed": dismissed, "not_found": ["none"],
        }  # fmt: skip
    assert await dead_open() == 2
    assert (await service.send(dismiss, node_id="n1", dry_run=False)).json()["dismissed"] == 2
    assert await dead_open() == 0
    assert (await service.get(f"{path}/stats"))["counts"]["dead"] == 3
    rows = await service.world.fetch("SELECT action, after FROM audit ORDER BY sequence")
    digest = hashlib.sha256(b"none\nord-1").hexdigest()
    assert [(row["action"], json.loads(row["after"])) for row in rows] == [
        (
            "dead_letters.dismissed",
            {"event_ids": {"count": 2, "sha256": digest}, "status": "dead", "dismissed": 1},
        ),
        ("dead_letters.dismissed", {"node_id": "n1", "status": "dead", "dismissed": 2}),
    ]
    done = (await service.send(f"{path}/replay", event_ids=["ord-3"], dry_run=False)).json()
    assert done["replayed"] == 1

    async def again() -> bool:
        return await dead_open() == 1

    await eventually(again)
    history = await service.get("/events/ord-3", destination_id=dst)
    assert (history["dismissed_at"], history["dismissed_by"]) == (None, None)
    assert (await service.send(f"{path}/replay", status="dead", event_ids=[])).status_code == 422
    await service.world.stop_workers()


async def test_dismissed_dead_letters_are_listed_and_left_out_of_a_replay_by_filter(service: Service) -> None:
    """History, lists, search and exports say who dismissed them; a replay takes them when asked to."""
    destination = await service.world.destination()
    await service.post(destination, *(of_node(number, f"n{number}") for number in (1, 3)), of_node(2, "n2"))
    service.world.amazon.script = refuse_odd
    await service.world.work_until(destination, dead=2, delivered=1)
    await service.world.stop_workers()
    path = f"/destinations/{destination}"
    await service.send(f"{path}/dead-letters/dismiss", journey_id="j1", node_id="n1", dry_run=False)
    history = await service.get("/events/ord-1", destination_id=destination)
    assert (history["status"], history["dismissed_by"]) == ("dead", "bootstrap")
    assert history["dismissed_at"] is not None
    assert "Dismissed at" in history["explanation"]
    assert "replay" not in history["explanation"].lower()
    for address in (f"{path}/events", "/event-search"):
        for dismissed, ids in (("true", ["ord-1"]), ("false", ["ord-2", "ord-3"])):
            items = (await service.get(address, dismissed=dismissed))["items"]
            assert sorted(item["event_id"] for item in items) == ids
            assert {item["dismissed_at"] is not None for item in items} == {dismissed == "true"}
        exported = await service.client.get(address, params={"dismissed": "true", "format": "ndjson"})
        assert [json.loads(line)["dismissed_by"] for line in exported.text.splitlines()] == ["bootstrap"]
    for body, matched in (
        ({}, 1),
        ({"journey_id": "j1"}, 1),
        ({"node_id": "n1"}, 0),
        ({"status": "expired"}, 0),
        ({"include_dismissed": True}, 2),
        ({"node_id": "n1", "include_dismissed": True}, 1),
        ({"event_ids": ["ord-1"]}, 1),
    ):
        answer = (await service.send(f"{path}/replay", **body)).json()
        assert (answer["dry_run"], answer["matched"], answer["replayed"]) == (True, matched, matched), body
    for action, status in (("replay", "delivered"), ("dead-letters/dismiss", "expired")):
        assert (await service.send(f"{path}/{action}", status=status)).status_code == 422

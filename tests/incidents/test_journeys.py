"""Figures by journey node, replay of selected events with its history, and dismissal of dead letters."""

from typing import Any

import httpx

from tests.incidents.conftest import Service
from tests.pipeline.amazon import Request
from tests.pipeline.world import event, eventually


def of_node(number: int, node: str, *, execution: str = "x1", journey: str = "j1") -> dict[str, Any]:
    ids = {"id": journey, "node_id": node, "execution_id": execution}
    return event(number, journey=ids)


def refuse_odd(request: Request) -> httpx.Response:
    """Refuse the events with an odd number."""
    odd = [index for index, each in enumerate(request.events) if int(each["eventId"].rpartition("-")[2]) % 2]
    success = [{"index": index} for index in range(len(request.events)) if index not in odd]
    error = [{"index": index, "code": "INVALID", "message": "no"} for index in odd]
    return httpx.Response(207, json={"success": success, "error": error})


async def figures(service: Service, destination: str, **query: str) -> dict[str, int]:
    counts = (await service.get(f"/destinations/{destination}/stats", **query))["counts"]
    shown = ("accepted", "duplicates", "rejected", "delivered", "dead", "retrying")
    assert counts["accepted"] == sum(
        number for name, number in counts.items() if name not in ("accepted", "duplicates", "rejected")
    )
    return {name: counts[name] for name in shown if counts[name]}


async def test_figures_of_a_node_stay_exact_under_replay(service: Service) -> None:
    """Accepted, rejected, delivered and dead, per journey and node."""
    destination = await service.world.destination()
    await service.post(
        destination,
        *(of_node(number, "n1") for number in range(4)),
        *(of_node(number, "n2", execution="x2") for number in range(4, 7)),
        of_node(8, "n2", journey="j2"),
        {"event_id": "no", "journey": {"id": "j1", "node_id": "n1"}},
    )
    # Repeated beside a new event, and alone.
    await service.post(destination, *[of_node(9, "n3", execution="x3")] * 2, of_node(0, "n1"))
    await service.post(destination, of_node(0, "n1"))
    service.world.amazon.script = refuse_odd
    service.world.work()
    await service.world.until(destination, delivered=5, dead=4)
    n1 = {"accepted": 4, "duplicates": 2, "rejected": 1, "delivered": 2, "dead": 2}
    n3 = {"accepted": 1, "duplicates": 1, "dead": 1}
    assert await figures(service, destination, node_id="n3") == n3
    assert await figures(service, destination, journey_id="j1", node_id="n1") == n1
    assert await figures(service, destination, node_id="n2") == {"accepted": 4, "delivered": 3, "dead": 1}
    assert await figures(service, destination, journey_id="j2") == {"accepted": 1, "delivered": 1}
    assert await figures(service, destination, journey_id="none") == {}
    listed = await service.get(f"/destinations/{destination}/events", node_id="n1", status="dead")
    assert sorted(item["event_id"] for item in listed["items"]) == ["ord-1", "ord-3"]
    blank = await service.get(f"/destinations/{destination}/events", node_id="")
    assert blank["items"] == []

    service.world.amazon.script = None
    path = f"/destinations/{destination}"
    dry = (await service.send(f"{path}/replay", status="dead", execution_id="x1", dry_run=True)).json()
    assert (dry["matched"], dry["replay_id"]) == (2, None)
    done = (await service.send(f"{path}/replay", status="dead", execution_id="x1")).json()
    assert done["replayed"] == 2
    await service.world.until(destination, delivered=7, dead=2)
    n1 = {"accepted": 4, "duplicates": 2, "rejected": 1, "delivered": 4}
    assert await figures(service, destination, journey_id="j1", node_id="n1") == n1
    (replay,) = (await service.get(f"{path}/replays"))["items"]
    assert replay == await service.get(f"{path}/replays/{done['replay_id']}")
    assert {**replay, "requested_at": ""} == {
        "replay_id": done["replay_id"], "requested_at": "", "requested_by": "bootstrap", "status": "dead",
        "reason": None, "since": None, "until": None, "replayed": 2, "waiting": 0, "delivered": 2, "dead": 0,
        "expired": 0, "erased": 0,
    }  # fmt: skip
    await service.world.stop_workers()


async def test_dismissed_dead_letters_stay_dead_and_are_no_longer_open(service: Service) -> None:
    """A dismissed one that is replayed and fails again is open again."""
    destination = await service.world.destination()
    await service.post(destination, *(of_node(number, "n1") for number in (1, 3, 5)))
    service.world.amazon.script = refuse_odd
    service.world.work()
    await service.world.until(destination, dead=3)
    path = f"/destinations/{destination}"

    async def dead_open() -> int:
        return int((await service.get(f"{path}/stats"))["dead_open"])

    assert await dead_open() == 3
    dry = (await service.send(f"{path}/dead-letters/dismiss", event_ids=["ord-1"], dry_run=True)).json()
    assert dry == {"dry_run": True, "matched": 1, "dismissed": 0, "not_found": []}
    for dismissed in (1, 0):
        done = (await service.send(f"{path}/dead-letters/dismiss", event_ids=["ord-1", "none"])).json()
        assert done == {
            "dry_run": False, "matched": dismissed, "dismissed": dismissed, "not_found": ["none"],
        }  # fmt: skip
    assert await dead_open() == 2
    assert (await service.send(f"{path}/dead-letters/dismiss")).json()["dismissed"] == 2
    assert await dead_open() == 0
    assert (await service.get(f"{path}/stats"))["counts"]["dead"] == 3
    actions = [row["action"] for row in await service.world.fetch("SELECT action FROM audit")]
    assert actions == ["dead_letters.dismissed"] * 2
    assert (await service.send(f"{path}/replay", status="dead", event_ids=["ord-3"])).json()["replayed"] == 1

    async def again() -> bool:
        return await dead_open() == 1

    await eventually(again)
    assert (await service.send(f"{path}/replay", status="dead", event_ids=[])).status_code == 422
    await service.world.stop_workers()

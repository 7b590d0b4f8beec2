"""Keys are replaced with an overlap, in which both work."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.api.world import ApiWorld


async def made(world: ApiWorld, **limits: object) -> dict[str, object]:
    answer = await world.call(
        "POST", "/keys", {"name": "journeys", "scopes": ["destinations:read"], **limits}
    )
    return dict(answer.json())


async def test_both_keys_work_through_the_overlap_and_then_the_new_one_alone(world: ApiWorld) -> None:
    """Same name, same scopes, same limits; the old one ends by itself."""
    destination = (await world.create_destination())["id"]
    old = await made(world, destination_ids=[destination])
    answer = await world.call("POST", f"/keys/{old['id']}/rotate", {"overlap_seconds": 3600})
    assert answer.status_code == 201
    new = answer.json()
    assert new["replaces"] == old["id"]
    for member in ("name", "scopes", "destination_ids"):
        assert new[member] == old[member]
    ends = datetime.fromisoformat(new["replaced"]["expires_at"])
    assert timedelta(minutes=50) < ends - datetime.now(UTC) < timedelta(minutes=70)
    for key in (old["key"], new["key"]):
        assert (await world.call("GET", "/destinations", key=str(key))).status_code == 200
    await world.sql("UPDATE api_keys SET expires_at = now() WHERE id = :id", id=old["id"])
    world.elapsed += 5
    assert (await world.call("GET", "/destinations", key=str(old["key"]))).status_code == 401
    assert (await world.call("GET", "/destinations", key=new["key"])).status_code == 200


async def test_without_overlap_the_old_key_ends_at_once(world: ApiWorld) -> None:
    """For a key that was seen by the wrong eyes."""
    old = await made(world)
    new = (await world.call("POST", f"/keys/{old['id']}/rotate", {"overlap_seconds": 0})).json()
    assert (await world.call("GET", "/destinations", key=str(old["key"]))).status_code == 401
    assert (await world.call("GET", "/destinations", key=new["key"])).status_code == 200


async def test_an_overlap_does_not_lengthen_a_life(world: ApiWorld) -> None:
    """A key that would end earlier does."""
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    world.now = datetime.now(UTC)
    old = await made(world, expires_at=soon)
    new = (await world.call("POST", f"/keys/{old['id']}/rotate")).json()
    assert datetime.fromisoformat(new["replaced"]["expires_at"]) == datetime.fromisoformat(soon)
    assert new["expires_at"] is None


async def test_what_has_ended_is_not_replaced(world: ApiWorld) -> None:
    """409, and no key is made."""
    old = await made(world)
    await world.call("DELETE", f"/keys/{old['id']}")
    answer = await world.call("POST", f"/keys/{old['id']}/rotate")
    assert (answer.status_code, answer.json()["error"]) == (409, "key_ended")
    assert len((await world.call("GET", "/keys")).json()["items"]) == 1


async def test_of_eight_rotations_at_once_one_makes_a_successor(world: ApiWorld) -> None:
    """The other processes are notified; while a successor is valid, the old key gets no second one."""
    old = await made(world)
    answers = await asyncio.gather(*(world.call("POST", f"/keys/{old['id']}/rotate") for _ in range(8)))
    assert sorted(one.status_code for one in answers) == [201, *[409] * 7]
    assert {one.json()["error"] for one in answers if one.status_code == 409} == {"key_rotated"}
    items = (await world.call("GET", "/keys")).json()["items"]
    (successor,) = [one for one in items if one["replaces"] == old["id"]]
    await world.call("DELETE", f"/keys/{successor['id']}")
    assert (await world.call("POST", f"/keys/{old['id']}/rotate")).status_code == 201


async def test_a_rotation_is_audited_without_the_key(world: ApiWorld) -> None:
    """Who replaced which by which."""
    old = await made(world)
    new = (await world.call("POST", f"/keys/{old['id']}/rotate")).json()
    (rotated, created, _) = (await world.call("GET", "/audit")).json()["items"]
    assert (rotated["action"], created["action"]) == ("key.rotated", "key.created")
    assert rotated["after"]["replaced_by"] == new["id"]
    assert new["key"] not in str((rotated, created))


@pytest.mark.parametrize("body", [{"overlap_seconds": -1}, {"overlap_seconds": 10**9}, {"scopes": []}])
async def test_a_wrong_rotation_is_refused(world: ApiWorld, body: dict[str, object]) -> None:
    """422, and the old key stays as it was."""
    old = await made(world)
    assert (await world.call("POST", f"/keys/{old['id']}/rotate", body)).status_code == 422
    assert (await world.call("GET", "/keys")).json()["items"][0]["expires_at"] is None

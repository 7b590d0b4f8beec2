"""`/audit`: changes of the configuration, newest first."""

from tests.api.world import JSON, ApiWorld


async def test_the_audit_shows_what_changed_newest_first(world: ApiWorld, acme: JSON) -> None:
    """`before` and `after` hold the members that changed and no others."""
    await world.call("PATCH", f"/destinations/{acme['id']}", {"currency": "EUR"})
    items = (await world.call("GET", "/audit")).json()["items"]
    assert [item["action"] for item in items] == ["destination.changed", "destination.created"]
    assert (items[0]["before"], items[0]["after"]) == ({"currency": "USD"}, {"currency": "EUR"})
    assert (items[0]["actor"], items[0]["destination_id"]) == ("bootstrap", acme["id"])


async def test_the_audit_is_read_in_pages_and_by_destination_and_act(world: ApiWorld) -> None:
    """Each act once."""
    first, second = await world.create_destination(name="a"), await world.create_destination(name="b")
    for _ in range(2):
        await world.call("POST", f"/destinations/{first['id']}/pause")
        await world.call("POST", f"/destinations/{first['id']}/resume")
    found = [item["id"] for item in await world.pages("/audit")]
    assert len(found) == len(set(found)) == 6
    mine = (await world.call("GET", f"/audit?destination_id={second['id']}")).json()["items"]
    assert [item["action"] for item in mine] == ["destination.created"]
    paused = (await world.call("GET", "/audit?action=destination.paused")).json()["items"]
    assert len(paused) == 2

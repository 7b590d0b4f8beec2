"""`/destinations/{id}/status-callback`: destinations switch callbacks on; operators set the URL."""

import pytest

from tests.api.world import ApiWorld


async def test_it_is_off_until_switched_on_and_twice_is_once(world: ApiWorld) -> None:
    """On, on, off, off: two acts in the audit."""
    path = f"/destinations/{(await world.create_destination())['id']}/status-callback"
    before = (await world.call("GET", path)).json()
    assert (before["enabled"], before["waiting"], before["problem"]) == (False, 0, None)
    for enabled in (True, True, False, False):
        answer = (await world.call("POST", path, {"enabled": enabled})).json()
        assert answer["enabled"] is enabled
        assert (await world.call("GET", path)).json() == answer
    assert (await world.actions())[-2:] == ["destination.callback_changed"] * 2


@pytest.mark.parametrize("name", ["url", "address", "STATUS_CALLBACK_URL"])
async def test_no_caller_chooses_the_address(world: ApiWorld, name: str) -> None:
    """A body that names one is refused whole."""
    path = f"/destinations/{(await world.create_destination())['id']}/status-callback"
    answer = await world.call("POST", path, {"enabled": True, name: "http://169.254.169.254/"})
    assert answer.status_code == 422
    assert (await world.call("GET", path)).json()["enabled"] is False

"""Publish page: a harmful draft needs the mapping's name, and each action says what it did."""

import pytest

from tests.api.test_backtests import PHONE, ready
from tests.api.world import ApiWorld
from tests.console.test_sessions import sign_in, submit, world

__all__ = ["world"]  # a fixture

BROKEN = {**PHONE, "phone": {"path": "user.fone"}}


@pytest.mark.parametrize("name", ["", "another name"])
async def test_a_draft_that_loses_match_keys_is_published_only_by_name(world: ApiWorld, name: str) -> None:
    """The form asks for the name; without it nothing is published."""
    _, mapping = await ready(world)
    draft = (await world.call("PATCH", mapping, {"fields": BROKEN})).json()
    await sign_in(world)
    page = f"/console{mapping}/publish"
    assert "Type the name of the mapping" in (await world.client.get(page)).text
    version = str(draft["version"])
    refused = await submit(world, page, version=version, name=name)
    assert refused.status_code == 422
    assert "Type the exact name of the mapping to publish it. Nothing was published." in refused.text
    assert (await world.call("GET", mapping)).json()["published_version"] == 1
    published = await submit(world, page, version=version, name=draft["name"])
    assert published.status_code == 303
    assert "Version 2 published." in (await world.client.get(published.headers["location"])).text


async def test_a_harmless_draft_needs_no_name_and_a_rollback_says_what_it_did(world: ApiWorld) -> None:
    """The page after an action shows its result."""
    destination, mapping = await ready(world)
    draft = (await world.call("PATCH", mapping, {"name": "Renamed"})).json()
    await sign_in(world)
    page = f"/console{mapping}/publish"
    assert "Type the name of the mapping" not in (await world.client.get(page)).text
    published = await submit(world, page, version=str(draft["version"]))
    text = (await world.client.get(published.headers["location"])).text
    assert "Version 2 published." in text
    assert f'href="/console{destination}/events">Events</a>' in text
    version = (await world.call("GET", mapping)).json()["version"]
    rolled_back = await submit(world, f"/console{mapping}/rollback", version=str(version), to="1")
    assert rolled_back.headers["location"] == f"/console{mapping}/versions"
    assert "Rolled back to version 1." in (await world.client.get(rolled_back.headers["location"])).text


async def test_a_stale_page_publishes_nothing(world: ApiWorld) -> None:
    """Someone else changed the draft after the page was opened."""
    _, mapping = await ready(world)
    draft = (await world.call("PATCH", mapping, {"name": "Renamed"})).json()
    await sign_in(world)
    answer = await submit(world, f"/console{mapping}/publish", version=str(draft["version"] - 1))
    assert answer.status_code == 412
    assert "Someone else changed this after you opened" in answer.text

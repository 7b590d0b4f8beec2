"""Pause, resume, disconnect and delete (interface §3): what stops sending answers once it has stopped."""

import pytest

from tests.api.world import ApiWorld


async def test_resume_returns_to_the_state_before_the_pause(world: ApiWorld) -> None:
    """From every state that can be paused."""
    made = await world.create_destination()
    path = f"/destinations/{made['id']}"
    for expected in ("draft", "connected", "active"):
        assert (await world.call("GET", path)).json()["state"] == expected
        assert (await world.call("POST", f"{path}/pause")).json()["state"] == "paused"
        assert (await world.call("POST", f"{path}/resume")).json()["state"] == expected
        if expected == "draft":
            await world.connect(made)
        if expected == "connected":
            await world.publish_mapping(made["id"])


async def test_a_pause_answers_only_after_started_requests_have_settled(world: ApiWorld) -> None:
    """The fact is committed first, then the pipeline is waited for."""
    made = await world.create_destination()
    seen: list[bool] = []
    quiesce = world.delivery_control.quiesce

    async def read_state(destination: object) -> None:
        seen.append((await world.sql("SELECT paused FROM destinations"))[0].paused)
        await quiesce(destination)  # type: ignore[arg-type]

    world.delivery_control.quiesce = read_state  # type: ignore[method-assign]
    answer = await world.call("POST", f"/destinations/{made['id']}/pause")
    assert answer.status_code == 200
    assert seen == [True]


async def test_pausing_twice_is_one_act(world: ApiWorld) -> None:
    """And the second answers only once all has settled, too."""
    made = await world.create_destination()
    await world.call("POST", f"/destinations/{made['id']}/pause")
    await world.call("POST", f"/destinations/{made['id']}/pause")
    assert await world.actions() == ["destination.created", "destination.paused"]
    assert [calls for calls, _ in world.delivery_control.calls] == ["quiesce", "quiesce"]


async def test_a_pause_survives_a_reconnect(world: ApiWorld) -> None:
    """Connecting a paused destination leaves it paused."""
    made = await world.create_destination()
    await world.call("POST", f"/destinations/{made['id']}/pause")
    assert (await world.connect(made))["state"] == "paused"
    assert (await world.call("POST", f"/destinations/{made['id']}/resume")).json()["state"] == "connected"


async def test_an_action_takes_no_body_but_an_empty_one(world: ApiWorld) -> None:
    """A POST without a body needs no Content-Type; an unknown field is refused as everywhere."""
    made = await world.create_destination()
    for action in ("replay", "dead-letters/dismiss", "pause"):
        path = f"/destinations/{made['id']}/{action}"
        assert (await world.call("POST", path)).status_code == 200
        assert (await world.call("POST", path, {})).status_code == 200
    answer = await world.call("POST", path, {"until": "tomorrow"})
    assert answer.status_code == 422
    assert answer.json()["fields"] == [{"field": "until", "problem": "unknown_field"}]


async def test_disconnect_gives_draft_when_nothing_waits(world: ApiWorld) -> None:
    """And the tokens are gone."""
    made = await world.create_destination()
    await world.connect(made)
    answer = await world.call("POST", f"/destinations/{made['id']}/disconnect")
    assert (answer.status_code, answer.json()["state"]) == (200, "draft")
    assert await world.sql("SELECT * FROM sign_ins") == []


async def test_disconnect_gives_needs_reconnect_when_events_wait(world: ApiWorld) -> None:
    """They are kept, and reconnecting releases them."""
    made = await world.create_destination()
    await world.connect(made)
    world.delivery_control.owed[1] = 3
    answer = await world.call("POST", f"/destinations/{made['id']}/disconnect")
    assert (answer.json()["state"], answer.json()["reason"]) == ("needs_reconnect", "disconnected")
    assert (await world.connect(made))["state"] == "connected"


async def test_disconnecting_a_draft_changes_nothing(world: ApiWorld) -> None:
    """200, no act."""
    made = await world.create_destination()
    assert (await world.call("POST", f"/destinations/{made['id']}/disconnect")).json()["state"] == "draft"
    assert await world.actions() == ["destination.created"]


async def test_delete_archives(world: ApiWorld) -> None:
    """It leaves the list, stays readable, and nothing about it changes any more."""
    made = await world.create_destination()
    path = f"/destinations/{made['id']}"
    answer = await world.call("DELETE", path)
    assert (answer.status_code, answer.json()["state"]) == (200, "archived")
    assert (await world.call("GET", path)).json()["state"] == "archived"
    assert (await world.call("GET", "/destinations")).json()["items"] == []
    assert len((await world.call("GET", "/destinations?state=archived")).json()["items"]) == 1


@pytest.mark.parametrize(
    ("method", "action", "body"),
    [
        ("PATCH", "", {"name": "x"}),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/connect", None),
        ("POST", "/disconnect", None),
        ("POST", "/mappings", {"name": "m"}),
    ],
)
async def test_an_archived_destination_does_not_change(
    world: ApiWorld, method: str, action: str, body: object
) -> None:
    """409 `destination_archived` for every act."""
    made = await world.create_destination()
    await world.call("DELETE", f"/destinations/{made['id']}")
    answer = await world.call(method, f"/destinations/{made['id']}{action}", body)
    assert (answer.status_code, answer.json()["error"]) == (409, "destination_archived")


async def test_delete_is_refused_while_events_wait(world: ApiWorld) -> None:
    """409 with the number, and the destination stays as it was."""
    made = await world.create_destination()
    world.delivery_control.owed[1] = 7
    answer = await world.call("DELETE", f"/destinations/{made['id']}")
    assert (answer.status_code, answer.json()["error"], answer.json()["waiting"]) == (
        409,
        "events_waiting",
        7,
    )
    assert (await world.call("GET", f"/destinations/{made['id']}")).json()["state"] == "draft"


async def test_delete_with_discard_gives_up_what_waits_after_started_requests_settled(
    world: ApiWorld,
) -> None:
    """Archived, waited for, discarded: in this order."""
    made = await world.create_destination()
    world.delivery_control.owed[1] = 7
    answer = await world.call("DELETE", f"/destinations/{made['id']}?discard=true")
    assert (answer.status_code, answer.json()["discarded"]) == (200, 7)
    assert [calls for calls, _ in world.delivery_control.calls] == ["waiting", "quiesce", "discard"]


async def test_deleting_again_finishes_a_discard_that_was_cut_short(world: ApiWorld) -> None:
    """An archived destination still owing events gives them up on the second try."""
    made = await world.create_destination()
    await world.call("DELETE", f"/destinations/{made['id']}")
    world.delivery_control.owed[1] = 2
    answer = await world.call("DELETE", f"/destinations/{made['id']}?discard=true")
    assert (answer.status_code, answer.json()["discarded"]) == (200, 2)


async def test_deleting_deletes_the_tokens(world: ApiWorld) -> None:
    """An archived destination keeps nothing that opens the advertiser's account."""
    made = await world.create_destination()
    await world.connect(made)
    await world.call("DELETE", f"/destinations/{made['id']}")
    assert await world.sql("SELECT * FROM sign_ins") == []

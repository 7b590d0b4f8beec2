"""The order of messages, channels that recover, and processes with different channels."""

import asyncio

import httpx
import pytest

from app.domain.incidents.kinds import Kind
from tests.incidents.conftest import Watch
from tests.incidents.receivers import webhook_receiver
from tests.incidents.test_incident_kinds import set_alerting
from tests.pipeline.world import event

BREAK = "UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked' WHERE id = $1"
SIGN_IN_AGAIN = "UPDATE destinations SET sign_in = 'valid', sign_in_reason = NULL WHERE id = $1"


async def test_an_unsent_opening_is_dropped_when_its_incident_is_resolved(watch: Watch) -> None:
    """The receiver was away. The last message that it gets is not about a problem that is over."""
    watch.receiver.mode = "refuse"
    destination = await watch.world.destination()
    await watch.world.fetch(BREAK, destination)
    await watch.until_open("sign_in_lost")
    await watch.world.fetch(SIGN_IN_AGAIN, destination)
    await watch.resolved("sign_in_lost")
    watch.receiver.mode = "ok"
    await watch.world.fetch("UPDATE notifications SET due_at = now()")
    await watch.delivery.run()
    assert [message["type"] for message in watch.receiver.messages] == ["incident.resolved"]


async def test_an_unsent_opening_is_dropped_when_its_incident_is_merged(watch: Watch) -> None:
    """The message of the cause says it all. A consequence that outlasts its cause is announced then."""
    watch.receiver.mode = "refuse"
    destination = await watch.world.destination()
    await set_alerting(watch, destination, backlog={"minutes": 0.01})
    await watch.world.post(destination, event(1))
    await watch.until_open("backlog")
    await watch.world.fetch(BREAK, destination)
    await watch.tick()
    watch.receiver.mode = "ok"
    await watch.world.fetch("UPDATE notifications SET due_at = now()")
    await watch.delivery.run()
    assert [message["data"]["kind"] for message in watch.receiver.messages] == ["sign_in_lost"]
    await watch.world.fetch(SIGN_IN_AGAIN, destination)
    await watch.resolved("sign_in_lost")
    await watch.until_open("backlog")
    assert [(message["data"]["kind"], message["type"]) for message in watch.receiver.messages[1:]] == [
        ("sign_in_lost", "incident.resolved"),
        ("backlog", "incident.opened"),
    ]


async def test_messages_of_an_incident_keep_their_order(watch: Watch) -> None:
    """The first waits after a failure; a later one of the same incident does not pass it, others do."""
    first, second = await watch.world.destination(), await watch.world.destination()
    watch.receiver.mode = "refuse"
    await watch.world.fetch(BREAK, first)
    await watch.until_open("sign_in_lost")
    # A process sends the message just now, so it cannot be dropped.
    await watch.world.fetch("UPDATE notifications SET leased_until = now() + interval '1 hour'")
    await watch.world.fetch(SIGN_IN_AGAIN, first)
    await watch.resolved("sign_in_lost")
    await watch.world.fetch(
        "UPDATE notifications SET leased_until = NULL, "
        "due_at = CASE type WHEN 'incident.opened' THEN now() + interval '1 hour' ELSE now() END"
    )
    await watch.world.fetch("UPDATE notification_channels SET failing_since = NULL")
    watch.receiver.mode = "ok"
    await watch.world.fetch(BREAK, second)
    await watch.tick()
    assert [message["data"]["destination_id"] for message in watch.receiver.messages] == [second]
    await watch.world.fetch("UPDATE notifications SET due_at = now()")
    await watch.delivery.run()
    assert [message["type"] for message in watch.receiver.messages[1:]] == [
        "incident.opened",
        "incident.resolved",
    ]


async def test_a_channel_that_succeeds_again_makes_its_messages_due(watch: Watch) -> None:
    """A receiver's `Retry-After` of a day ends with its first success."""
    first, second = await watch.world.destination(), await watch.world.destination()
    watch.receiver.mode = "refuse"
    await watch.world.fetch(BREAK, first)
    await watch.until_open("sign_in_lost")
    await watch.world.fetch("UPDATE notifications SET due_at = now() + interval '1 day'")
    watch.receiver.mode = "ok"
    await watch.world.fetch(BREAK, second)
    await watch.tick()
    assert {message["data"]["destination_id"] for message in watch.receiver.messages} == {first, second}


async def test_a_process_without_channels_plans_the_messages_of_the_others(watch: Watch) -> None:
    """It computes the incidents, and reports that its settings differ."""
    await watch.tick()
    await watch.monitor.leave()
    async with webhook_receiver() as unused:
        other = Watch.of(watch.world, unused)
        other.monitor.channels = []
        await watch.world.fetch(BREAK, await watch.world.destination())
        await other.monitor.run()
        assert other.monitor._owned
        missing = watch.world.resources.telemetry.channels_missing
        assert missing.collect()[0].samples[0].value == 1  # type: ignore[attr-defined]
        await watch.delivery.run()
        assert [message["type"] for message in watch.receiver.messages] == ["incident.opened"]
        await other.close()


async def test_a_channel_of_a_new_organisation_is_known_at_once(watch: Watch) -> None:
    async with webhook_receiver() as receiver:
        delivery = watch.add_webhook("ops@acme", receiver)
        await watch.tick()
        destination = await watch.world.destination(organisation="acme")
        await watch.world.fetch(BREAK, destination)
        await watch.tick()
        await delivery.run()
        assert [message["data"]["destination_id"] for message in receiver.messages] == [destination]


async def test_each_organisation_with_affected_events_learns_of_a_problem_of_the_service(
    watch: Watch,
) -> None:
    """In general words. Another organisation without waiting events gets no message."""
    theirs = await watch.world.destination(organisation="acme")
    await watch.world.destination(organisation="quiet")
    await watch.world.post(theirs, event(1), organisation="acme")
    await watch.world.fetch("UPDATE batch_states SET accepted_at = accepted_at - interval '2 minutes'")
    async with webhook_receiver() as acme, webhook_receiver() as quiet:
        deliveries = [watch.add_webhook("ops@acme", acme), watch.add_webhook("ops@quiet", quiet)]
        await watch.tick()
        await watch.let_pass(10)
        await watch.until_open("no_worker")
        await watch.world.fetch(BREAK, theirs)
        await watch.tick()
        for delivery in deliveries:
            await delivery.run()
        (message, own) = acme.messages
        assert quiet.messages == []
    assert (message["data"]["kind"], message["data"]["action"]) == ("no_worker", "none")
    assert "worker" not in message["data"]["summary"] + message["data"]["remedy"]
    assert own["data"]["kind"] == "sign_in_lost"
    (operators,) = watch.receiver.messages
    assert "no worker delivers them" in operators["text"]


@pytest.mark.parametrize("silent", ["events", "tokens"])
async def test_a_silent_amazon_opens_an_incident_within_a_minute(watch: Watch, silent: str) -> None:
    """One event waits for an answer that never comes. Nothing has ended, so no share of failures exists."""
    never = asyncio.Event()

    async def hang(_request: object) -> httpx.Response:
        await never.wait()
        return httpx.Response(503)

    destination = await watch.world.destination()
    if silent == "tokens":
        watch.world.amazon.token_server = never
        await watch.world.fetch("UPDATE sign_ins SET access_until = now() - interval '1 hour'")
    else:
        watch.world.amazon.script = hang
    waiting = asyncio.Event()
    watch.world.amazon.on_unanswered = waiting.set
    watch.world.work()
    await watch.world.post(destination, event(1))
    await asyncio.wait_for(waiting.wait(), 20)
    await watch.tick()
    assert await watch.incidents() == {}
    await watch.world.fetch("UPDATE attempts SET started_at = started_at - interval '45 seconds'")
    await watch.world.fetch("UPDATE batch_states SET accepted_at = accepted_at - interval '45 seconds'")
    await watch.tick()
    found = (await watch.incidents())["failing"]
    assert found["reason"] == ("no_token" if silent == "tokens" else "lost")
    never.set()


async def test_a_lost_sign_in_is_one_incident_also_after_hours(watch: Watch, watched: str) -> None:
    """The events that wait are a line of it, with their expiry."""
    await set_alerting(watch, watched, backlog={"minutes": 0.01})
    await watch.world.post(watched, event(1))
    await watch.until_open("backlog")
    await watch.world.fetch(BREAK, watched)
    await watch.tick()
    found = await watch.incidents()
    assert found["sign_in_lost"]["consequences"] == [Kind.BACKLOG]
    assert found["sign_in_lost"]["expires_at"] is not None
    assert found["backlog"]["merged_into"] == found["sign_in_lost"]["id"]
    assert [message["data"]["kind"] for message in watch.receiver.messages] == ["backlog", "sign_in_lost"]
    assert watch.receiver.of_type("resolved") == []

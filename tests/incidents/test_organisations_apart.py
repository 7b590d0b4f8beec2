"""Incidents of two organisations: each row, message and answer is of the organisation of its destination."""

from tests.incidents.conftest import Watch
from tests.incidents.receivers import webhook_receiver
from tests.pipeline.world import event


async def test_a_message_goes_to_the_organisation_of_its_destination_only(watch: Watch) -> None:
    """Also where both have a channel of the same name."""
    mine = await watch.world.destination()
    theirs = await watch.world.destination(organisation="acme")
    await watch.world.fetch("UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked'")
    async with webhook_receiver() as receiver:
        delivery = watch.add_webhook("ops@acme", receiver)
        await watch.until_open("sign_in_lost")
        await delivery.run()
        for taken, destination in ((watch.receiver, mine), (receiver, theirs)):
            assert [message["data"]["destination_id"] for message in taken.messages] == [destination]
    rows = await watch.world.fetch("SELECT organisation_id, destination FROM incidents ORDER BY 1")
    assert [tuple(row) for row in rows] == [("acme", theirs), ("default", mine)]
    for table in ("incident_messages", "notifications", "notification_channels"):
        rows = await watch.world.fetch(f"SELECT organisation_id FROM {table} ORDER BY 1")
        assert [row["organisation_id"] for row in rows] == ["acme", "default"], table


async def test_a_failing_channel_is_an_incident_of_its_organisation(watch: Watch) -> None:
    """Its name is shown to no other one; both may have such an incident at once."""
    await watch.world.destination(organisation="acme")
    await watch.world.fetch(
        "INSERT INTO notification_channels (organisation_id, name, failing_since, last_error) "
        "SELECT id, 'ops-of-' || id, now() - interval '16 minutes', 'timeout' FROM organisations"
    )
    await watch.until_open("notifications_failing")
    rows = await watch.world.fetch("SELECT organisation_id, destination, summary FROM incidents ORDER BY 1")
    assert [tuple(row) for row in rows] == [
        (each, None, f"Channels do not accept messages: ops-of-{each}.") for each in ("acme", "default")
    ]


async def test_what_the_monitor_records_is_of_the_destinations_organisation(watch: Watch) -> None:
    destination = await watch.world.destination(organisation="acme")
    await watch.world.post(destination, event(1), organisation="acme")
    await watch.tick()
    for table in ("intake_steps", "intake_totals", "outcome_history"):
        rows = await watch.world.fetch(f"SELECT DISTINCT organisation_id FROM {table}")
        assert [row["organisation_id"] for row in rows] == ["acme"], table

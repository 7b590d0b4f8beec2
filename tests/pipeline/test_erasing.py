"""What erasure promises: nothing of the person is sent after the answer, nothing readable stays."""

import asyncio
import base64
import logging
from collections import Counter
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.exc import DBAPIError

from app.admin.privacy import subjects
from app.crypto import open_batch
from app.delivery.claim import BatchSource, Claim, Unreadable
from app.delivery.settlement import SettlementWriter
from app.domain.ids import DEFAULT_ORGANISATION, BatchId, OrganisationId
from app.domain.privacy.carried_key import carried_key
from app.store import batches
from app.store.counts import CountWriter
from app.store.lanes import LaneLease
from app.store.privacy import erasures
from tests.pipeline.amazon import Hanging, items
from tests.pipeline.rows import MAPPING
from tests.pipeline.test_replaying import ask as replay
from tests.pipeline.test_replaying import refuse
from tests.pipeline.world import World, event, eventually, waits
from tests.tables import cases

EMAIL = "person3@example.com"


async def erase(world: World, *, organisation: OrganisationId = DEFAULT_ORGANISATION, **values: str) -> str:
    return (await subjects.erase_person(world.context(organisation), values or {"email": EMAIL})).id


async def finished(world: World, id: str) -> erasures.Erasure:
    async def ask() -> erasures.Erasure | None:
        async with world.pool.acquire() as c:
            found = await erasures.find(c, id)
        return found if found and found.finished_at else None

    found: erasures.Erasure = await eventually(ask)
    return found


async def stored_bodies(world: World) -> list[bytes]:
    """Open everything that still has a key."""
    rows = await world.fetch(
        "SELECT p.id, p.content, s.data_key FROM batches p JOIN batch_states s ON s.batch = p.id "
        "WHERE s.data_key IS NOT NULL"
    )
    bodies: list[bytes] = []
    for row in rows:
        opened = open_batch(row["id"], row["data_key"], row["content"], world.resources.vault)
        assert opened is not None
        bodies += opened.values()
    return bodies


def persons(bodies: list[bytes]) -> list[bytes]:
    return [body for body in bodies if carried_key(body, subjects.values_of({"email": EMAIL}))]


def sent_ids(world: World) -> set[str]:
    return {eid.rpartition(":")[2] for request in world.amazon.requests for eid in request.ids}


async def test_what_waits_is_never_sent_and_its_neighbours_are(world: World) -> None:
    """The event becomes erased; the rest of its batch is delivered from the rewritten content."""
    dst = await world.destination(*(event(n) for n in range(6)))
    id = await erase(world)  # noqa: A001
    await world.work_until(dst, delivered=5, erased=1)
    done = await finished(world, id)
    assert (done.waiting, done.dead, done.delivered) == (1, 0, 0)
    assert "ord-3" not in sent_ids(world)
    assert len(persons(await stored_bodies(world))) == 0


async def test_an_erasure_and_its_audit_row_are_stored_together(world: World) -> None:
    """A crash between them would leave an erasure without the record of who requested it."""
    await world.fetch("ALTER TABLE audit RENAME TO audit_lost")
    with pytest.raises(DBAPIError):
        await erase(world)
    assert not await world.fetch("SELECT 1 FROM erasures")
    await world.fetch("ALTER TABLE audit_lost RENAME TO audit")
    id = await erase(world)  # noqa: A001
    rows = await world.fetch("SELECT actor, subject, after FROM audit WHERE action LIKE 'subject.%'")
    assert [tuple(row) for row in rows] == [("key_test", id, '{"identifiers": ["email"]}')]


async def test_a_batch_of_one_person_is_closed_by_its_erasure(world: World) -> None:
    """Nothing is owed any more, and no empty request leaves."""
    dst = await world.destination(event(3))
    id = await erase(world)  # noqa: A001
    await world.work_until(dst, erased=1)
    await finished(world, id)
    assert not world.amazon.requests
    assert not await world.fetch("SELECT 1 FROM batch_states WHERE settled_at IS NULL")


async def test_what_was_delivered_keeps_its_state_and_loses_its_content(world: World, dst: str) -> None:
    """With the moment of the erasure beside it."""
    world.work()
    await world.post(dst, *(event(n) for n in range(5)))
    await world.until(dst, delivered=5)
    assert (await finished(world, await erase(world))).delivered == 1
    (row,) = await world.fetch("SELECT status, erased_at FROM exceptions")
    assert (row["status"], row["erased_at"] is None) == ("delivered", False)
    assert (await world.counts(dst))["delivered"] == 5
    assert not persons(await stored_bodies(world))


async def test_what_is_dead_becomes_erased_and_cannot_be_replayed(world: World, dst: str) -> None:
    """A replay finds only the others."""
    world.amazon.script = refuse
    world.work()
    await world.post(dst, *(event(n) for n in range(5)))
    await world.until(dst, dead=5)
    assert (await finished(world, await erase(world))).dead == 1
    await world.until(dst, dead=4, erased=1)
    world.amazon.script = None
    assert (await replay(world, dst)).replayed == 4
    await world.until(dst, delivered=4, erased=1)


async def retried_alone(world: World) -> str:
    """Let one event fail alone and wait for its retry, with no worker running; return its destination."""
    dst = await world.destination()
    world.amazon.script = lambda _: items("INTERNAL_ERROR")
    await world.post(dst, event(3))
    await world.work_until(dst, retrying=1)
    await world.stop_workers()
    return dst


async def test_what_is_retried_alone_is_found_too(world: World) -> None:
    """An item that waits for its own retry is not sent again."""
    dst = await retried_alone(world)
    requests = len(world.amazon.requests)
    await erase(world)
    await world.fetch("UPDATE exceptions SET due_at = now()")
    await world.work_until(dst, erased=1, retrying=0)
    assert len(world.amazon.requests) == requests


async def owned(world: World) -> LaneLease:
    """Return the lease of the one lane as its last owner knew it."""
    (row,) = await world.fetch(
        "SELECT id, fence, organisation_id AS organisation, region, advertiser_id, 0.0 AS blocked_for "
        "FROM lanes"
    )
    return LaneLease(**dict(row))


async def take_off(world: World, dst: str, claimed: Claim) -> None:
    async with world.pool.acquire() as c, c.transaction():
        settling = SettlementWriter(c, await owned(world), CountWriter(1))
        await settling.write_unsent(await world.number(dst), claimed)


async def test_what_was_erased_after_it_was_claimed_does_not_die_as_well(world: World) -> None:
    """A claim reads in steps: between them the scan may take out what the next one then does not find."""
    dst = await retried_alone(world)
    (row,) = await world.fetch("SELECT batch, place, day, event_at FROM exceptions")
    lost = Unreadable(
        BatchSource(BatchId(row["batch"]), row["day"], 1, True, row["event_at"]), (row["place"],)
    )
    await erase(world)
    await world.work_until(dst, erased=1)
    await world.stop_workers()

    await take_off(world, dst, Claim(None, (), (lost,)))

    counts = await world.counts(dst)
    assert (counts["erased"], counts["dead"], counts["retrying"]) == (1, 0, 0)
    (row,) = await world.fetch("SELECT status FROM exceptions")
    assert row["status"] == "erased"


async def test_a_batch_that_was_rewritten_after_its_claim_stays_queued(world: World) -> None:
    """Neither expired nor dead, by what was seen of it before: its events wait, all but the erased one."""
    dst = await world.destination(event(3), event(4))
    async with world.pool.acquire() as c:
        (seen,), _ = await batches.due(
            c, await world.number(dst), queue=0, in_flight=[], max_events=500, max_bytes=10**6
        )
    dead = Unreadable(BatchSource(seen.id, seen.day, 0, False, seen.last_event), (0, 1), seen.data_key)
    await erase(world)
    await world.fetch("UPDATE batch_states SET due_at = now() + interval '1 hour'")
    await world.work_until(dst, erased=1, queued=1)
    await world.stop_workers()

    for claimed in (Claim(None, (seen,)), Claim(None, (), (dead,))):
        await take_off(world, dst, claimed)
        counts = await world.counts(dst)
        assert (counts["erased"], counts["queued"], counts["dead"], counts["expired"]) == (1, 1, 0, 0)


async def test_the_answer_waits_for_a_request_that_is_under_way(world: World) -> None:
    """After it nothing carries the person; what was under way counts as delivered."""
    dst = await world.destination(event(3))
    world.amazon.script = hanging = Hanging()
    world.work()
    await hanging.entered.wait()
    asking = asyncio.create_task(erase(world))
    await eventually(lambda: world.fetch("SELECT 1 FROM erasures"))
    for _ in range(10):
        await world.fetch("SELECT 1")  # time enough to answer, if it did not wait
    assert not asking.done()
    hanging.release.set()
    assert (await finished(world, await asyncio.wait_for(asking, 20))).delivered == 1
    assert (await world.counts(dst))["delivered"] == 1


async def test_no_attempt_starts_with_a_load_that_was_read_before_the_erasure(world: World) -> None:
    """Between reading and starting lies the erasure: the insert is refused, and the load read anew."""
    dst = await world.destination(event(3), event(4))
    requested = asyncio.Event()
    delivery = world.work().delivery
    claim = delivery._claim_content

    async def claim_then_erase(*arguments: Any) -> Any:
        content = await claim(*arguments)
        if content is not None and not requested.is_set():
            requested.set()
            await erase(world)
        return content

    delivery._claim_content = claim_then_erase  # type: ignore[method-assign]
    await world.until(dst, delivered=1, erased=1)
    assert sent_ids(world) == {"ord-4"}


async def test_erasures_before_an_attempt_are_no_failed_claims(
    world: World, caplog: pytest.LogCaptureFixture, dst: str
) -> None:
    """The events are read again and sent: neither the log nor the metric of an alert reports it."""
    world.work()
    await world.post(dst, event(0))
    await world.until(dst, delivered=1)
    caplog.set_level(logging.INFO)
    counted, released = [asyncio.Event() for _ in range(3)], [asyncio.Event() for _ in range(3)]

    async def erase_before(number: int) -> None:
        async with world.resources.pool.acquire() as c, c.transaction():
            await c.execute("UPDATE lanes SET erasures = erasures + 1")
            counted[number].set()
            await released[number].wait()

    async with asyncio.TaskGroup() as erasing:
        for number in range(3):
            erasing.create_task(erase_before(number))
            if number:  # it waits behind the attempt, so no other attempt can come before it
                await waits(world, 2)
                released[number - 1].set()
            await counted[number].wait()
            if not number:
                await world.post(dst, event(1))
            await waits(world)  # the attempt
        released[2].set()
    await world.until(dst, delivered=2)
    logged = Counter(each.getMessage() for each in caplog.records)
    assert (logged["claim.failed"], logged["attempt.fenced"]) == (0, 3)
    assert world.metric("claims_failed_total", reason="not_startable") is None


async def test_every_profile_and_the_digest_itself_find_the_person(world: World) -> None:
    """A phone without its country, an upper-case address, and a bare hash."""
    import hashlib

    dst = await world.destination(*(event(n) for n in range(5)))
    await erase(world, email="  Person1@Example.COM ")
    await erase(world, hash=hashlib.sha256(b"person2@example.com").hexdigest().upper())
    await world.work_until(dst, delivered=3, erased=2)
    assert sent_ids(world) == {"ord-0", "ord-3", "ord-4"}
    looked_for = subjects.values_of({"phone": "(555) 010-0199"})
    assert hashlib.sha256(b"15550100199").hexdigest() in looked_for


_MAID = "AAAAAAAA-1DF9-4AAA-8000-AAAAAAAAAAAA"
_OF_A_DEVICE = {
    **MAPPING,
    "fields": {**MAPPING["fields"], "maid": {"path": "user.maid"}, "phone": {"path": "user.phone"}},
}


@cases(
    ("kind", "written", "by"),
    {
        "an advertising id in lower case": ("maid", _MAID, _MAID.lower()),
        "an advertising id without dashes": ("maid", f" {{{_MAID}}}", _MAID.replace("-", "")),
        "a number with the code of its country": ("phone", "(415) 555-2671", "+14155552671"),
    },
)
@pytest.mark.parametrize("ends_as", ["waiting", "dead", "delivered"])
async def test_another_spelling_erases_the_event_wherever_it_is(
    world: World, kind: str, written: str, by: str, ends_as: str
) -> None:
    """The connector's profile sends an id untouched, and the digits of a number as they are."""
    dst = await world.destination(mapping=_OF_A_DEVICE)
    await world.fetch("UPDATE destinations SET identity_profile = 'segment'")
    world.amazon.script = refuse if ends_as == "dead" else None
    await world.post(dst, {**event(1), "user": {kind: written}}, event(2))
    if ends_as != "waiting":
        await world.work_until(dst, **{ends_as: 2})
    requested = await erase(world, **{kind: by})
    if ends_as == "waiting":
        world.work()
    erased = await finished(world, requested)
    assert {state: getattr(erased, state) for state in ("waiting", "dead", "delivered")} == {
        "waiting": 0,
        "dead": 0,
        "delivered": 0,
        ends_as: 1,
    }


async def test_events_that_come_later_are_not_blocked(world: World, dst: str) -> None:
    """Erasure is no suppression list."""
    world.work()
    await finished(world, await erase(world))
    await world.post(dst, event(3))
    await world.until(dst, delivered=1)


async def test_the_receipt_is_signed_and_names_nobody(world: World) -> None:
    """The signature holds over the text as it stands; nothing is left in the row."""
    await world.destination(event(3))
    id = await erase(world)  # noqa: A001
    world.work()
    await finished(world, id)
    made = await subjects.find_receipt(world.context(), id)
    signed = msgspec.json.decode(made.signed)
    assert signed["requested_at"].endswith("Z")
    assert signed["finished_at"].endswith("Z")
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(made.public_key))
    key.verify(base64.b64decode(made.signature), made.signed.encode())
    assert signed["id"] == id
    assert EMAIL not in made.signed
    (row,) = await world.fetch("SELECT sealed FROM erasures")
    assert row["sealed"] is None
    assert any("Amazon" in line for line in made.kept_elsewhere)

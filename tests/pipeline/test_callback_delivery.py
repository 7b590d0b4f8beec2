"""Every final state is reported to the journey engine at least once, signed, outside the pipeline."""

import asyncio
import base64
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.delivery.callbacks import CallbackPost
from app.domain.callback import Acknowledged, NotAcknowledged
from app.store import callbacks
from app.webhook_client import WebhookClient
from tests.databases import execute
from tests.listening import Heard, listening
from tests.pipeline.amazon import refuse_odd
from tests.pipeline.damaging import HARMLESS, UNREADABLE
from tests.pipeline.processes import Product, running_product
from tests.pipeline.test_erasing import erase
from tests.pipeline.world import World, event, eventually

SECRETS = (bytes(range(32)), bytes(range(1, 33)))
NAMED = [f"whsec_{base64.b64encode(secret).decode()}" for secret in SECRETS]


def _verifier() -> Callable[..., bool]:
    """The function with which the documentation verifies callbacks, verbatim."""
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    code = re.search(r"```python\n(import base64, hashlib.*?)```", text, re.DOTALL)
    assert code is not None
    room: dict[str, Any] = {}
    exec(code[1], room)
    return room["is_ours"]  # type: ignore[no-any-return]


is_ours = _verifier()


@dataclass
class Receiver:
    """A journey engine: an HTTP server that stores requests and responds as scripted."""

    answers: list[str] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    async def answer(self, heard: Heard, writer: asyncio.StreamWriter) -> None:
        self.got.append((heard.headers, heard.body))
        answer = self.answers.pop(0) if self.answers else "204 No Content"
        if answer == "hang":
            await heard.reader.read()  # until the other side gives up
            return
        if answer.startswith("2"):
            self.taken += msgspec.json.decode(heard.body)["data"]["events"]
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    def states(self) -> Counter[str]:
        return Counter(one["state"] for one in self.taken)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    async with listening(made.answer) as listener:
        made.url = f"{listener.url}/notices"
        yield made


async def tell(world: World, dst: str) -> None:
    async with world.pool.acquire() as c:
        await callbacks.enable(c, await world.number(dst), by="test")


@pytest.fixture
async def reporting(world: World, dst: str) -> str:
    """The id of a destination whose final states are reported."""
    await tell(world, dst)
    return dst


def engine_of(receiver: Receiver) -> CallbackPost:
    return partial(WebhookClient(now=lambda: datetime.now(UTC)).post, receiver.url, SECRETS)


async def received(receiver: Receiver, number: int) -> list[dict[str, Any]]:
    await eventually(lambda: len(receiver.taken) >= number)
    return receiver.taken


async def test_final_states_are_delivered_in_batches_with_valid_signatures(
    world: World, receiver: Receiver, reporting: str
) -> None:
    """1,000 events, half refused: each is reported once, and the code in the docs verifies every callback."""
    world.amazon.script = refuse_odd
    await world.post(reporting, *(event(n) for n in range(1000)))
    world.work(journey=engine_of(receiver))
    events = await received(receiver, 1000)
    assert Counter(one["event_id"] for one in events) == {f"ord-{n}": 1 for n in range(1000)}
    assert {(one["state"], one["code"], one["reason"]) for one in events} == {
        ("delivered", None, None),
        ("dead", "BAD_REQUEST", "amazon_refused"),
    }
    assert receiver.states() == {"delivered": 500, "dead": 500}
    assert {one["destination_id"] for one in events} == {reporting}
    assert all(one["mapping_id"].startswith("map_") for one in events)
    assert 2 <= len(receiver.got) <= 6
    for headers, body in receiver.got:
        assert all(is_ours(headers, body, secret) for secret in NAMED)
        assert not is_ours(headers, body + b" ", NAMED[0])
        assert not is_ours(headers, body, "whsec_" + "A" * 43 + "=")
        assert not is_ours(headers, body, NAMED[0], now=datetime.now(UTC).timestamp() + 301)
        assert b"person" not in body
        assert b"example.com" not in body
    assert await nothing_owed(world)


async def nothing_owed(world: World) -> bool:
    owed = "SELECT FROM callback_events UNION ALL SELECT FROM callbacks"
    return bool(await eventually(lambda: world.fetch(f"SELECT WHERE NOT EXISTS ({owed})")))


async def test_a_notice_that_is_refused_comes_again_under_its_id_with_its_bytes(
    world: World, receiver: Receiver, reporting: str
) -> None:
    """After a 500, a redirect and a hang-up; the signature is fresh, the notice the same."""
    receiver.answers = ["500 No", "302 Elsewhere\r\nLocation: http://127.0.0.1:1/"]
    await world.post(reporting, event(1))
    world.work(journey=engine_of(receiver))
    await received(receiver, 1)
    assert len(receiver.got) == 3
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1
    assert await nothing_owed(world)


@pytest.mark.parametrize("name", ["shapes: empty", "batches: row missing", "page: chunks missing (XX001)"])
async def test_a_damaged_batch_holds_no_other_notice_up(
    world: World, receiver: Receiver, name: str, reporting: str
) -> None:
    """A batch with unreadable event ids has no callback; all other events are reported once."""
    await world.post(reporting, *(event(n) for n in range(80)))
    (row,) = await world.fetch("SELECT batch FROM batch_states")
    async with world.resources.pool.acquire() as c:
        await (UNREADABLE | HARMLESS)[name](c, row["batch"])
    await world.post(reporting, event(1001))
    world.work(journey=engine_of(receiver))

    await eventually(lambda: "ord-1001" in {one["event_id"] for one in receiver.taken})
    assert await nothing_owed(world)


async def test_a_receiver_that_hangs_delays_nobody_but_itself(
    world: World, receiver: Receiver, reporting: str
) -> None:
    """While the first notice waits for its answer, events are delivered all the same."""
    receiver.answers = ["hang"]
    world.work(journey=engine_of(receiver))
    await world.post(reporting, event(1))

    await eventually(lambda: len(receiver.got) == 1)
    await world.post(reporting, *(event(n) for n in range(2, 600)))
    await world.until(reporting, delivered=599)
    assert not receiver.taken


async def test_nothing_is_written_without_a_receiver(world: World, receiver: Receiver) -> None:
    """Off for the process, or off for the destination: no row, no request."""
    silent, spoken = await world.destination(), await world.destination()
    await tell(world, spoken)
    world.work()  # a worker without a journey engine
    await world.post(spoken, event(1))
    await world.until(spoken, delivered=1)
    await world.stop_workers()
    assert await world.fetch("SELECT FROM callback_events") == []
    world.work(journey=engine_of(receiver))
    await world.post(silent, event(1))
    await world.until(silent, delivered=1)
    assert await world.fetch("SELECT FROM callback_events") == []
    await world.post(spoken, event(2))
    assert [one["event_id"] for one in await received(receiver, 1)] == ["ord-2"]


async def test_expiry_and_discarding_are_reported_too(
    world: World, receiver: Receiver, reporting: str
) -> None:
    """Whatever ends an event writes its notice in the same transaction."""
    await world.post(reporting, event(1), event(2))
    await world.fetch("UPDATE destinations SET paused = true")
    long_ago = timedelta(days=22)
    await world.fetch(
        "UPDATE batch_states SET first_event = first_event - $1::interval, "
        "last_event = last_event - $1::interval",
        long_ago,
    )
    world.work(journey=engine_of(receiver))
    await received(receiver, 2)
    assert receiver.states() == {"expired": 2}
    assert {(one["code"], one["reason"]) for one in receiver.taken} == {("MISC_ERROR", "expired")}

    await world.post(reporting, event(3), event(4))
    holding = world.holding(callbacks_enabled=True)
    async with world.resources.pool.acquire() as connection, connection.transaction():
        await holding.discard(connection, await world.number(reporting))
    await received(receiver, 4)
    assert receiver.states() == {"expired": 2, "dead": 2}
    assert receiver.taken[-1]["reason"] == "discarded"


async def test_an_erased_event_is_reported_as_erased_and_its_neighbours_as_delivered(
    world: World, receiver: Receiver, reporting: str
) -> None:
    """The callback contains the id only; the event is erased."""
    await world.post(reporting, *(event(n) for n in range(5)))
    await erase(world)
    world.work(journey=engine_of(receiver))
    states = {one["event_id"]: one["state"] for one in await received(receiver, 5)}
    assert states == {f"ord-{n}": "erased" if n == 3 else "delivered" for n in range(5)}
    assert await nothing_owed(world)
    assert receiver.states() == {"delivered": 4, "erased": 1}


async def test_a_callback_whose_commit_was_rolled_back_is_never_sent(world: World, reporting: str) -> None:
    """The notice lives and dies with the transaction that makes it true."""
    await world.post(reporting, event(1))
    with pytest.raises(ZeroDivisionError):
        async with world.resources.pool.acquire() as connection, connection.transaction():
            await world.holding(callbacks_enabled=True).discard(connection, await world.number(reporting))
            raise ZeroDivisionError
    assert await world.fetch("SELECT FROM callback_events") == []


async def test_no_final_state_is_sent_that_commits_after_callbacks_were_disabled(
    world: World, receiver: Receiver, reporting: str
) -> None:
    """Its transaction read that they were enabled."""
    number, other = await world.number(reporting), await world.destination()
    await tell(world, other)
    await world.post(reporting, event(1))
    async with world.resources.pool.acquire() as one, world.pool.acquire() as two, one.transaction():
        await world.holding(callbacks_enabled=True).discard(one, number)
        assert await callbacks.disable(two, number)
    await world.post(other, event(2))
    world.work(journey=engine_of(receiver))
    assert [each["event_id"] for each in await received(receiver, 1)] == ["ord-2"]

    async def is_empty() -> bool:
        return not await world.fetch("SELECT FROM callback_events")

    await eventually(is_empty)


async def test_a_notice_that_commits_late_is_not_passed_by(world: World, receiver: Receiver) -> None:
    """A state that is written first and committed last is reported too: there is no cursor to pass it."""
    first, second = await world.destination(), await world.destination()
    for dst in (first, second):
        await tell(world, dst)
    await world.post(first, event(1))
    await world.post(second, event(2))
    held = await world.resources.connect()
    transaction = held.transaction()
    await transaction.start()
    rows = await held.fetch(
        "SELECT batch, day FROM batch_states WHERE destination = $1", await world.number(first)
    )
    final = callbacks.FinalBatch(rows[0]["batch"], rows[0]["day"], (0,), 1, "erased")
    await callbacks.note(held, await world.number(first), [final])
    world.work(journey=engine_of(receiver))
    await received(receiver, 2)
    await transaction.commit()
    await held.close()
    await received(receiver, 3)
    assert receiver.states() == {"delivered": 2, "erased": 1}


async def test_a_callback_without_acknowledgement_is_repeated_with_its_id(
    world: World, receiver: Receiver, reporting: str
) -> None:
    """At least once: a death lies between answer and commit, and the receiver can tell it by the id."""

    async def die(id: str, body: bytes) -> Acknowledged | NotAcknowledged:
        """Post as a worker that is killed before anybody learns of the answer."""
        await engine_of(receiver)(id, body)
        raise asyncio.CancelledError

    await world.post(reporting, event(1))
    world.work(journey=die)
    await received(receiver, 1)
    await world.until(reporting, delivered=1)
    await world.stop_workers()
    # No worker claims it before its lease has expired; then the next worker does.
    await world.fetch("UPDATE callbacks SET leased_until = now() - interval '1 second'")
    world.work(journey=engine_of(receiver))
    await received(receiver, 2)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert await nothing_owed(world)


async def test_after_seven_days_a_notice_is_given_up_and_counted(
    world: World, receiver: Receiver, reporting: str
) -> None:
    """It does not vanish in silence: the metrics say so."""
    receiver.answers = ["500 No"] * 2
    await world.post(reporting, event(1))
    world.work(journey=engine_of(receiver))
    await eventually(lambda: world.fetch("SELECT FROM callbacks WHERE problem = 'status_500'"))
    await world.fetch("UPDATE callbacks SET made_at = now() - interval '8 days', due_at = now()")
    assert await nothing_owed(world)
    assert world.metric("status_callbacks_total", result="failed_permanently") == 1


async def test_no_event_and_no_final_state_is_lost_when_workers_are_killed(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    """Real processes under repeated kill -9: the reported events are the delivered events.

    An event is sent again only to the byte.
    """
    callbacks = {"STATUS_CALLBACK_URL": receiver.url, "STATUS_CALLBACK_SECRETS": ",".join(NAMED)}
    product = Product(database_url, tmp_path / "log.txt", more=callbacks)
    async with running_product(product) as operator:
        dst = await operator.destination("4000000000001", rate=50)
        shown = await operator.call("POST", f"/destinations/{dst}/status-callback", {"enabled": True})
        assert (shown["enabled"], shown["configured"], shown["waiting"]) == (True, True, 0)
        product.work("worker")
        for first in (0, 500):
            for start in range(first, first + 500, 100):
                await operator.post([event(n, destination_id=dst) for n in range(start, start + 100)])
            before = len(receiver.got)
            await eventually(lambda before=before: len(receiver.got) > before, seconds=60)
            product.kill("worker")
            product.work("worker")

        # Those whose worker died while they were under way are free again once their lease has lapsed.
        async def all_received() -> bool:
            await execute(
                database_url,
                "UPDATE callbacks SET leased_until = now() WHERE leased_until > now() + interval '30 s'",
            )
            return {one["event_id"] for one in receiver.taken} >= {f"ord-{n}" for n in range(1000)}

        await eventually(all_received, seconds=90, every=3)
        assert (await operator.counts(dst))["delivered"] == 1000
        sent = await operator.accepted()
    assert sorted(int(one["event_id"].rpartition("-")[2]) for one in sent) == list(range(1000))
    assert all(one["identical"] for one in sent)
    assert receiver.states().keys() == {"delivered"}
    taken = {headers["webhook-id"]: body for headers, body in receiver.got}
    assert all(taken[headers["webhook-id"]] == body for headers, body in receiver.got)

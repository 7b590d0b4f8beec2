"""The results of a flush are those of a dictionary, and what it accepts is in the ledger and in a batch.

Posts over a small pool of event ids, Amazon event ids and event types meet in every way: in one request, in
one flush, in later flushes. The model stores one event after the other.
"""

import asyncio
import copy
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from app.ingest.intake import EventResult
from tests.crashes.stored import places
from tests.pipeline.rows import BY_ORDER, MAPPING
from tests.pipeline.world import World, event, make_world, waits

TYPES = ["SEARCH", "CHECKOUT", "LEAD"]


def mapping_with_types(name: str) -> dict[str, Any]:
    return {**BY_ORDER, "event_type": {"path": "event.kind"}, "event_name": name}


def sale(
    name: str, order: str, *, total: int = 10, destination: str | None = None, kind: str = "LEAD"
) -> Any:
    made = event(1, event_id=name, order=order)
    made["event"] |= {"total": total, "kind": kind}
    return made if destination is None else {**made, "destination_id": destination}


def result(stored: EventResult) -> str:
    """Return the status of an event, and of a rejection its reason and field too."""
    if stored.rejection is None:
        return stored.status
    return f"{stored.rejection.reason} {stored.rejection.field}"


async def test_two_processes_that_pin_a_name_at_once_pin_one(world: World, owner: asyncpg.Connection) -> None:
    """The second flush waits for the first, and then reads the name that it pinned."""
    one = await world.destination(mapping=mapping_with_types("One"), advertiser="1")
    two = await world.destination(mapping=mapping_with_types("Two"), advertiser="1")
    await world.post(two, sale("w", "W", kind="SEARCH"))
    await owner.execute("BEGIN")
    await owner.execute(
        "INSERT INTO event_names (organisation_id, advertiser_id, event_type, name) "
        "SELECT organisation_id, advertiser_id, 'LEAD', 'One' FROM destinations WHERE id = $1",
        one,
    )
    posting = asyncio.create_task(world.post(two, sale("x", "A"), sale("y", "B", kind="SEARCH")))
    await waits(world)
    await owner.execute("COMMIT")
    assert [result(r) for r in await posting] == ["event_name_conflict None", "accepted"]


@dataclass
class Model:
    """The accepted content of each id, and the pinned name of each event type."""

    names: dict[str, str | None]  # by destination: its event name, None with a constant event type
    mapped: set[str]  # destinations that map the Amazon event id
    contents: dict[tuple[str, str], str] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    accepted: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    # Ids whose Amazon event id an event with another id has: the first answer as a duplicate.
    mapped_duplicates: set[tuple[str, str]] = field(default_factory=set)

    def store(self, given: dict[str, Any]) -> str:
        destination, kind = given["destination_id"], given["event"]["kind"]
        name = self.names[destination]
        if name is not None and self.pins.get(kind, name) != name:
            return "event_name_conflict None"
        content = json.dumps({k: v for k, v in given.items() if k not in ("event_id", "destination_id")})
        keys = {"event_id": (destination, given["event_id"])}
        if destination in self.mapped:
            keys["order"] = ("advertiser", given["order"])
        for where, key in keys.items():
            if self.contents.get(key, content) != content:
                return f"event_id_conflict {where}"
        if any(key in self.contents for key in keys.values()):
            if keys["event_id"] not in self.contents:
                self.mapped_duplicates.add(keys["event_id"])
            return "duplicate"
        self.contents |= dict.fromkeys(keys.values(), content)
        if name is not None:
            self.pins[kind] = name
        sent_id = given["order"] if destination in self.mapped else given["event_id"]
        self.accepted[destination, sent_id, given["event"]["total"]] += 1
        return "accepted"


async def made_model(world: World, advertiser: str) -> Model:
    """Make the destinations of an advertiser: plain, with mapped ids, and three names of the same types."""
    plain = await world.destination(advertiser=advertiser)
    mapped = await world.destination(advertiser=advertiser, mapping=BY_ORDER)
    one = await world.destination(advertiser=advertiser, mapping=mapping_with_types("One"))
    two = await world.destination(advertiser=advertiser, mapping=mapping_with_types("Two"))
    typed = {**mapping_with_types("Three"), "fields": MAPPING["fields"]}
    three = await world.destination(advertiser=advertiser, mapping=typed)
    names = {plain: None, mapped: None, one: "One", two: "Two", three: "Three"}
    return Model(names, {mapped, one, two})


def drawn(luck: random.Random, destinations: list[str]) -> dict[str, Any]:
    return sale(
        luck.choice("vwxyz"),
        luck.choice("ABCDE"),
        total=luck.choice((10, 11)),
        destination=luck.choice(destinations),
        kind=luck.choice(TYPES),
    )


async def check_stored(world: World, model: Model, seen: int) -> None:
    """Compare the accepted events with batches and ledger, and with what Amazon gets."""
    destinations = list(model.names)
    async with world.resources.pool.acquire() as connection:
        stored = await places(connection, destinations)
    events = sum(model.accepted.values())
    states = [state for found in stored.values() for state in found]
    assert len(states) == events
    assert not [state for state in states if "ledger" in state]
    sent: Counter[tuple[str, int]] = Counter()
    while sent.total() < events:
        await asyncio.sleep(0.05)
        new = [one for request in world.amazon.requests[seen:] for one in request.events]
        sent = Counter((one["eventId"].rpartition(":")[2], int(one["value"])) for one in new)
    wanted: Counter[tuple[str, int]] = Counter()
    for (_, sent_id, total), number in model.accepted.items():
        wanted[sent_id, total] += number
    assert sent == wanted


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_flush_answers_as_a_dictionary_does(world: World, seed: int) -> None:
    luck = random.Random(seed)
    world.work()
    ledger_rows = mapped_duplicates = 0
    for turn in range(8):
        seen = len(world.amazon.requests)
        model = await made_model(world, f"{seed}{turn}")
        destinations = list(model.names)
        for _ in range(4):
            posts = [
                [drawn(luck, destinations) for _ in range(luck.choice((1, 2, 6)))]
                for _ in range(luck.choice((1, 3)))
            ]
            rehearsal = copy.deepcopy(model)
            expected = [rehearsal.store(one) for one in posts[0]]
            assert [result(r) for r in await world.rehearse(destinations[0], *posts[0])] == expected
            # Several posts at a time share a flush, in order.
            results = await asyncio.gather(*[world.post(destinations[0], *post) for post in posts])
            assert [[result(r) for r in one] for one in results] == [
                [model.store(one) for one in post] for post in posts
            ]
        async with asyncio.timeout(30):
            await check_stored(world, model, seen)
        ledger_rows += len(model.contents)
        mapped_duplicates += len(model.mapped_duplicates)
    # No row more: what was not accepted left no key.
    assert (await world.fetch("SELECT count(*) FROM ledger"))[0][0] == ledger_rows
    assert mapped_duplicates
    found = "SELECT count(*) FROM mapped_duplicates d JOIN ledger l USING (batch, place) WHERE l.key <> d.key"
    assert (await world.fetch("SELECT count(*) FROM mapped_duplicates"))[0][0] == mapped_duplicates
    assert (await world.fetch(found))[0][0] == 2 * mapped_duplicates  # an accepted event has two keys


async def test_two_processes_accept_each_id_once(world: World) -> None:
    """Whichever post wins a key: one content for an id, and no event is accepted without its rows."""
    luck = random.Random(3)
    async with make_world(world.url) as other:
        for turn in range(6):
            model = await made_model(world, f"3{turn}")
            destinations = list(model.names)
            posts = [[drawn(luck, destinations) for _ in range(12)] for _ in range(4)]
            results = await asyncio.gather(
                *[(world, other)[n % 2].post(destinations[0], *post) for n, post in enumerate(posts)]
            )
            accepted = [
                one
                for post, found in zip(posts, results, strict=True)
                for one, stored in zip(post, found, strict=True)
                if result(stored) == "accepted"
            ]
            # In any order: no two of them share an id, so the model accepts all of them.
            assert [model.store(one) for one in accepted] == ["accepted"] * len(accepted)
            async with world.resources.pool.acquire() as connection:
                stored = await places(connection, destinations)
            states = [state for found in stored.values() for state in found]
            assert len(states) == len(accepted)
            assert not [state for state in states if "ledger" in state]

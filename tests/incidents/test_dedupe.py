"""Event ids: seven seeded faults, each named with its number, and the comparison with the tag's ids."""

import json
import tracemalloc
from typing import Any

import pytest

from app.domain.conversion.values import MAX_AMAZON_EVENT_ID
from app.domain.event import MAX_EVENT_ID_LENGTH, amazon_event_id
from app.domain.match_quality.dedupe import IdDifference, differences
from tests.incidents.conftest import Service
from tests.pipeline.rows import publish
from tests.pipeline.world import MAPPING, event, eventually

OWN_ID: dict[str, Any] = {**MAPPING, "fields": {**MAPPING["fields"], "event_id": {"path": "event.id"}}}


def with_id(number: int, own: str, **more: Any) -> dict[str, Any]:
    made = event(number)
    made["event"] |= {"id": own, **more}
    return made


async def findings(service: Service, destination: str) -> dict[str, tuple[int, str | None]]:
    found = (await service.get(f"/destinations/{destination}/dedupe"))["findings"]
    assert all(each["sentence"] and each["remedy"] for each in found)
    return {each["kind"]: (each["events"], each["path"]) for each in found}


async def until_found(
    service: Service, destination: str, expected: dict[str, tuple[int, str | None]]
) -> None:
    """Wait for the findings: the counts of repeated ids are written once a second."""

    async def is_found() -> bool:
        return await findings(service, destination) == expected

    await eventually(is_found)


async def repeat_under_two_types(service: Service) -> None:
    destination = await service.world.destination(mapping={**OWN_ID, "event_type": {"path": "event.type"}})
    first, second = "ADD_TO_SHOPPING_CART", "SIGN_UP"
    await service.post(destination, *(with_id(n, f"a{n}", type=first) for n in range(20)))
    await service.post(destination, *(with_id(100 + n, f"a{n}", type=second) for n in range(4)))
    await until_found(service, destination, {"same_id_two_types": (4, None)})


async def test_a_retry_is_no_fault(service: Service) -> None:
    """A mapped id whose values differ has none, also if an event is sent again."""
    good = await service.world.destination(mapping=OWN_ID)
    await service.post(good, *(with_id(n, f"ord-{n}") for n in range(12)))
    await service.post(good, with_id(3, "ord-3"))
    await repeat_under_two_types(service)  # what was counted before it is written by then
    assert await findings(service, good) == {}


SEEDED = {
    "derived": (None, "event_id_derived", 30, None),
    "a constant": ({"const": "shop"}, "event_id_constant", 30, None),
    "a path with one value": ({"path": "shop.id"}, "event_id_constant", 30, "shop.id"),
    "a session": ({"path": "session.id"}, "event_id_per_session", 27, "session.id"),
    "a session with the name of the event": (
        {"template": "{session.id}-{event.label | lower}"}, "event_id_per_session", 24, None,
    ),
    "the first of two, of which one is constant": (
        {"first_of": ["event.missing", "shop.id"]}, "event_id_constant", 30, None,
    ),
    "a cart, cut to its day": (
        {"path": "cart.id", "pipe": [["substring", 0, 10]]}, "event_id_per_session", 25, "cart.id",
    ),
    "the order number": ({"path": "event.id"}, None, 0, None),
    "the order number with its type": ({"template": "{event.id}-lead"}, None, 0, None),
    "the first of two order numbers": ({"first_of": ["event.missing", "event.id"]}, None, 0, None),
}  # fmt: skip


@pytest.mark.parametrize("fault", SEEDED)
async def test_each_seeded_fault_is_named_and_no_sound_id_is(service: Service, fault: str) -> None:
    """Seven wrong sources and three right ones: what counts are the ids that Amazon gets."""
    source, kind, events, path = SEEDED[fault]
    fields = {**MAPPING["fields"], **({"event_id": source} if source else {})}
    destination = await service.world.destination(mapping={**MAPPING, "fields": fields})
    made = [with_id(n, f"ord-{n}", label="View" if n % 2 else "Buy") for n in range(30)]
    for n, each in enumerate(made):
        each["shop"], each["session"] = {"id": "shop-1"}, {"id": f"s-{n % 3}"}
        each["cart"] = {"id": f"2026-11-0{n % 5 + 1}-{n}"}
    await service.post(destination, *made)
    assert await findings(service, destination) == ({kind: (events, path)} if kind else {})


async def test_one_id_under_two_types_and_under_two_mappings(service: Service) -> None:
    """The second event is refused here, because Amazon would count only one of both."""
    await repeat_under_two_types(service)
    world = service.world
    other = await world.destination(mapping=OWN_ID)
    async with world.resources.pool.acquire() as connection:
        await publish(connection, other, "map_00000000000000000077", OWN_ID, version=1)
    first, second = f"map_{other[4:]}", "map_00000000000000000077"
    await service.post(other, *({**with_id(n, f"b{n}"), "mapping_id": first} for n in range(20)))
    await service.post(other, *({**with_id(100 + n, f"b{n}"), "mapping_id": second} for n in range(5)))
    await until_found(service, other, {"same_id_two_mappings": (5, None)})


async def test_ids_of_the_tag_are_compared_with_those_of_amazon(service: Service) -> None:
    """Mapped and derived ids; what is only here or only there, and why."""
    destination = await service.world.destination(mapping=OWN_ID)
    own = ["ord-1", "ORD-2", "ord-3_Purchase", "ord 4", "ord-5", "ord-6"]
    await service.post(destination, *(with_id(n, each) for n, each in enumerate(own)))
    tag = ["ord-1", "ord-2", "ord-3", "ord-4", " ord 4", "web-ord-5", "other", "ord-1"]
    answer = await service.send(f"/destinations/{destination}/dedupe/compare", ids=tag)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["matched"], found["only_here"], found["only_there"]) == (1, 5, 6)
    assert {each["kind"]: each["count"] for each in found["reasons"]} == {
        "case": 1, "type_suffix": 1, "whitespace": 1, "prefix": 1,
    }  # fmt: skip
    assert found["readable"] == 6
    derived = await service.world.destination()
    await service.post(derived, event(1), event(2))
    (row,) = await service.world.fetch("SELECT id FROM mappings WHERE destination = $1", derived)
    preview = await service.send(f"/destinations/{derived}/mappings/{row['id']}/preview", event=event(1))
    amazon_id = preview.json()["amazon_event"]["eventId"]
    answer = await service.send(f"/destinations/{derived}/dedupe/compare", ids=[amazon_id, "ord-2"])
    assert answer.json() == {
        "matched": 1, "only_here": 1, "only_there": 1, "readable": 2,
        "reasons": [{"kind": "prefix", "count": 1}],
    }  # fmt: skip
    later = await service.send(
        f"/destinations/{derived}/dedupe/compare", ids=[amazon_id], since="2030-01-01T00:00:00Z",
        until="2030-01-02T00:00:00Z",
    )  # fmt: skip
    assert later.json()["matched"] == 0
    # An erased event stays in the ledger, so it stays among the accepted.
    await service.do(f"/destinations/{derived}/pause", {})
    service.world.work()
    await service.erase(1)
    erased = await service.send(f"/destinations/{derived}/dedupe/compare", ids=[amazon_id])
    assert (erased.json()["matched"], erased.json()["only_here"]) == (1, 1)


async def test_the_longest_event_ids_of_amazon_are_compared(service: Service) -> None:
    """A mapped id has up to 512 characters, and a derived one is longer than the caller's id."""
    mapped, derived = await service.world.destination(mapping=OWN_ID), await service.world.destination()
    await service.post(mapped, with_id(1, "m" * MAX_AMAZON_EVENT_ID))
    await service.post(derived, {**event(1), "event_id": "d" * MAX_EVENT_ID_LENGTH})
    (row,) = await service.world.fetch("SELECT id FROM mappings WHERE destination = $1", derived)
    of_derived = amazon_event_id(derived, row["id"], MAPPING["event_type"], "d" * MAX_EVENT_ID_LENGTH)
    for destination, amazon_id in ((mapped, "m" * MAX_AMAZON_EVENT_ID), (derived, of_derived)):
        answer = await service.send(f"/destinations/{destination}/dedupe/compare", ids=[amazon_id])
        assert answer.status_code == 200, answer.text
        assert (answer.json()["matched"], answer.json()["only_there"]) == (1, 0)
    longer = ["m" * (MAX_AMAZON_EVENT_ID + 1)]
    refused = await service.send(f"/destinations/{mapped}/dedupe/compare", ids=longer)
    assert refused.json()["fields"] == [{"field": "ids[0]", "problem": "too_long"}]


async def test_a_hundred_thousand_ids_are_compared_and_more_are_refused(service: Service) -> None:
    """Within the size of a body."""
    destination = await service.world.destination(mapping=OWN_ID)
    await service.post(destination, with_id(1, "id-00000000000001"))
    ids = [f"id-{n:014}" for n in range(100_000)]
    path = f"/destinations/{destination}/dedupe/compare"
    answer = await service.client.post(path, content=json.dumps({"ids": ids}), timeout=60)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["matched"], answer.json()["only_there"]) == (1, 99_999)
    more = await service.client.post(path, content=json.dumps({"ids": [*ids, "x"]}))
    assert more.status_code == 422


@pytest.mark.parametrize(
    ("there", "here", "expected"),
    [
        (["a-1"], ["A-1"], {IdDifference.CASE: 1}),
        (["42"], ["42_Purchase"], {IdDifference.TYPE_SUFFIX: 1}),
        (["42:Lead"], ["42"], {IdDifference.TYPE_SUFFIX: 1}),
        (["42"], ["0123456789012345:42"], {IdDifference.PREFIX: 1}),
        (["42\n"], ["42"], {IdDifference.WHITESPACE: 1}),
        (["ord-1", "ord-2"], ["ord-3", "ord-4"], {}),
        (["2026-1"], ["2026-2", "2026"], {}),
    ],
)
def test_only_real_differences_are_named(
    there: list[str], here: list[str], expected: dict[IdDifference, int]
) -> None:
    """Neighbouring numbers are different events."""
    assert differences(there, here) == expected


def test_ids_of_many_separators_take_little_memory() -> None:
    """Each is compared by its first and last parts only: 100,000 such ids would take gigabytes."""
    here = {f"{number}{'-a' * 250}" for number in range(300)}
    tracemalloc.start()
    try:
        found = differences({f"{each}_Purchase" for each in here}, here)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == {IdDifference.TYPE_SUFFIX: 300}
    assert most < 10_000_000

"""Reconciliation over a seeded world: every figure exact, and each gap explained."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from app.admin.match_quality.reconciliation import read_reconciliation
from app.domain.match_quality.reconciliation import DayCounts, EventKind, ReconciledDay, amc_sql, explain_gap
from tests.incidents.conftest import Service
from tests.pipeline.amazon import refuse_odd
from tests.pipeline.world import MAPPING, event

FIELDS = {**MAPPING["fields"], "event_id": {"path": "event.id"}}
OPTIONAL: dict[str, Any] = {
    **MAPPING,
    "fields": FIELDS,
    "event_source": {"path": "event.source", "default": "WEBSITE"},
    "consent": {"mode": "amazon", "user_data": {"path": "consent.user_data"}},
}


def event_of(day: date, number: int, *, consent: str = "granted", **more: Any) -> dict[str, Any]:
    """Return an event of a day with its own Amazon eventId, which ends in its number."""
    made = event(number)
    made["event"] |= {"timestamp": f"{day.isoformat()}T00:00:01Z", "id": f"own-{number}", **more}
    return {**made, "consent": {"user_data": consent}}


async def test_each_figure_is_exact(service: Service) -> None:
    """Delivered, refused, waiting, without consent, repeated: by day, name, type and source."""
    world = service.world
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)
    destination = await world.destination(mapping=OPTIONAL)
    await world.fetch("UPDATE destinations SET dataset_name = 'Shop_Events' WHERE id = $1", destination)
    world.amazon.script = refuse_odd
    world.work()
    await service.post(destination, *(event_of(yesterday, number) for number in range(10)))
    await service.post(destination, *(event_of(today, number) for number in range(10, 16)))
    await service.post(destination, *(event_of(today, number, source="OFFLINE") for number in range(16, 18)))
    await world.until(destination, delivered=9, dead=9)
    await world.stop_workers()
    await service.post(destination, *(event_of(today, number) for number in range(20, 24)))  # wait
    await service.post(destination, *(event_of(today, number, consent="denied") for number in range(30, 33)))
    await service.post(destination, {**event_of(today, 10), "event_id": "again"})  # same content: a duplicate
    await service.post(
        destination,
        {**event_of(today, 40, total=5), "event": {**event_of(today, 40)["event"], "id": "own-11"}},
    )
    await service.post(destination, *({**event_of(today, 50 + n), "user": {}} for n in range(2)))  # no key
    found = await service.get(f"/destinations/{destination}/reconciliation")
    assert (found["complete"], found["next_cursor"]) == (True, None)
    rows = {(row["day"], row["event_source"]): row for row in found["items"]}
    names = (
        "rejected",
        "accepted",
        "sent",
        "amazon_accepted",
        "amazon_refused",
        "repeated_ids",
        "without_consent",
        "waiting",
    )
    figures = {key: tuple(row[name] for name in names) for key, row in rows.items()}
    assert figures == {
        (yesterday.isoformat(), "WEBSITE"): (0, 10, 10, 5, 5, 0, 0, 0),
        (today.isoformat(), "WEBSITE"): (0, 10, 6, 3, 3, 1, 0, 4),
        (today.isoformat(), "OFFLINE"): (0, 2, 2, 1, 1, 0, 0, 0),
        (today.isoformat(), None): (2, 0, 0, 0, 0, 1, 3, 0),
    }
    assert {(row["event_name"], row["event_type"], row["dataset_name"]) for row in found["items"]} == {
        ("Added to cart", "ADD_TO_SHOPPING_CART", "Shop_Events")
    }
    assert "conversion_event_name IN ('Added to cart')" in found["amc_sql"]
    only = await service.get(
        f"/destinations/{destination}/reconciliation", **{"from": str(yesterday), "to": str(yesterday)}
    )
    assert [row["accepted"] for row in only["items"]] == [10]
    answer = await service.send(
        f"/destinations/{destination}/reconciliation/explain",
        day=str(today), event_name="Added to cart", amazon_count=1,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    gap = answer.json()
    assert gap["gap"] == 3
    for part in (
        "1 of 4 conversions",
        "3 fewer",
        "3 had no consent",
        "2 were rejected here",
        "2 repeated",
        "4 were refused",
        "4 still wait",
    ):
        assert part in gap["sentence"], gap["sentence"]
    assert gap["stable_at"] == f"{today + timedelta(days=6)}T00:00:00Z"


async def test_the_count_ends_within_a_batch_of_its_time(
    service: Service, monkeypatch: pytest.MonkeyPatch, dst: str
) -> None:
    """Without any time it counts the newest batch and says that it is not complete."""
    for first in (0, 3):
        await service.post(dst, *(event_of(datetime.now(UTC).date(), n) for n in range(first, first + 3)))
    path = f"/destinations/{dst}/reconciliation"
    for seconds, events, complete in ((20.0, 6, True), (0.0, 3, False)):
        monkeypatch.setitem(read_reconciliation.__kwdefaults__ or {}, "seconds", seconds)
        found = await service.get(path)
        assert [row["accepted"] for row in found["items"]] == [events]
        assert found["complete"] is complete


@pytest.mark.parametrize(
    ("first", "last", "field", "problem"),
    [
        ("2026-11-02", "2026-11-01", "to", "before_from"),
        ("2026-01-01", "2026-02-01", "from", "too_long_ago"),
        ("x", "2026-02-01", "from", "invalid"),
    ],
)
async def test_a_range_that_is_too_long_or_turned_round_is_refused(
    service: Service, first: str, last: str, field: str, problem: str, dst: str
) -> None:
    """31 days at most. The problems are those of the other range of days, the usage."""
    path = f"/destinations/{dst}/reconciliation"
    answer = await service.client.get(path, params={"from": first, "to": last})
    assert answer.status_code == 422, answer.text
    assert answer.json()["fields"] == [{"field": field, "problem": problem}]


KIND = EventKind("Sale", "OFF_AMAZON_PURCHASES", "WEBSITE", None)
DAY = date(2026, 11, 20)
LATER = datetime(2026, 11, 27, tzinfo=UTC)


def rows(**counts: int) -> list[ReconciledDay]:
    other = ReconciledDay(DAY, EventKind("Cart", "X", None, None), DayCounts(amazon_accepted=99))
    return [ReconciledDay(DAY, KIND, DayCounts(**counts)), other]


@pytest.mark.parametrize(
    ("shown", "counts", "gap", "parts"),
    [
        (8000, {"amazon_accepted": 8000}, 0, ["Amazon shows all 8,000"]),
        (6100, {"amazon_accepted": 8000}, 1900, ["6,100 of 8,000", "1,900 fewer", "tag", "consent filter"]),
        (9, {"amazon_accepted": 7}, -2, ["2 more than the 7", "Others send under this name"]),
        (5, {"amazon_accepted": 5, "waiting": 4}, 0, ["4 still wait here"]),
        (
            5,
            {"accepted": 12, "amazon_accepted": 5, "waiting": 4},
            0,
            ["4 still wait", "3 failed, expired or"],
        ),
        (0, {}, 0, ["Amazon shows all 0"]),
    ],
)
def test_a_gap_is_a_sentence(shown: int, counts: dict[str, int], gap: int, parts: list[str]) -> None:
    """It never compares with attributed conversions, and says so."""
    found = explain_gap(rows(**counts), DAY, "Sale", shown, LATER)
    assert found.gap == gap
    for part in (*parts, "14 days", "28 in AMC"):
        assert part in found.sentence
    assert "compare again" not in found.sentence


def test_the_clock_that_applies_is_named() -> None:
    """Two hours until events are counted, five days until numbers are stable."""
    early = explain_gap(rows(amazon_accepted=8), DAY, "Sale", 6, datetime(2026, 11, 21, 1, tzinfo=UTC))
    assert "up to 2 hours" in early.sentence
    assert "compare again after 2026-11-26 00:00 UTC" in early.sentence
    late = explain_gap(rows(amazon_accepted=8), DAY, "Sale", 6, datetime(2026, 11, 22, tzinfo=UTC))
    assert "can still change" in late.sentence


def test_an_unknown_event_name_is_reported() -> None:
    """Instead of causes that cannot apply."""
    found = explain_gap(rows(), DAY, "Sales", 3, LATER)
    assert (found.gap, "Check the name" in found.sentence) == (-3, True)


def test_names_are_quoted_in_the_query() -> None:
    """A name may hold an apostrophe."""
    assert "IN ('Bob''s', 'Cart')" in amc_sql(["Cart", "Bob's", "Cart"])
    assert " IN (" not in amc_sql([])

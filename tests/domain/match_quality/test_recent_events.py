"""Suspicious amounts and vanished paths, over seeded purchases and events with known answers."""

import random
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.domain.incidents.conditions import SuspectRule
from app.domain.match_quality.recent_events import (
    MIN_SUSPECT,
    Drift,
    MappingWindow,
    PathDays,
    Purchase,
    drifted,
    read_purchase,
    suspects,
)
from app.domain.observed.schema_sample import take_sample
from tests.domain.conversions import amazon_event, converted, document, event

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PATHS = ("user.email", "event.total")


def bought(amount: float, currency: str = "USD") -> Purchase:
    return Purchase(Decimal(str(round(amount, 2))), currency)


def shop_amounts(number: int, seed: int = 7) -> list[float]:
    """Return amounts as a shop has them: most near 40, some ten times as much."""
    dice = random.Random(seed)
    return [dice.lognormvariate(3.7, 0.8) for _ in range(number)]


@pytest.mark.parametrize("seed", range(20))
def test_cents_among_units_are_found_within_a_hundred_events(seed: int) -> None:
    """A third of the purchases in cents, or the last third; the shop's own spread is no fault."""
    assert suspects([bought(amount) for amount in shop_amounts(100, seed)], "USD") == {}
    mixed = [bought(amount * (100 if n % 3 == 0 else 1)) for n, amount in enumerate(shop_amounts(100, seed))]
    found = suspects(mixed, "USD")
    assert set(found) == {SuspectRule.HUNDREDFOLD}
    assert found[SuspectRule.HUNDREDFOLD] >= MIN_SUSPECT
    switched = [bought(amount * (100 if n >= 66 else 1)) for n, amount in enumerate(shop_amounts(100, seed))]
    assert suspects(switched, "USD")[SuspectRule.HUNDREDFOLD] >= MIN_SUSPECT


def test_equal_zero_and_foreign_amounts_are_exact() -> None:
    """Each rule counts its own purchases."""
    assert suspects([bought(9.99)] * 30, "USD") == {SuspectRule.ALL_EQUAL: 30}
    assert suspects([bought(9.99)] * 29 + [bought(8)], "USD") == {}
    some = [bought(amount) for amount in shop_amounts(70)]
    assert suspects([*some, *[bought(0)] * 30], "USD") == {SuspectRule.ZERO: 30}
    assert suspects([*some, *[bought(40, "EUR")] * 25], "USD") == {SuspectRule.CURRENCY: 25}
    assert suspects([Purchase(None, None)] * 50, "USD") == {}


def test_the_amount_is_read_from_the_finished_event() -> None:
    """A custom attribute named like it is none."""
    made = document(
        {
            "event_type": "OFF_AMAZON_PURCHASES",
            "custom_data": [{"name": "value", "path": "event.properties.brand"}],
        },
        value={"path": "event.total"},
    )
    content = event(event__total=12.5, event__properties__brand="7")
    sent = amazon_event(content, made)
    outcome = converted(content, made)
    assert read_purchase(outcome.body) == Purchase(Decimal(str(sent["value"])), sent["currencyCode"])  # type: ignore[union-attr]
    assert read_purchase(b'{"customData":[{"name":"a","value":"5"}]}') == Purchase(None, None)


def window(*users: dict[str, str]) -> MappingWindow:
    made = MappingWindow("USD")
    for user in users:
        made.note(take_sample({"user": user, "event": {"total": 5}}, now=NOW), PATHS, None)
    return made


def test_a_renamed_path_is_named_with_its_successor() -> None:
    """After fifty events without it, and not before."""
    old, new = {"email": "a@example.com"}, {"mail": "a@example.com"}
    for number, expected in ((49, []), (50, [Drift("user.email", "user.mail")])):
        made = window(*[new] * number)
        days = {
            "user.email": PathDays(200 + number, 200),
            "event.total": PathDays(200 + number, 200 + number),
        }
        assert drifted(made.check(), PATHS, days) == expected
    few = window(*[new] * 96, *[old] * 4)
    assert drifted(few.check(), PATHS, {"user.email": PathDays(300, 204)}) == [
        Drift("user.email", "user.mail")
    ]
    more = window(*[new] * 95, *[old] * 5)
    assert drifted(more.check(), PATHS, {"user.email": PathDays(300, 205)}) == []


def test_a_path_that_was_rarely_filled_does_not_drift() -> None:
    """Less than half of the events before, or too few events."""
    made = window(*[{"mail": "a@example.com"}] * 100)
    assert drifted(made.check(), PATHS, {"user.email": PathDays(300, 99)}) == []
    assert drifted(made.check(), PATHS, {"user.email": PathDays(149, 49)}) == []
    assert [each.path for each in drifted(made.check(), PATHS, {"user.email": PathDays(300, 100)})] == [
        "user.email"
    ]


def test_new_events_are_returned_once() -> None:
    """The figures of a day are added up from it."""
    made = window({"email": "a@example.com"}, {})
    assert made.take_new() == (2, {"user.email": 1, "event.total": 2}, {"user.email": 1})
    assert made.take_new() == (0, {}, {})
    assert made.check().events == 2


@pytest.mark.parametrize(
    ("beside", "is_named"),
    [
        ({"price": Decimal("19.99")}, True),
        ({"lines": [{"unit": "5.00"}, {"paid": "19,99 €"}]}, True),
        ({"price": Decimal("19.98")}, False),
        ({"price": 1999}, False),
        ({"note": "19.999"}, False),
        ({"paid": Decimal("19.99"), "price": Decimal("1e300")}, True),
        ({}, False),
    ],
)
def test_cents_for_units_are_found_from_the_first_events(beside: dict[str, Any], is_named: bool) -> None:
    """All amounts are in cents, so the mapping has no usual amount; its events have the amount in units."""
    body = b'{"eventDescription":{},"value":1999,"currencyCode":"USD"}'
    found = suspects([read_purchase(body, {"total": 1999, **beside})] * MIN_SUSPECT, "USD")
    assert found.get(SuspectRule.HUNDREDTHS, 0) == (MIN_SUSPECT if is_named else 0)


def test_an_amount_whose_name_says_cents_is_found_too() -> None:
    """The window of such a mapping doubts each purchase that has an amount."""
    made = MappingWindow("USD", names_hundredths=True)
    for _ in range(MIN_SUSPECT):
        made.note((), PATHS, b'{"a":1,"value":1999,"currencyCode":"USD"}', {"total_cents": 1999})
    made.note((), PATHS, b"{}", {})
    assert made.check().suspects[SuspectRule.HUNDREDTHS] == MIN_SUSPECT


@pytest.mark.parametrize("is_text", [True, False])
def test_a_path_whose_type_changes_drifts(is_text: bool) -> None:
    """From number to text and back, if at least half of the events before had another type."""
    made = MappingWindow("USD")
    for _ in range(100):
        total: Any = "5.00" if is_text else 5
        made.note(take_sample({"user": {}, "event": {"total": total}}, now=NOW), PATHS, None)

    def found(texts: int, others: int) -> list[Drift]:
        now = (texts + 100, others) if is_text else (texts, others + 100)
        return drifted(
            made.check(), ["event.total"], {"event.total": PathDays(texts + others + 100, 300, *now)}
        )

    assert found(*((0, 200) if is_text else (200, 0))) == [Drift("event.total", is_text=is_text)]
    assert found(*((101, 99) if is_text else (99, 101))) == []
    assert found(*((0, 49) if is_text else (49, 0))) == []
    assert found(0, 0) == []  # a process of the previous release counted no types


def test_windows_of_many_mappings_share_their_paths() -> None:
    """A full window takes a few kilobytes: a process has one for each of thousands of mappings."""
    samples = [
        take_sample(event(user={"email": f"{n}@example.com", "mobile": f"+4915112345{n:03}"}), PATHS, now=NOW)
        for n in range(100)
    ]
    tracemalloc.start()
    try:
        windows = [MappingWindow("USD") for _ in range(20)]
        for window in windows:
            for sample in samples:
                window.note(sample, PATHS, None)
            window.take_new()
        assert tracemalloc.get_traced_memory()[0] < 20 * 8_000
    finally:
        tracemalloc.stop()
    assert windows[0].check().filled == {"user.email": 100}

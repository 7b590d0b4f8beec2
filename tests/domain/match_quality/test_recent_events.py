"""Suspicious amounts and vanished paths, over seeded purchases and events with known answers."""

import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.domain.match_quality.recent_events import (
    MIN_SUSPECT,
    Drift,
    MappingWindow,
    Purchase,
    SuspectRule,
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
    clean = [bought(amount) for amount in shop_amounts(100, seed)]
    assert suspects(clean, "USD") == {}
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
        days = {"user.email": (200 + number, 200), "event.total": (200 + number, 200 + number)}
        assert drifted(made.check(), PATHS, days) == expected
    few = window(*[new] * 96, *[old] * 4)
    assert drifted(few.check(), PATHS, {"user.email": (300, 204)}) == [Drift("user.email", "user.mail")]
    more = window(*[new] * 95, *[old] * 5)
    assert drifted(more.check(), PATHS, {"user.email": (300, 205)}) == []


def test_a_path_that_was_rarely_filled_does_not_drift() -> None:
    """Less than half of the events before, or too few events."""
    made = window(*[{"mail": "a@example.com"}] * 100)
    assert drifted(made.check(), PATHS, {"user.email": (300, 99)}) == []
    assert drifted(made.check(), PATHS, {"user.email": (149, 49)}) == []
    assert [each.path for each in drifted(made.check(), PATHS, {"user.email": (300, 100)})] == ["user.email"]


def test_new_events_are_returned_once() -> None:
    """The figures of a day are added up from it."""
    made = window({"email": "a@example.com"}, {})
    assert made.take_new() == (2, {"user.email": 1, "event.total": 2})
    assert made.take_new() == (0, {})
    assert made.check().events == 2

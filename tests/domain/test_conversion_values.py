"""What an event carries beside its match keys: value, currency, units, ids, custom data (P10, P11)."""

import json
from decimal import Decimal
from typing import Any

import pytest
from conversions import (
    NOW,
    RULES,
    amazon_event,
    compiled,
    convert,
    converted,
    document,
    event,
    refused,
    warnings,
)

from app.domain import strict_json
from app.domain.conversion.convert import Conversion, EventWarning, Rules
from app.domain.conversion.values import CHECKS
from app.domain.event import Event, amazon_event_id, read_events
from app.domain.mapping.reading import SourceFailed
from tests.tables import cases

PURCHASE = {"event_type": "OFF_AMAZON_PURCHASES", "event_name": "Order"}
SCOPE = amazon_event_id("dst_1", "map_1", "ADD_TO_SHOPPING_CART", "")


@cases(
    ("value", "sent"),
    {
        "zero is sent": ("0", "0"),
        "two decimals": ("49.999", "50.00"),
        "exact from end to end": ("0.30000000000000004", "0.30"),
        "halves away from zero": ("2.005", "2.01"),
        "a score may be negative": ("-2.005", "-2.01"),
        "never minus zero": ("-0.0", "0"),
        "nor by rounding": ("-0.001", "0"),
        "an exponent": ("1E3", "1000.00"),
        "the largest": ("10000000000000", "10000000000000"),
    },
)
def test_values(value: str, sent: str) -> None:
    """P11: any type may carry a value, in hundredths."""
    raw = json.dumps(event(v="VALUE")).replace('"VALUE"', value)
    outcome = from_bytes(raw.encode(), document(value="v"))
    assert isinstance(outcome, Conversion), outcome
    assert f'"value":{sent},' in outcome.body.decode()


def from_bytes(body: bytes, made: dict[str, Any]) -> Any:
    """Convert an event given as bytes, where the writing of a number matters."""
    [read] = read_events(strict_json.parse(body), default_destination=None, default_mapping=None)  # type: ignore[misc]
    return convert(read, "x", compiled(made), Rules(**RULES), now=NOW)  # type: ignore[arg-type]


@cases(
    ("value", "reason"),
    {
        "true is no number": (True, "wrong_type"),
        "an exponent as text": ("1e3", "wrong_type"),
        "a decimal as text needs to_number": ("49.99", "wrong_type"),
        "a list": ([1], "wrong_type"),
        "beyond hundredths of a double": (1e14, "value_invalid"),
        "a number without end": (10**400, "value_invalid"),
    },
)
def test_values_that_are_refused(value: Any, reason: str) -> None:
    """A value is a JSON number."""
    outcome = refused(event(v=value), document(value="v"))
    assert (outcome.reason, outcome.field, outcome.mapping_field) == (reason, "v", "value")


def test_no_purchase_is_negative() -> None:
    """A score may be; money may not, not even by a rounding."""
    for value in (-1, -0.001):
        assert refused(event(v=value), document(PURCHASE, value="v")).reason == "value_invalid"


def test_rounding_is_a_warning() -> None:
    """Only where it changed something."""
    assert warnings(event(v=49.999), document(value="v")) == [("value_rounded", "v")]
    assert warnings(event(v=49.9), document(value="v")) == []


@cases(
    ("currency", "sent"),
    {
        "the destination's where the event names none": (None, "USD"),
        "or an empty one": ("", "USD"),
        "the event's own": ("EUR", "EUR"),
        "in either case of letters": ("chf", "CHF"),
    },
)
def test_currencies_of_purchases(currency: Any, sent: str) -> None:
    """A purchase always carries its currency, also without a value."""
    assert amazon_event(event(c=currency), document(PURCHASE, currency="c"))["currencyCode"] == sent


@pytest.mark.parametrize("currency", ["ZZZ", "US", "ＵＳＤ", 840])
def test_currencies_that_are_refused(currency: Any) -> None:
    """One of Amazon's 81, or none."""
    assert refused(event(c=currency), document(PURCHASE, currency="c")).reason == "currency_invalid"


@pytest.mark.parametrize(
    ("units", "reason"),
    [
        (1, None),
        (2**31 - 1, None),
        (2**31, "units_invalid"),
        (0, "units_invalid"),
        (-1, "units_invalid"),
        (1.5, "units_invalid"),
        (2.0, None),
        (1e3, None),
        (2.0 + 2**31, "units_invalid"),
        (True, "wrong_type"),
        ("2", "wrong_type"),
    ],
)
def test_units_sold(units: Any, reason: str | None) -> None:
    """A whole number that fits 32 bits, at least one; judged on any type, sent on purchases."""
    made = document(PURCHASE, units_sold="u")
    assert getattr(converted(event(u=units), made), "reason", None) == reason
    assert getattr(converted(event(u=units), document(units_sold="u")), "reason", None) == reason
    if not reason:
        assert amazon_event(event(u=units), made)["unitsSold"] == units


def test_other_types_carry_neither_currency_nor_units() -> None:
    """They are left out with a warning."""
    made = document(currency="c", units_sold="u")
    content = event(c="EUR", u=2)
    assert {"currencyCode", "unitsSold"}.isdisjoint(amazon_event(content, made))
    assert warnings(content, made) == [("currency_ignored", "c"), ("units_ignored", "u")]
    assert "currencyCode" not in amazon_event(event())


def test_the_event_id_is_always_sent() -> None:
    """Derived from the caller's where none is mapped, or where the mapped one is absent."""
    assert amazon_event(event())["eventId"] == f"{SCOPE}ord-1001:node-7"
    assert amazon_event(event(), document(event_id="order.id"))["eventId"] == f"{SCOPE}ord-1001:node-7"
    assert amazon_event(event(order__id="dedup-123"), document(event_id="order.id"))["eventId"] == "dedup-123"


@cases(
    ("name", "value", "reason"),
    {
        "an address as eventId": ("event_id", "ada@example.com", "event_id_personal"),
        "an at sign in an eventId": ("event_id", "a@b", "event_id_personal"),
        "an id shaped like ours": ("event_id", "0123456789abcdef:x", "amazon_event_id_invalid"),
        "an eventId too long": ("event_id", "x" * 513, "amazon_event_id_invalid"),
        "a control character in an eventId": ("event_id", "a\tb", "amazon_event_id_invalid"),
        "a boolean as eventId": ("event_id", True, "wrong_type"),
        "another word as text": ("limited_data_use", "yes", "limited_data_use_invalid"),
        "one for true": ("limited_data_use", 1, "wrong_type"),
    },
)
def test_other_fields_that_are_refused(name: str, value: Any, reason: str) -> None:
    """Each has its reason, the source path and the destination field."""
    outcome = refused(event(x=value), document(**{name: "x"}))
    assert (outcome.reason, outcome.field, outcome.mapping_field) == (reason, "x", name)


@cases(
    ("name", "value"),
    {
        "a private address": ("ip_address", "10.0.0.1"),
        "a multicast address": ("ip_address", "224.0.0.1"),
        "a link-local IPv6 address": ("ip_address", "fe80::1"),
        "a private one in IPv6 clothes": ("ip_address", "::ffff:10.0.0.1"),
        "a zone of a machine": ("ip_address", "2001:4860:4860::8888%eth0"),
        "a network": ("ip_address", "8.8.8.8/24"),
        "a leading zero": ("ip_address", "08.8.8.8"),
        "no public one in a list": ("ip_address", "10.0.0.1, unknown, 192.168.0.1:80"),
        "a number as address": ("ip_address", 134744072),
        "a list of addresses": ("ip_address", ["8.8.8.8"]),
        "a user agent too long": ("user_agent", "x" * 513),
        "a line break in a user agent": ("user_agent", "a\r\nb"),
        "an ad event key too long": ("amazon_ad_event_key", "x" * 513),
        "an object as ad event key": ("amazon_ad_event_key", {"a": 1}),
        "a token that is none": ("aref_measurement_tokens", "abc"),
        "a bar too much": ("aref_measurement_tokens", "abcDEF1234.1767225600000|"),
    },
)
def test_optional_fields_that_are_left_out(name: str, value: Any) -> None:
    """Amazon needs none of them, so the event is sent without the field."""
    made = document(**{name: "x"})
    assert amazon_event(event(x=value), made) == amazon_event(event())
    assert warnings(event(x=value), made) == [("field_omitted", "x")]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("8.8.8.8, 1.1.1.1", "8.8.8.8"),
        ("10.0.0.1, unknown,1.1.1.1", "1.1.1.1"),
        ("8.8.8.8:443", "8.8.8.8"),
        ("[2001:4860:4860::8888]:443", "2001:4860:4860::8888"),
        ("[2001:4860:4860::8888]", "2001:4860:4860::8888"),
        (" 8.8.8.8 ", "8.8.8.8"),
        ("2001:4860:4860:0:0:0:0:8888", "2001:4860:4860::8888"),
    ],
)
def test_the_first_public_address_is_sent_without_its_port(value: str, sent: str) -> None:
    """As `X-Forwarded-For` lists them. One address has one writing."""
    made = amazon_event(event(x=value), document(ip_address="x"))
    assert made["consent"]["geo"] == {"ipAddress": sent}


@pytest.mark.parametrize(
    ("value", "limited"), [(True, True), ("TRUE", True), (" true", True), ("False", False)]
)
def test_limited_data_use_as_a_word(value: Any, limited: bool) -> None:
    """In any case of letters."""
    sent = amazon_event(event(x=value), document(limited_data_use="x"))
    assert ("dataProcessingOptions" in sent) is limited


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("phone", 15550100199, "15550100199"),
        ("match_id", 5, "5"),
        ("event_id", 1001, "1001"),
        ("event_id", Decimal("10115.0"), "10115"),
        ("event_id", Decimal("1E3"), "1000"),
        ("user_agent", 7, "7"),
        ("postal", 94105, "94105"),
        ("postal", 2134, "02134"),
        ("postal", Decimal("10115.0"), "10115"),
    ],
)
def test_a_number_is_read_as_text(name: str, value: Any, same: str) -> None:
    """In plain digits, without exponent; a US postal code gets its zeros back."""
    made = document(**{name: "x"})
    by_number, by_text = (
        convert(Event("e", "dst_1", "map_1", event(x=x)), "e", compiled(made), Rules(**RULES), now=NOW)
        for x in (value, same)
    )
    assert by_number == by_text
    assert isinstance(by_number, Conversion)


@pytest.mark.parametrize("source", [{"path": "x"}, {"template": "{x}"}, {"path": "x", "pipe": ["to_string"]}])
@pytest.mark.parametrize(
    ("value", "text"), [("10115.0", "10115"), ("1E3", "1000"), ("5.50", "5.50"), ("7", "7")]
)
def test_a_number_has_one_text_wherever_a_text_is_wanted(
    source: dict[str, Any], value: str, text: str
) -> None:
    """In custom data, in templates and in pipes, too."""
    made = document({"custom_data": [{"name": "number", **source}]})
    outcome = from_bytes(json.dumps(event(x="VALUE")).replace('"VALUE"', value).encode(), made)
    assert isinstance(outcome, Conversion), outcome
    assert json.loads(outcome.body)["customData"] == [{"name": "number", "value": text}]


def test_zeros_of_other_countries_are_not_invented() -> None:
    """Only a US postal code has a known length."""
    made = document(postal="x")
    sent = [amazon_event(event(x=x, user__country="DE"), made)["matchKeys"] for x in (1067, "1067")]
    assert sent[0] == sent[1]


@cases(
    ("value", "expected"),
    {
        "text": ("acme", "acme"),
        "a number": (5, "5"),
        "a decimal": (49.90, "49.9"),
        "a boolean": (False, "false"),
        "256 characters": ("x" * 256, "x" * 256),
        "null is left out": (None, None),
        "so are blanks": (" ", None),
        "an object is left out": ({"a": 1}, None),
        "a list is left out": (["a"], None),
        "257 characters": ("x" * 257, None),
        "a control character": ("a\nb", None),
    },
)
def test_custom_data(value: Any, expected: str | None) -> None:
    """P10: plain values as text; what may identify a person, or cannot be sent, is left out."""
    outcome = converted(event(event__properties__brand=value))
    assert isinstance(outcome, Conversion)
    sent = json.loads(outcome.body).get("customData")
    assert sent == (expected and [{"name": "brand", "value": expected}])
    is_blank = value is None or value == " "
    assert (outcome.warnings == ()) is is_blank or expected is not None


def test_unusual_custom_values_are_sent_with_a_warning() -> None:
    """Sources differ on what Amazon takes; the event is not held back for it."""
    assert warnings(event(event__properties__brand="high intent")) == [
        ("custom_value_unusual", "event.properties.brand")
    ]


def test_what_no_mapping_reads_is_not_judged() -> None:
    """Unmapped fields may hold anything."""
    assert amazon_event(event(other={"email": 5, "time": "x"}, value="1e3", consent=7)) == amazon_event(
        event()
    )


def test_the_default_serves_only_what_is_absent() -> None:
    """Absent, null and blank; not what is wrong."""
    made = document(value={"path": "v", "default": 7})
    assert [amazon_event(event(v=v), made)["value"] for v in (None, "", "  ", 1)] == [7, 7, 7, 1]
    assert refused(event(v="x"), made).reason == "wrong_type"
    assert refused(event(v=False), made).reason == "wrong_type"


def test_a_warning_is_a_word_and_a_path() -> None:
    """The source path, or the destination field where there is none."""
    made = document({"custom_data": [{"name": "note", "const": "two words"}]})
    outcome = converted(event(), made)
    assert isinstance(outcome, Conversion)
    assert outcome.warnings == (EventWarning("custom_value_unusual", "custom_data.note"),)


def test_an_integer_with_an_exponent_is_no_count_of_units() -> None:
    """`2.0` is how some engines write 2; `1E3` is a measurement."""
    assert (CHECKS["units_sold"](Decimal("2.0")), CHECKS["units_sold"](Decimal("2.00"))) == (2, 2)
    assert isinstance(CHECKS["units_sold"](Decimal("1E3")), SourceFailed)
    assert isinstance(CHECKS["units_sold"](Decimal("2.5")), SourceFailed)


@cases(
    ("value", "currency", "expected"),
    {
        "yen have no cents": (1234.56, "JPY", ["value_unusual"]),
        "whole yen": (1234, "JPY", []),
        "whole won, written with a point": (1234.0, "KRW", []),
        "rounded, and still no yen": (1234.567, "JPY", ["value_rounded", "value_unusual"]),
        "Amazon takes two of a dinar's three decimals": (1.234, "KWD", ["value_rounded"]),
        "two decimals of a dinar": (1.23, "KWD", []),
        "dollars and cents": (1234.56, "USD", []),
    },
)
def test_decimals_that_a_currency_does_not_have(value: float, currency: str, expected: list[str]) -> None:
    """ISO 4217 minor units; the currency of the event or else of the destination. The value is sent."""
    by_event = event(v=value, c=currency)
    made = document(PURCHASE, value="v", currency="c")
    assert warnings(by_event, made) == [(word, "v") for word in expected]
    own = document(PURCHASE, value="v")
    assert warnings(event(v=value), own, currency=currency) == [(word, "v") for word in expected]
    assert amazon_event(by_event, made)["value"] == round(value, 2)
    assert warnings(event(v=1234.56), document(value="v"), currency="JPY") == []

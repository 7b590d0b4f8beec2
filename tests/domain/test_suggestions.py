"""What is suggested for a field, and what is left to a person."""

import dataclasses
import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.domain import strict_json
from app.domain.conversion import tcf
from app.domain.conversion.consent import CONSENT_WORDS
from app.domain.conversion.values import check_time, key_check
from app.domain.identity.keys import MATCH_KEYS, Profile
from app.domain.mapping.document import check_draft, check_publishable
from app.domain.observed.fingerprints import fingerprint
from app.domain.observed.schema_sample import take_sample
from app.domain.observed.synthetic_event import synthetic_event
from app.domain.suggestions.event_kinds import event_type_of
from app.domain.suggestions.observations import ObservedPath, observe
from app.domain.suggestions.suggest import Suggestion, SuggestionSettings, suggest, suggest_from_samples
from tests.domain.random_pairs import nested_value
from tests.domain.readings import read

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "suggestions.md"
BASE = {"event": "purchase", "time": "2026-11-24T10:00:00Z", "user": {"country": "DE"}}


def settings(zone: str | None = None) -> SuggestionSettings:
    return SuggestionSettings(zone, Profile.AMAZON, {}, NOW)


def suggested(
    events: Sequence[dict[str, Any]], times: Sequence[int] | None = None, **changes: Any
) -> Suggestion:
    """Return the suggestion for events, parsed as the service parses them."""
    parsed = [strict_json.parse(json.dumps(event).encode()) for event in events]
    return suggest(parsed, dataclasses.replace(settings(), **changes), times)


def orders(count: int = 12, **members: Any) -> list[dict[str, Any]]:
    """Return purchases with more members. A function member is called with the number of the event."""
    return [
        BASE | {name: value(n) if callable(value) else value for name, value in members.items()}
        for n in range(count)
    ]


def undecided(suggestion: Suggestion) -> set[tuple[str, str]]:
    """Return what is left to a person."""
    return {(each.field, each.reason) for each in suggestion.undecided}


# --- Well-known tools -----------------------------------------------------------------------------

TOOLS = [
    ("Segment e-commerce", "OFF_AMAZON_PURCHASES"),
    ("GA4", "OFF_AMAZON_PURCHASES"),
    ("Shopify order", "OFF_AMAZON_PURCHASES"),
    ("Adobe XDM commerce", "OFF_AMAZON_PURCHASES"),
    ("Zeotap", "ADD_TO_SHOPPING_CART"),
]


@pytest.mark.parametrize(("heading", "event_type"), TOOLS)
def test_the_event_of_the_page_gives_a_mapping_that_can_be_published(heading: str, event_type: str) -> None:
    """Each tool of docs/suggestions.md has an example."""
    block = PAGE.read_text().split(f"### {heading}\n")[1].split("```json\n")[1].split("```")[0]
    suggestion = suggested([json.loads(block)])
    assert suggestion.mapping["event_type"] == event_type
    assert not check_publishable(suggestion.mapping)
    assert {"email", "value", "event_timestamp"} <= suggestion.mapping["fields"].keys()
    assert ("event_type", "event_name_unknown") not in undecided(suggestion)


def test_every_reason_of_the_page_is_in_the_program() -> None:
    """The table of reasons names no word that is never given."""
    source = "".join(path.read_text() for path in Path("app/domain/suggestions").glob("*.py"))
    table = PAGE.read_text().split("| field and reason in `undecided` |")[1].split("\n\n")[0]
    words = set(re.findall(r"`([a-z_]{6,})`", table)) - {
        "consent",
        "event_timestamp",
        "country_code",
        "fields",
    }
    words -= {"event_type", "event_source"}
    assert len(words) > 8
    assert not [word for word in words if f'"{word}"' not in source]


# --- Fields ---------------------------------------------------------------------------------------


def test_one_source_has_the_paths_of_one_field_in_turn() -> None:
    """The customer comes before billing; an address that all events share is not the customer's."""
    suggestion = suggested(
        orders(
            support_email="help@shop.example",
            billing=lambda n: {"email": f"bill{n}@example.com", "phone": f"+4916055512{n:02}"},
            customer=lambda n: {"email": f"own{n}@example.com" if n % 2 else None},
        )
    )
    email = suggestion.mapping["fields"]["email"]
    assert email == {"first_of": [{"path": "customer.email"}, {"path": "billing.email"}]}
    assert next(row for row in suggestion.rows if row.field == "email").share == 1


def mail(n: int, name: str = "a") -> str:
    return f"{name}{n}@example.com"


def some_mail(n: int) -> str | None:
    return mail(n) if n % 2 else None


def first_of(*paths: str) -> dict[str, Any]:
    return {"first_of": [{"path": path} for path in paths]}


MANY = 12  # events, enough to conclude that a path has no values
SOURCES: dict[str, tuple[int, dict[str, Any], str, Any]] = {
    "an address that all events share is a shop's": (
        MANY, {"info_email": "hello@shop.example", "mail": some_mail}, "email", {"path": "mail"},
    ),
    "unless it stands in the customer: the events are tests": (
        MANY, {"customer": {"email": "tester@shop.example"}}, "email", {"path": "customer.email"},
    ),
    "or where the bill goes": (
        MANY, {"billing": {"phone": "+49 160 5551234"}}, "phone", {"path": "billing.phone"},
    ),
    "no phone of a pick-up point": (MANY, {"shipping": {"phone": "+49 160 5551234"}}, "phone", None),
    "a buyer of a gift is the customer": (
        3, {"gift_buyer_email": lambda n: f"a{n}@example.com"}, "email", {"path": "gift_buyer_email"},
    ),
    "an event that is not this one": (
        3, {"last_event": "page_view", "items": [{"price": 5, "qty": 2}]}, "event_type", None,
    ),
    "a score of few events in a currency in lower case": (
        3, {"value": lambda n: 142 + n, "currency": "usd"}, "value", {"path": "value"},
    ),
    "no house number twice": (
        3, {"address": {"street": "Musterstr. 55", "number": "55"}}, "address", {"path": "address.street"},
    ),
    "no whole name for a first name": (
        3, {"user": {"name": "Ada Lovelace", "last_name": "Lovelace"}}, "first_name",
        {"path": "user.name", "pipe": ["trim", ["split", " "], "first"]},
    ),
    "the order of two paths is that of the events": (
        MANY, {"login_email": lambda n: mail(n) if n else None, "contact_email": mail}, "email",
        first_of("login_email", "contact_email"),
    ),
    "each address of a list is tried": (
        MANY, {"emails": lambda n: ["none" if n % 2 else mail(n), mail(n, "b")]}, "email",
        first_of("emails[0]", "emails[1]"),
    ),
    "unless they are tests, which all name one person": (3, {"email": mail(1)}, "email", {"path": "email"}),
    "the payee is not the payer": (
        3, {"payee": {"email": mail(1)}, "payer": {"email": mail(2)}}, "email", {"path": "payer.email"},
    ),
    "nor a friend who gets a gift": (3, {"gift": {"email": mail(1)}, "friend_email": ""}, "email", None),
    "nor the shop the customer": (
        3, {"store": {"email": mail(1), "customer": {"email": mail(2)}}}, "email",
        {"path": "store.customer.email"},
    ),
    "an item can hold the customer": (
        1, {"RequestItem": {"shopperEmail": mail(1)}}, "email", {"path": "RequestItem.shopperEmail"},
    ),
    "a name that only one member of a list has": (
        3, {"answers": [{"type": "text"}, {"type": "text"}, {"type": "email", "email": mail(1)}]},
        "email", {"path": "answers", "pipe": [["where", "type", "is", "email"], ["pluck", "email"], "first"]},
    ),
    "a blank path is tried last, if there are few events": (
        3, {"device": {"idfa": "00000000-0000-4000-8000-000000000001", "gps_adid": None}}, "maid",
        first_of("device.idfa", "device.gps_adid"),
    ),
    "also if nothing else is found": (3, {"billing": {"phone": ""}}, "phone", {"path": "billing.phone"}),
    "a path that is blank in many events is left out": (MANY, {"phone": ""}, "phone", None),
    "a discount code is no calling code": (
        MANY, {"code": "15", "phone": lambda n: f"0160 55512{n:02}"}, "phone", {"path": "phone"},
    ),
    "a national number needs no country to be found": (
        3, {"user": {"tel": "0160 5551234"}}, "phone", {"path": "user.tel"},
    ),
    "`cognome` ends with the Italian word for a first name": (
        MANY, {"cognome": lambda n: "Rossi" if n % 2 else "Bianchi"}, "first_name", None,
    ),
    "both halves of a name stand in one object": (
        3, {"a": {"nome": "Premium"}, "subscriber": {"nome": "Zoë", "sobrenome": "Silva"}}, "first_name",
        {"path": "subscriber.nome"},
    ),
    "a name beside a last name is the first name": (
        3, {"contact": {"name": "Ayşe", "surname": "Yılmaz"}}, "first_name", {"path": "contact.name"},
    ),
    "unless there is another one": (
        3, {"to": {"name": "Ada B", "surname": "B", "first_name": "Ada"}}, "first_name",
        {"path": "to.first_name"},
    ),
    "the house number stands behind the street": (
        3, {"address": {"street": "Am Wall", "number": "7a"}}, "address",
        {"first_of": [{"template": "{address.street} {address.number}"}, {"path": "address.street"}]},
    ),
    "another number is none": (
        3, {"customer": {"street": "Am Wall", "number": "7a"}}, "address", {"path": "customer.street"},
    ),
    "the state of an order": (MANY, {"state": lambda n: ("paid", "Open", "invited")[n % 3]}, "state", None),
    "the state of an address": (
        MANY, {"state": lambda n: ("CA", "Texas", "NY")[n % 3]}, "state", {"path": "state"},
    ),
    "the name of a state before its code": (
        3, {"state": {"id": "MX-CMX", "name": "CDMX"}}, "state", first_of("state.name", "state.id"),
    ),
    "a place by the IP address is not the person's": (3, {"geo_city": "Berlin"}, "city", None),
    "a time of years ago is not that of the event": (
        MANY, {"timestamp": "2019-05-01T10:00:00Z", "time": None, "sold_at": BASE["time"]}, "event_timestamp",
        {"path": "sold_at"},
    ),
    "a list price is no price": (
        MANY, {"items": lambda n: [{"list_price": 9.5, "quantity": 2, "line_total": n + 1.5}]}, "value",
        {"path": "items", "pipe": [["sum", "line_total"]]},
    ),
    "a total in cents shows in comparison with the products": (
        MANY, {"total": lambda n: 1000 * n + 1000, "items": lambda n: [{"price": 10 * n + 10, "qty": 1}]},
        "value", {"path": "total", "pipe": [["divide", 100]]},
    ),
    "an amount by the end of its name": (3, {"お支払い合計": 9.5}, "value", {"path": '["お支払い合計"]'}),
    "an amount in Korean": (3, {"결제금액": 9.5}, "value", {"path": '["결제금액"]'}),
    "an amount with sign and code": (
        3, {"total": "$1,299.50 MXN"}, "value",
        {"path": "total", "pipe": [["replace", "MXN", ""], ["replace", "$", ""], ["to_number", "."]]},
    ),
    "a price of one piece, of few events": (
        3, {"cart": {"price": 9.5, "quantity": 1}}, "value",
        {"path": "cart", "pipe": [["sum", "price", "quantity"]]},
    ),
    "of several amounts of money the total": (
        3, {f"{name}_money": {"amount": 9.5} for name in ("tip", "total", "tax")}, "value",
        {"path": "total_money.amount"},
    ),
    "of a lead, income is no value": (3, {"event": "lead", "annual_revenue": 1200000}, "value", None),
    "attributes with a `value` have none": (
        3, {"event": "lead", "zip": {"value": "10115"}, "hits": {"value": "3"}, "age": {"value": "42"}},
        "value", None,
    ),
    "a set stands beside its parts in the list": (
        3, {"total_qty_ordered": 2, "items": [{"price": 5, "qty": 2}, {"price": 1, "qty": 2}]}, "units_sold",
        {"first_of": [{"path": "total_qty_ordered"}, {"path": "items", "pipe": [["sum", "qty"]]}]},
    ),
    "nor what lies in a warehouse": (
        3, {"warehouse": {"total_qty": 500}, "items": [{"price": 5, "qty": 2}]}, "units_sold",
        {"path": "items", "pipe": [["sum", "qty"]]},
    ),
    "a number of lines is none of pieces": (
        3, {"total_item_count": 1, "items": [{"price": 5, "qty": 2}]}, "units_sold",
        {"path": "items", "pipe": [["sum", "qty"]]},
    ),
    "the same amount with decimals shows that another is in cents": (
        3, {"revenue": "499", "revenue_float": "4.99"}, "value",
        {"path": "revenue", "pipe": [["to_number", "."], ["divide", 100]]},
    ),
    "an amount under a name with a Danish letter": (3, {"beløb": 9.5}, "value", {"path": '["beløb"]'}),
    "a fax takes no calls": (3, {"fax_phone": None}, "phone", None),
    "the time of the order before that of its record": (
        3, {"time": None, "created_at": "2026-11-24T10:00:09Z", "placed_at": BASE["time"]}, "event_timestamp",
        first_of("placed_at", "created_at"),
    ),
    "a total before its part": (3, {"subtotalPrice": 9, "totalPrice": 9.5}, "value", {"path": "totalPrice"}),
    "an amount with tax": (3, {"total_ex_tax": 8, "total_inc_tax": 9.5}, "value", {"path": "total_inc_tax"}),
    "taxes are no total": (3, {"tax_total": 3.2}, "value", None),
    "nor is freight": (3, {"shipping_total": 4.9}, "value", None),
    "an amount in the shop's currency": (
        3, {"base_grand_total": 10.7, "grand_total": 9.5}, "value", {"path": "grand_total"},
    ),
    "an amount whose name says cents": (
        3, {"total": {"centAmount": 950}}, "value", {"path": "total.centAmount", "pipe": [["divide", 100]]},
    ),
    "the currency beside an amount before another one": (
        MANY, {"shown_currency_code": "USD", "total": {"amount": 9.5, "currencyCode": "EUR"}}, "currency",
        {"path": "total.currencyCode"},
    ),
    "the currency of the order before that of the shop": (
        MANY, {"base_currency_code": "USD", "order_currency_code": "EUR", "total": 9.5}, "currency",
        {"path": "order_currency_code"},
    ),
    "the time of a mail needs no zone": (
        3, {"time": "Tue, 24 Nov 2026 10:00:00 +0000"}, "event_timestamp", {"path": "time"},
    ),
    "a count": (3, {"skus_count": 3}, "units_sold", {"path": "skus_count"}),
    "a number of items": (3, {"num_items": 3}, "units_sold", {"path": "num_items"}),
    "the customer's address before that of the bill": (
        MANY, {"billing_address": lambda n: {"email": mail(n, "b")}, "customer_email": some_mail}, "email",
        first_of("customer_email", "billing_address.email"),
    ),
    "of one moment, the time with an offset": (
        3, {"time": "2026-11-24 10:00:00", "zone": "Asia/Kolkata", "at_shop": "2026-11-24T15:30:00+05:30"},
        "event_timestamp", {"path": "at_shop"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("count", "members", "field", "source"), SOURCES.values(), ids=SOURCES.keys())
def test_a_field_has_its_source(count: int, members: dict[str, Any], field: str, source: Any) -> None:
    """Each case has events with these members."""
    assert suggested(orders(count, **members)).mapping["fields"].get(field) == source


@pytest.mark.parametrize(
    ("count", "amounts", "currency", "is_asked", "values"),
    [
        (MANY, lambda n: 1999 + 7 * n, "EUR", True, [None, None]),
        (3, lambda n: 1999 + 7 * n, "EUR", True, [1999, 1999]),
        (MANY, lambda n: 1999 + n, "eur", True, [Decimal("19.99"), 1999]),
        (3, lambda n: 1999 + n, "eur", True, [Decimal("19.99"), 1999]),
        (3, lambda n: 2900, "eur", True, [Decimal("19.99"), 1999]),
        (3, lambda n: 12000, "EUR", True, [1999, 1999]),
        (3, lambda n: 1999.0 + n, "eur", False, [1999, 1999]),
        (MANY, lambda n: 1999 + n, "JPY", False, [1999, 1999]),
        (MANY, lambda n: 1900 + 100 * n, "EUR", False, [1999, 1999]),
        (MANY, lambda n: 19.5 + n, "EUR", False, [1999, 1999]),
        (MANY, lambda n: f"{199 + n}.00", "EUR", False, None),
    ],
)  # fmt: skip
def test_integer_amounts_may_be_hundredths(
    count: int, amounts: Any, currency: str, is_asked: bool, values: Sequence[Any] | None
) -> None:
    """A person is asked. Of many events, no value is better than a wrong one."""
    suggestion = suggested(orders(count, amount_total=amounts, currency=currency))
    assert (("value", "may_be_hundredths") in undecided(suggestion)) is is_asked
    if values and (source := suggestion.mapping["fields"].get("value")):
        events = [{"amount_total": 1999, "currency": code} for code in (currency, "jpy")]
        assert [read(source, event) for event in events] == values
    else:
        assert values in (None, [None, None])


def test_an_amount_has_the_decimals_beside_it() -> None:
    """Also if its name says cents: yen have none."""

    def money(n: int) -> dict[str, Any]:
        return {"centAmount": 1999, "fractionDigits": 2 - 2 * (n % 2)}

    source = suggested(orders(3, total=money)).mapping["fields"]["value"]
    assert [read(source, {"total": money(n)}) for n in (0, 1)] == [Decimal("19.99"), 1999]


def test_an_attribute_of_products_is_read_as_list_and_as_value() -> None:
    """Some products have one category, others several. A list that always has one value is that value."""

    def products(n: int) -> list[dict[str, Any]]:
        categories = ["Books", "Toys"] if n % 2 else "Books"
        return [{"price": 3, "quantity": n % 3 + 1, "category": categories, "brand": ["Acme"]}]

    joined = ["unique", ["join", ", "], ["substring", 0, 256]]
    rows = {row["name"]: row for row in suggested(orders(products=products)).mapping["custom_data"]}
    assert rows["brand"] == {"name": "brand", "path": "products[*].brand[0]", "pipe": joined}
    paths = ["products[*].category[*]", "products[*].category"]
    assert rows["category"]["first_of"] == [{"path": path, "pipe": joined} for path in paths]


def test_a_member_of_products_that_is_an_object_or_a_list_is_not_absent() -> None:
    """A quantity that cannot be read is not left out of the count, nor a product without a readable price."""
    lists = suggested(orders(products=[{"price": 3, "quantity": [{"pieces": 2}]}]))
    assert ("units_sold", "quantity_not_readable") in undecided(lists)
    assert "units_sold" not in lists.mapping["fields"]
    some = orders(products=lambda n: [{"price": n if n % 4 else {}, "quantity": 2}])
    assert suggested(some).mapping["fields"]["value"]["pipe"] == [["sum", "price", "quantity"]]


def test_numbers_that_begin_with_the_calling_code_get_its_sign() -> None:
    """The name says that they do, or all of them do: a few German numbers may begin with 49, too."""
    for name, count, source in (
        ("msisdn", 12, {"template": "+{msisdn}"}),
        ("telefon", 12, {"template": "+{telefon}"}),
        ("telefon", 5, {"path": "telefon"}),
    ):
        fields = suggested(orders(count, **{name: lambda n: 4916055512000 + n})).mapping["fields"]
        assert fields["phone"] == source


@pytest.mark.parametrize(
    "text", ["24/11/2026 03:05 م", "2026/11/24 午後 3:05", "24.11.2026 10:00-05:00", "24/11/2026 3:05 tarde"]
)
def test_words_that_change_the_time_are_not_cut_off(text: str) -> None:
    """No time is better than one that is hours wrong."""
    assert "event_timestamp" not in suggested(orders(time=text), zone="Europe/Paris").mapping["fields"]


def test_a_month_before_the_day_is_no_name_of_a_day() -> None:
    """The days of the first week have two spaces, as C writes them."""
    now = datetime(2026, 12, 4, 12, tzinfo=UTC)
    suggestion = suggested(orders(time="Fri Dec  4 10:00:00 2026"), zone="UTC", now=now)
    assert next(row for row in suggestion.rows if row.field == "event_timestamp").share == 1
    times = suggested(orders(time="November 24, 2026 10:00"), zone="UTC").mapping["fields"]["event_timestamp"]
    assert ["replace", "November ", "11/"] in times["pipe"]


def test_names_of_products_prove_no_total() -> None:
    """A product that names itself is no total: the price alone would add up in orders with one product."""
    rows = {"items": lambda n: [{"name": "Books", "price": n + 1.5, "quantity": 2}]}
    value = suggested(orders(**rows)).mapping["fields"]["value"]
    assert value == {"path": "items", "pipe": [["sum", "price", "quantity"]]}


def test_amounts_without_a_currency_keep_their_value() -> None:
    """A currency that nothing names is the destination's; one that amounts of products have is theirs."""
    assert "currency" not in suggested(orders(total=lambda n: 19.99 + n)).mapping["fields"]
    rows = {"items": lambda n: [{"sku": "a", "price": f"{n + 1},50 €", "quantity": 2}]}
    assert suggested(orders(**rows)).mapping["fields"]["currency"] == {"const": "EUR"}


def test_words_for_utc_do_not_change_local_times() -> None:
    """`UTC` becomes the sign of ISO 8601, and is not cut off."""
    times = ("2026-11-24 10:00:00 UTC", "2026-11-24 11:00:00", "20261124T100000Z")
    source = suggested(orders(30, time=lambda n: times[n % 3]), zone="Europe/Berlin").mapping["fields"]
    for text in times:
        found = read(source["event_timestamp"], {"time": text}, check=check_time)
        assert found.at == datetime(2026, 11, 24, 10, tzinfo=UTC)


def test_times_with_offsets_have_their_order_of_day_and_month() -> None:
    """It follows from the dates, as in times without an offset."""
    suggestion = suggested(orders(time=lambda n: f"11/{13 + n}/2026 10:00 +0100"))
    assert next(row for row in suggestion.rows if row.field == "event_timestamp").share == 1
    assert ("event_timestamp", "other_zones") in undecided(suggestion)


@pytest.mark.parametrize("offset", ["+1400", "-1200"])
def test_the_first_and_the_last_offset_have_a_zone_that_exists(offset: str) -> None:
    suggestion = suggested(
        [BASE | {"time": f"11/24/2026 02:{minute}:00 {offset}"} for minute in range(10, 20)]
    )
    assert check_draft(dict(suggestion.mapping)) == []
    assert [row.share for row in suggestion.rows if row.field == "event_timestamp"] == [1.0]


def test_two_processes_suggest_the_same_steps() -> None:
    """The signs of another script and the names of zones are replaced in a fixed order."""
    signs = " +-/:"
    wide = ObservedPath(
        {"path": "at"}, ("at",), ("\uff11\uff0b\uff0d\uff0f\uff1a\u3000",)
    ).with_plain_digits()
    assert [step[2] for step in wide.source["pipe"]][-len(signs) :] == [*signs]
    zones = ("PST", "PDT", "HST", "EST")
    events = orders(time=lambda n: f"2026-11-24 10:{n:02}:00 {zones[n % len(zones)]}")
    steps = suggested(events).mapping["fields"]["event_timestamp"]["pipe"]
    assert [step[1].strip() for step in steps if step[0] == "replace"][: len(zones)] == sorted(zones)


@pytest.mark.parametrize(
    "time",
    [
        "2026年11月24日 10:00:00", "24 novembre 2026 à 10:00", "2026-11-24T10:00:00Z[UTC]",
        "24-NOV-26 10.00.00 AM", "24. 11. 2026 10:00:00",
        "2026-11-24T11:00:00+01:00[Europe/Paris]", {"_seconds": 1795514400, "_nanoseconds": 0},
        "1795514400000000000",
    ],
)  # fmt: skip
def test_a_time_is_read_as_tools_write_it(time: Any) -> None:
    """Also by a mapping of one event."""
    source = suggested([BASE | {"time": time}], zone="UTC").mapping["fields"]["event_timestamp"]
    assert read(source, {"time": time}, check=check_time).at == datetime(2026, 11, 24, 10, tzinfo=UTC)


def test_a_number_among_local_times_has_no_offset_beside_it() -> None:
    """The local times then need a zone."""
    events = orders(time=lambda n: 1795514400 if n == 3 else "2026-11-24T10:00:00", offset="+01:00")
    suggestion = suggested(events)
    formats = ["epoch_s", "iso", "epoch_ms", "rfc2822"]
    source = {"path": "time", "pipe": [["time", {"formats": formats}]]}
    assert suggestion.mapping["fields"]["event_timestamp"] == source
    assert ("event_timestamp", "zone_needed") in undecided(suggestion)


@pytest.mark.parametrize("other", ["00/00/0000 00:00", "99/99/2026 10:00"])
def test_a_date_that_does_not_exist_proves_no_order_of_day_and_month(other: str) -> None:
    times = ["11/03/2026 10:00", "11/05/2026 10:10", "10/11/2026 10:20", other]
    user = {"country": "US"}
    suggestion = suggested([BASE | {"time": time, "user": user} for time in times], zone="America/New_York")
    assert ("event_timestamp", "order_of_day_and_month") in undecided(suggestion)
    assert "M/D/YYYY H:mm" in json.dumps(suggestion.mapping["fields"]["event_timestamp"])


def test_dates_in_both_orders_prove_none() -> None:
    times = ["11/13/2026 10:00", "13/11/2026 10:10", "11/12/2026 10:20"]
    suggestion = suggested([BASE | {"time": time} for time in times], zone="Europe/Berlin")
    assert ("event_timestamp", "order_of_day_and_month") in undecided(suggestion)


@pytest.mark.parametrize(
    ("quantities", "reason"),
    [
        ((2, None, 3), "quantity_missing_in_some_products"),
        (("2 pcs", "3 pcs", "some"), "quantity_not_readable"),
        (("2,000", "1,000", "3"), "decimal_sign"),
    ],
)
def test_units_that_may_be_wrong_are_left_out(quantities: Sequence[Any], reason: str) -> None:
    """A quantity that is left out may be 1; a number of lines is no number of pieces."""
    rows = [{"sku": "a", "price": 1.5} | ({"quantity": q} if q else {}) for q in quantities]
    suggestion = suggested(orders(items=rows))
    assert ("units_sold", reason) in undecided(suggestion)
    assert not any(row.field == "units_sold" and row.share for row in suggestion.rows)


def test_a_second_path_that_never_helps_is_left_out_of_many_events() -> None:
    """Three events are too few to know."""
    members = {"email": lambda n: f"a{n}@example.com", "contact_email": lambda n: f"b{n}@example.com"}
    assert suggested(orders(**members)).mapping["fields"]["email"] == {"path": "email"}
    assert "first_of" in suggested(orders(3, **members)).mapping["fields"]["email"]


@pytest.mark.parametrize(
    "name",
    [
        "first_touch_channel", "last_touch_channel", "lastCampaign", "first_source", "first_order_date",
        "product_family", "given_discount", "channel_name", "model_name", "email_name", "dealName",
        "nombre_producto", "nom_produit", "nome_prodotto", "address_type", "street_view", "city_tier",
        "device_state", "statement", "marketplace", "postal_service",
    ],
)  # fmt: skip
def test_a_name_of_something_else_is_no_part_of_a_person(name: str) -> None:
    """Any text fits these fields, and a wrong match key is worse than none."""
    words = ("Google Ads", "Newsletter", "Direct", "Organic Search")
    for events in (orders(**{name: lambda n: words[n % 4]}), orders(customer=lambda n: {name: words[n % 4]})):
        assert name not in json.dumps(suggested(events).mapping["fields"])


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("first", "first_name"), ("customer_first", "first_name"), ("name_first", "first_name"),
        ("billing_last", "last_name"), ("orderFirstName", "first_name"), ("custlname", "last_name"),
        ("last_name_1", "last_name"), ("nombre", "first_name"), ("nome_cliente", "first_name"),
    ],
)  # fmt: skip
def test_a_short_name_of_a_person_is_one(name: str, field: str) -> None:
    """Alone, or beside words for a person."""
    fields = suggested(orders(**{name: lambda n: ("Ada", "Grace", "Alan")[n % 3]})).mapping["fields"]
    assert fields[field] == {"path": name}


@pytest.mark.parametrize("name", ["full_name", "fullName", "name", "display_name"])
def test_a_full_name_is_split(name: str) -> None:
    """By its comma, if it has one. Titles and suffixes are no names of a person."""

    def names(*texts: str) -> dict[str, Any]:
        events = orders(customer=lambda n: {name: texts[n % len(texts)]})
        fields = suggested(events).mapping["fields"]
        return {field: fields.get(field) for field in ("first_name", "last_name")}

    path = f"customer.{name}"
    words, parts = ["trim", ["split", " "]], ["trim", ["split", ","]]
    assert names("Ada Lovelace", "Alan M. Turing", "Grace Hopper") == {
        "first_name": {"path": path, "pipe": [*words, "first"]},
        "last_name": {"path": path, "pipe": [*words, "last"]},
    }
    assert names("Lovelace, Ada", "Turing, Alan M.", "Hopper,Grace") == {
        "first_name": {"path": path, "pipe": [*parts, "last"]},
        "last_name": {"path": path, "pipe": [*parts, "first"]},
    }
    berg = names("Anna van den Berg")["last_name"]
    assert read(berg, {"customer": {name: "Anna van den Berg"}}) == "van-den-Berg"
    for unclear in (("Lovelace, Ada", "Alan Turing"), ("Lovelace, Ada, Lady", "Turing, Alan, Sir")):
        assert names(*unclear) == {"first_name": None, "last_name": None}
    assert names("Mrs. Ada Lovelace", "Alan Turing", "Dr Grace Hopper") == {
        "first_name": None,
        "last_name": {"path": path, "pipe": [*words, "last"]},
    }
    assert names("Ada Lovelace", "Alan Turing Jr.", "Grace Hopper PhD") == {
        "first_name": {"path": path, "pipe": [*words, "first"]},
        "last_name": None,
    }


def test_a_field_is_found_by_its_values_where_its_name_says_nothing() -> None:
    """E-mail addresses and international phone numbers have an unmistakable form."""
    fields = suggested(orders(x1=lambda n: f"a{n}@example.com", x2=lambda n: f"+49 160 55512{n:02}")).mapping[
        "fields"
    ]
    assert fields["email"] == {"path": "x1"}
    assert fields["phone"] == {"path": "x2"}


def test_a_name_alone_is_not_enough() -> None:
    """The values of these paths are of another kind."""
    fields = suggested(orders(email=lambda n: n, mobile=True, country_flag="red", maid="none")).mapping[
        "fields"
    ]
    assert not {"email", "phone", "maid"} & fields.keys()


@pytest.mark.parametrize(
    ("amounts", "pipe"),
    [
        (["1.234,50", "9,99"], [["to_number", ","]]),
        (["1,234.50", "9.99"], [["to_number", "."]]),
        (["$9.99", "$12.00"], [["to_number", "."]]),
    ],
)
def test_the_decimal_sign_follows_from_the_amounts(amounts: list[str], pipe: list[Any]) -> None:
    """One amount with decimals is enough."""
    suggestion = suggested(orders(total=lambda n: amounts[n % 2]))
    assert suggestion.mapping["fields"]["value"] == {"path": "total", "pipe": pipe}
    assert ("value", "decimal_sign") not in undecided(suggestion)


def test_amounts_of_both_kinds_are_tried_in_turn() -> None:
    """Each text can be read in one way only."""
    value = suggested(orders(total=lambda n: "19,99" if n % 3 else "19.99")).mapping["fields"]["value"]
    assert [source["pipe"] for source in value["first_of"]] == [[["to_number", ","]], [["to_number", "."]]]


def test_an_amount_that_can_be_read_in_two_ways_is_left_to_a_person() -> None:
    """`1.234` is 1234 in Germany, which the country suggests."""
    suggestion = suggested(orders(total=lambda n: f"{n + 1}.234"))
    assert suggestion.mapping["fields"]["value"]["pipe"] == [["to_number", ","]]
    assert ("value", "decimal_sign") in undecided(suggestion)


@pytest.mark.parametrize("other", ["1,220", "19.99"])
def test_amounts_that_nothing_explains_have_no_value_or_no_wrong_one(other: str) -> None:
    """`1,220` beside `1,22` is 1.22 or 1220. Both signs with decimals are read in turn."""
    suggestion = suggested(orders(total=lambda n: f"{n + 1},22" if n % 2 else other))
    assert ("value", "decimal_sign") in undecided(suggestion)
    assert ("value" in suggestion.mapping["fields"]) is (other == "19.99")


def value_of(suggestion: Suggestion, event: dict[str, Any]) -> Any:
    """Return the value of an event, read as the mapping reads it."""
    return read(suggestion.mapping["fields"]["value"], event)


def test_the_currency_decides_how_the_prices_of_products_are_read() -> None:
    """An object that holds both is needed. An order in another currency has no value."""

    def order(n: int) -> dict[str, Any]:
        currency, price = ("JPY", f"¥{1000 + n:,}") if n % 2 else ("EUR", f"{n},50 €")
        return {"currency": currency, "items": [{"price": price, "quantity": 2}]}

    suggestion = suggested(orders(order=order))
    assert value_of(suggestion, {"order": order(3)}) == 2006
    assert value_of(suggestion, {"order": order(4)}) == 9
    assert value_of(suggestion, {"order": order(4) | {"currency": "XCD"}}) is None


@pytest.mark.parametrize("odd", [978, True])
@pytest.mark.parametrize("is_list", [False, True])
def test_a_currency_that_is_no_text_decides_no_notation(odd: object, is_list: bool) -> None:
    """Some systems write the number of a currency. A person has to say which sign is which."""

    def order(n: int) -> dict[str, Any]:
        amount = f"{n},50" if n % 2 else f"{n}.50"
        bought = {"items": [{"price": amount}]} if is_list else {"total": amount}
        return {"currency": odd if n % 2 else "EUR", **bought}

    assert ("value", "decimal_sign") in undecided(suggested(orders(order=order)))


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("R$ 9,50", {"const": "BRL"}), ("GBP 9.50", {"const": "GBP"}), ("9,50 kr", None), ("9.50", None),
        ("9.50 dollars", None), ("9.50 ريال", None),
        ("9,500원", {"const": "KRW"}), ("9.50 ر.س", {"const": "SAR"}), ("9,50 грн", {"const": "UAH"}),
        ("฿9.50", {"const": "THB"}), ("$ 9.50 MXN", {"const": "MXN"}), ("950円", {"const": "JPY"}),
        ("¥950", {"const": "JPY"}),
    ],
)  # fmt: skip
def test_the_sign_beside_an_amount_is_its_currency(amount: str, currency: dict[str, str] | None) -> None:
    """`kr` and `dollars` are the money of several countries, which a person has to know."""
    suggestion = suggested(orders(total=amount, user={"country": "JP"}))
    assert suggestion.mapping["fields"].get("currency") == currency
    assert (("currency", "not_found") in undecided(suggestion)) is amount.endswith(("kr", "dollars", "ريال"))


@pytest.mark.parametrize(
    ("count", "members", "field", "event", "value"),
    [
        (1, {"total": "EUR 9.50"}, "currency", {"total": "USD 9.50"}, "USD"),
        (9, {"amount": 1e4, "amount_text": "EUR 100.00"}, "value", {"amount": 500}, 5),
        (9, {"changes": [{"value": "1795514400000"}]}, "value", {"changes": [{"value": "1"}]}, None),
        (1, {"email": "N/A"}, "email", {"email": "ada@example.com"}, "ada@example.com"),
        (9, {"user_id": lambda n: mail(n) if n else "guest"}, "email", {"user_id": mail(1)}, mail(1)),
    ],
)  # fmt: skip
def test_few_events_decide_how_others_are_read(
    count: int, members: dict[str, Any], field: str, event: dict[str, Any], value: Any
) -> None:
    source = suggested(orders(count, **members)).mapping["fields"].get(field)
    assert (source and read(source, event)) == value


def test_both_ways_to_write_yen_are_read() -> None:
    source = suggested(orders(1, total="¥1,000", user={"country": "JP"})).mapping["fields"]["value"]
    assert [read(source, {"total": total}) for total in ("¥1,000", "1,000円")] == [1000, 1000]


def test_a_phone_number_of_a_country_without_a_step_is_dropped() -> None:
    """Read in the country of the event, it would be another person's."""
    suggestion = suggested(
        orders(phone=lambda n: {"country": "PL" if n % 2 else "SE", "number": f"605 551 2{n:02}"})
    )
    source = suggestion.mapping["fields"]["phone"]
    check = key_check(Profile.AMAZON, next(rule for rule in MATCH_KEYS if rule.field == "phone"), "DE")
    for country, digits in (("PL", "48605551200"), ("LU", None)):
        key = read(source, {"phone": {"country": country, "number": "605 551 200"}}, check=check)
        assert (key.value if digits else None) == (digits and hashlib.sha256(digits.encode()).hexdigest())
        assert (key == "match_key_invalid") is (digits is None)


def test_amounts_of_more_digits_than_decimals_have_are_round() -> None:
    """Decimals cannot divide them exactly."""
    suggestion = suggested(orders(total=lambda n: 1e40 if n % 2 else 1999 + 7 * n))
    assert suggestion.mapping["fields"]["value"] == {"path": "total"}
    assert ("value", "may_be_hundredths") not in undecided(suggestion)


def test_amounts_in_cents_may_have_more_digits_than_decimals_divide() -> None:
    """Of a currency without decimals, too."""
    events = orders(currency=lambda n: "EUR" if n % 2 else "JPY", total_cents="1" * 31)
    assert "value" not in suggested(events).mapping["fields"]


@pytest.mark.parametrize("depth", [9, 20])
def test_what_no_path_reaches_is_no_source(depth: int) -> None:
    """A path has at most 16 steps, also through lists and names that say nothing."""
    listed: Any = "granted"
    wrapped: Any = {"consent": "granted", "limited_data_use": True}
    for _ in range(depth):
        listed, wrapped = [listed], {"M": wrapped}
    for event in ({"consent": listed}, wrapped):
        suggestion = suggested([BASE | event])
        assert not check_draft(suggestion.mapping)
        assert depth > 16 or suggestion.mapping["consent"]["mode"] == "amazon"


def test_a_price_is_no_total_of_several_pieces() -> None:
    """In the event itself, a source for each usual quantity multiplies them. More pieces give no value."""
    suggestion = suggested(orders(price=lambda n: n + 0.5, quantity=lambda n: n % 3 + 1, currency="EUR"))
    values = [value_of(suggestion, {"price": 2, "quantity": pieces}) for pieces in (1, 3, 8, 9)]
    assert values == [2, 6, 16, "transform_failed"]
    assert ("value", "total_missing") in undecided(suggestion)
    single = suggested(orders(price=lambda n: n + 0.5, quantity=1, currency="EUR"))
    assert single.mapping["fields"]["value"] == {"path": "price"}
    assert ("value", "total_missing") not in undecided(single)


@pytest.mark.parametrize("odd", ["a", 2.0, 1.5, 0, -1, 10**9, True, "1.500"])
def test_quantities_that_are_no_counts_are_left_out(odd: object) -> None:
    """Of an event about one product: a source for each usual quantity multiplies its price."""
    expected = suggested(orders(price=5.99, quantity=2)).mapping["fields"]["value"]
    events = orders(price=5.99, quantity=lambda n: odd if n % 2 else 2)
    assert suggested(events).mapping["fields"]["value"] == expected


def test_a_missing_total_is_summed() -> None:
    """The total is read first."""
    events = orders(
        total=lambda n: f"{n + 1}.50" if n % 2 else None,
        items=lambda n: [{"price": n + 1.5, "quantity": 1}],
    )
    value = suggested(events).mapping["fields"]["value"]
    assert value["first_of"][1] == {"path": "items", "pipe": [["sum", "price", "quantity"]]}


def test_an_unreadable_amount_does_not_cost_the_event() -> None:
    """Only where the given events have one: elsewhere an unreadable amount is a mistake to be noticed."""
    events = orders(total=lambda n: "on request" if n == 3 else f"{n}.50")
    assert suggested(events).mapping["fields"]["value"]["on_error"] == "omit"
    assert "on_error" not in suggested(orders(total=lambda n: f"{n}.50")).mapping["fields"]["value"]


def test_an_event_id_differs_in_all_events() -> None:
    """Two events with one id would be one conversion. The envelope's id needs no mapping."""
    unique = suggested(orders(dedupe_id=lambda n: f"o{n}", event_id=lambda n: f"e{n}"))
    assert unique.mapping["fields"]["event_id"] == {"path": "dedupe_id"}
    repeated = suggested(orders(dedupe_id=lambda n: f"o{n // 2}", event_id=lambda n: f"e{n}"))
    assert "event_id" not in repeated.mapping["fields"]
    personal = suggested(orders(dedupe_id=lambda n: f"order-{n}@example.com"))
    assert "event_id" not in personal.mapping["fields"]


def test_an_order_id_is_no_event_id() -> None:
    """An order has several events, and the second one would be rejected as a conflict."""
    assert "event_id" not in suggested(orders(order_id=lambda n: f"o{n}", total=5)).mapping["fields"]


def test_the_pinned_name_is_used() -> None:
    """Another name could not be published."""
    pinned = suggested([BASE], pins={"OFF_AMAZON_PURCHASES": "Order"})
    assert pinned.mapping["event_name"] == "Order"
    assert suggested([BASE]).mapping["event_name"] == "Purchase"


@pytest.mark.parametrize(
    ("name", "event_type", "reason"),
    [
        ("Product Added", "ADD_TO_SHOPPING_CART", None),
        ("begin_checkout", "CHECKOUT", None),
        ("Signed Up", "SIGN_UP", None),
        ("order_created", "OFF_AMAZON_PURCHASES", None),
        ("Bestellung abgeschlossen", "OFF_AMAZON_PURCHASES", None),
        ("Order Refunded", "OTHER", "event_name_unknown"),
        ("xyz", "OFF_AMAZON_PURCHASES", "event_name_unknown"),
    ],
)
def test_the_type_follows_from_the_name(name: str, event_type: str, reason: str | None) -> None:
    """Without case and separators. An order of an unknown name is taken for a purchase, a refund is not."""
    suggestion = suggested(orders(event=name, order_id=lambda n: f"o{n}", total=5))
    assert suggestion.mapping["event_type"] == event_type
    assert (reason is not None) is (("event_type", "event_name_unknown") in undecided(suggestion))


def test_events_of_several_types_are_distinguished() -> None:
    """No page view is sent as a purchase."""
    suggestion = suggested(orders(event=lambda n: "purchase" if n % 3 else "page_view"))
    table = {"purchase": "OFF_AMAZON_PURCHASES", "page_view": "PAGE_VIEW", "*": "OTHER"}
    assert suggestion.mapping["event_type"] == {"path": "event", "pipe": [["map", table]]}
    assert ("event_type", "several_event_types") in undecided(suggestion)


def test_a_country_is_never_assumed() -> None:
    """Whether consent is required depends on it."""
    suggestion = suggested([{"event": "purchase", "email": "ada@example.com"}])
    assert "country_code" not in suggestion.mapping
    assert ("country_code", "not_found") in undecided(suggestion)
    spelled = suggested(orders(3, user=lambda n: {"country": ("DE", "GERMANY", "ESP")[n]}))
    assert [row.share for row in spelled.rows if row.field == "country_code"] == [1.0]
    source = suggested(orders(1, user={"country": "USA"})).mapping["country_code"]
    assert [read(source, {"user": {"country": name}}) for name in ("Ελλάδα", "DEU")] == ["GR", "DE"]
    partly = suggested(orders(user=lambda n: {"country": "DE"} if n else {}))
    assert partly.mapping["country_code"] == {"path": "user.country"}
    assert ("country_code", "missing_in_some_events") in undecided(partly)


# --- Consent --------------------------------------------------------------------------------------

GRANTED = {"mode": "granted"}
CONSENTS = ("user_data", "ad_storage")


@pytest.mark.parametrize(
    ("members", "consent"),
    [
        (
            {"consent": {"ad_storage": "GRANTED", "user_data": "DENIED"}},
            {
                "mode": "amazon",
                "user_data": {"path": "consent.user_data"},
                "ad_storage": {"path": "consent.ad_storage"},
            },
        ),
        ({"tcf": tcf.consent_to_all()}, {"mode": "tcf", "string": {"path": "tcf"}}),
        ({"privacy": {"gpp": "DBAA~BAAA.YAAA"}}, {"mode": "gpp", "string": {"path": "privacy.gpp"}}),
        (
            {
                "consents": {
                    "collect": {"val": "no"},
                    "marketing": {"any": {"val": "yes"}, "email": {"val": "no"}},
                }
            },
            {"mode": "amazon", **{name: {"path": "consents.marketing.any.val"} for name in CONSENTS}},
        ),
        (
            {"gdpr": {"applies": True, "marketing": "yes"}},
            {"mode": "amazon", **{name: {"path": "gdpr.marketing"} for name in CONSENTS}},
        ),
        ({"newsletter_opt_in": True, "gdpr_applies": True}, GRANTED),
        ({}, GRANTED),
    ],
)
def test_consent_comes_from_the_events(members: dict[str, Any], consent: dict[str, Any]) -> None:
    """Without consent in the events, a person must confirm that all consented."""
    suggestion = suggested(orders(**members))
    assert suggestion.mapping["consent"] == consent
    to_confirm = ("consent", "confirm_that_all_consented") in undecided(suggestion)
    assert to_confirm is (consent == GRANTED)


@pytest.mark.parametrize(
    "carried",
    [{"consent": {"user_data": "GRANTED", "ad_storage": "GRANTED"}}, {"tcf": tcf.consent_to_all()}],
    ids=["answers", "string"],
)
def test_consent_that_only_some_events_carry_is_to_be_confirmed(carried: dict[str, Any]) -> None:
    """Where a consent is required, the other events would be rejected."""
    to_confirm = ("consent", "confirm_meaning_of_consent")
    everywhere = orders(**carried)
    assert to_confirm not in undecided(suggested(everywhere))
    assert to_confirm in undecided(suggested([*everywhere, *orders()]))


def words_of(suggestion: Suggestion, *answers: Any) -> list[str]:
    """Return what the answers of events mean to the mapping."""
    source = suggestion.mapping["consent"]["user_data"]
    words = [read(source, {"marketing_consent": answer}) for answer in answers]
    return [CONSENT_WORDS[word.lower()] for word in words]


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        (True, False),
        (1, 0),
        ("y", "n"),
        ("accepted", "rejected"),
        ("Opted-in", "opted-out"),
        ("tak", "nie"),
        ("sì", "no"),
        ("ja", "nee"),
        ("EVET", "Hayır"),
        ("t", "f"),
        ("opt_in", "opt_out"),
        ("동의", "거부"),
        ("同意する", "同意しない"),
        ("đồng ý", "không đồng ý"),
    ],
)
def test_answers_are_turned_into_consent_words(yes: Any, no: Any) -> None:
    """Each answer of the events is read; its meaning is to be confirmed."""
    suggestion = suggested(orders(marketing_consent=lambda n: no if n % 2 else yes))
    assert suggestion.mapping["consent"]["mode"] == "amazon"
    rows = {row.field: row for row in suggestion.rows}
    assert rows["consent.user_data"].share == rows["consent.ad_storage"].share == 1
    assert ("consent", "confirm_meaning_of_consent") in undecided(suggestion)
    assert words_of(suggestion, yes, no) == ["GRANTED", "DENIED"]


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("마케팅동의", "동의", "거부"), ("広告利用許諾", "はい", "いいえ"), ("ยินยอมการตลาด", "ใช่", "ไม่ใช่"),
        ("الموافقة على التسويق", "نعم", "لا"), ("विज्ञापन सहमति", "हाँ", "नहीं"), ("согласие", "да", "нет"),
        ("συγκατάθεση_διαφήμισης", "Ναι", "Όχι"), ("hirdetési hozzájárulás", "igen", "nem"),
        ("aceitaPublicidade", "Sim", "Não"), ("WERBUNG_ERLAUBT", "J", "N"), ("AD_CNSNT_IND", "Y", "N"),
        ("ad_tracking_enabled", True, False), ("personalised_ads", "on", "off"),
        ("súhlas_s_reklamou", "áno", "nie"), ("privola_oglašavanje", "da", "ne"),
        ("mainoslupa", "kyllä", "ei"), ("ads_opted_in_at", "2026-11-01T10:00:00Z", None),
    ],
)  # fmt: skip
def test_consent_has_names_in_many_languages(name: str, yes: Any, no: Any) -> None:
    """Of one event, a person who refused is in no other one read as one who agreed."""
    for given in (yes, no):
        suggestion = suggested(orders(1, **{name: given}))
        source = suggestion.mapping["consent"].get("user_data")
        words = [source and read(source, {name: answer}) for answer in (yes, no)]
        assert given is None or words == ["GRANTED", "DENIED"] or CONSENT_WORDS[words[1].lower()] == "DENIED"
        assert ("consent", "confirm_meaning_of_consent") in undecided(suggestion)


@pytest.mark.parametrize(
    ("name", "refused", "absent"),
    [
        ("ads_opt_out", True, False),
        ("opted_out_at", "2026-11-01T10:00:00Z", None),
        ("opt_out", "2026-11-01", "N/A"),
        ("niente_pubblicità", "1", "0"),
        ("ads_opt_out", "opted_out", "no"),
        ("prefs", [{"category": "no_ads", "is": "yes"}], [{"category": "no_ads", "is": "no"}]),
    ],
)
def test_a_refusal_counts_more_than_a_consent_beside_it(name: str, refused: Any, absent: Any) -> None:
    """A word for no value is none, whether the given events have a refusal or not."""
    agreed, refusal, nothing = {"ad_consent": True}, {name: refused}, {name: absent}
    for given in (refusal, nothing):
        source = suggested(orders(1, **agreed, **given)).mapping["consent"]["user_data"]
        answers = [CONSENT_WORDS[read(source, agreed | each).lower()] for each in (refusal, nothing)]
        assert answers == ["DENIED", "GRANTED"]


def test_answers_of_several_types_are_read_together() -> None:
    suggestion = suggested(orders(marketing_consent=lambda n: (True, "ja", "nein", "GRANTED", 0)[n % 5]))
    assert words_of(suggestion, True, "ja", "GRANTED") == ["GRANTED"] * 3
    assert words_of(suggestion, "nein", 0) == ["DENIED"] * 2


def test_an_answer_that_cannot_be_read_is_no_share() -> None:
    """The consent check refuses these events."""
    suggestion = suggested(orders(marketing_consent=lambda n: "all" if n % 3 else "some"))
    rows = {row.field: row for row in suggestion.rows}
    assert rows["consent.user_data"].share == rows["consent.ad_storage"].share == 0


@pytest.mark.parametrize(
    ("groups", "others"),
    [(["statistics", "Ads"], ["statistics"]), (",C0001,C0004,", ",C0001,"), ("a|Marketing", "")],
)
def test_consent_to_a_group_for_advertising_is_read(groups: Any, others: Any) -> None:
    """Other texts and lists of groups deny it. The meaning is to be confirmed."""
    suggestion = suggested(orders(onetrust_groups=lambda n: groups if n else others))
    answers = [
        read(suggestion.mapping["consent"]["user_data"], {"onetrust_groups": each})
        for each in (groups, others)
    ]
    assert answers == ["GRANTED", "DENIED"]
    assert ("consent", "confirm_meaning_of_consent") in undecided(suggestion)


@pytest.mark.parametrize(
    "members",
    [
        {"consent": {"purposes": {"disabled": ["marketing"], "enabled": ["analytics"]}}},
        {"consents_rejected": ["ads"]}, {"consent": {"denied": "marketing,analytics"}},
        {"didomi": {"disabled": ["advertising"]}},
        {"consent": {"purpose": "marketing", "state": "pending"}}, {"optin": {"channel": "ads"}},
        {"OPTIN_STATUS": "O"}, {"privacy": {"marketing_opt_out": True}}, {"privacy": {"limit_ads": True}},
        {"cookie": {"ads_blocked": True}}, {"datenschutz": {"werbe_sperre": True}},
        {"consent_withdrawn": True}, {"leads": {"consent": {"profiling": True, "third_party_ads": False}}},
        {"consent": {"categoryPreferences": {"advertising": False, "personalization": True}}},
        {"consents": "ads|Ada Lovelace, Musterweg"}, {"samtykke": {"tilbagekaldt": True}},
        {"consent": {"unknown_word": "yes"}}, {"suppressed": True}, {"ads_opt_out": "true"},
        {"do_not_target": "yes"}, {"device_limit_tracking": 1}, {"us_privacy": "1YYN"},
        {"privacy": {"gpc": True}}, {"Werbesperre": "J"}, {"att_status": 2}, {"acepta_publicidad": "S"},
        {"profiling": {"third_party": "forbidden"}},
        {"meta_data": [{"key": "_ads_consent", "value": "no"}, {"key": "_news", "value": "yes"}]},
        {"optin_process": True, "optin_partners": False}, {"consent": False, "marketing_matched": True},
        {"consent": False, "marketing_consent_version": 1},
        {"consents": [{"topic": "stats", "is": "granted"}, {"topic": "ads", "is": "denied"}]},
        {"gdpr": {"objection": True}}, {"accept_ads": 0}, {"ccpa_optout": 1}, {"device": {"lmt": 1}},
        {"consent_requested": True}, {"consents_requested": ["ads"]}, {"consents_expired": ["ads"]},
        {"nonPersonalizedAds": "1"}, {"keine_werbung": True}, {"brak_zgody": "tak"}, {"동의안함": True},
        {"werbeverbot": True}, {"tracking_limited": "1"}, {"purposes": {"1": False}}, {"share_data": False},
        {"werbung": 0}, {"marketing_state": "NOT_SUBSCRIBED"}, {"flags": ["do_not_track"]},
        {"cookies": ["necessary"]}, {"consent": []}, {"IABTCF_PurposeConsents": "0000000000"},
        {"¿Aceptas recibir publicidad?": "No, gracias"},
        {"answers": [{"field": {"ref": f"{ref}_consent"}, "is": ref == "terms"} for ref in ("terms", "ads")]},
        {"answers": [{"question": "Darf geworben werden? Werbung?", "answer": "Nein"}, {"question": "AGB"}]},
        {"prefs": [{"category": "mail", "state": "on"}, {"category": "ads", "state": "off"}]},
    ],
    ids=str,
)  # fmt: skip
def test_a_refusal_or_the_name_of_a_purpose_is_no_consent(members: dict[str, Any]) -> None:
    """No such event is sent, and a person must say what the path means."""
    for count in (1, 12):
        suggestion = suggested(orders(count, **members))
        source = suggestion.mapping["consent"]["user_data"]
        answer = read(source, members)
        assert type(answer) is not str or CONSENT_WORDS.get(answer.lower()) != "GRANTED"
        assert ("consent", "confirm_meaning_of_consent") in undecided(suggestion)
        assert "Lovelace" not in str(suggestion.mapping)
    shown = suggested(orders(gdpr={"marketing_notice_shown": True}))
    assert shown.mapping["consent"] == GRANTED


@pytest.mark.parametrize(
    "value", ["all", ["statistics", "analytics"], 7, "G111", "no marketing", "marketing:0"]
)
def test_consent_that_cannot_be_read_is_never_granted(value: Any) -> None:
    """No event passes until a person says what the values mean. Facts about a consent are none."""
    suggestion = suggested(orders(consent=value))
    source: Any = {"path": "consent"}
    if type(value) is list:  # an empty one is no consent either
        source = {"path": "consent[0]", "pipe": [["map", {"*": "DENIED"}]], "default": "DENIED"}
    assert suggestion.mapping["consent"] == {"mode": "amazon", "user_data": source, "ad_storage": source}
    assert ("consent", "confirm_meaning_of_consent") in undecided(suggestion)
    facts = {"consent_version": 1, "consented": {"at": "2026-11-24T10:00:00Z"}, "ad_click": False}
    assert suggested(orders(**facts)).mapping["consent"] == GRANTED
    agreed = orders(consent=True, ad_click=False, location_permission=False, parcel={"tracking": "no"})
    assert suggested(agreed).mapping["consent"] == suggested(orders(consent=True)).mapping["consent"]


# --- Any events -----------------------------------------------------------------------------------


def test_no_events_give_nothing() -> None:
    """Not even an empty mapping that could be saved."""
    assert suggested([]) == Suggestion({})


def test_samples_of_events_give_a_mapping_too() -> None:
    """Their texts are invented, so that no event id is suggested."""
    event = BASE | {"order_id": "o1", "total": 5, "user": {"email": "ada@example.com", "country": "DE"}}
    suggestion = suggested([synthetic_event(take_sample(event, now=NOW), NOW)], times=[40])
    assert {"event_timestamp", "email", "value"} <= suggestion.mapping["fields"].keys()
    assert "event_id" not in suggestion.mapping["fields"]
    assert not check_draft(suggestion.mapping)


@pytest.mark.parametrize(
    "name", ["Order Completed", "orderCompleted", "ORDER_COMPLETED", "commerce.productListAdds"]
)
def test_the_name_of_events_is_found_by_its_fingerprint(name: str) -> None:
    """Samples do not hold it. Names that are in no list stay unknown."""
    digest = partial(fingerprint, key=b"key")
    sample = take_sample(BASE | {"event": name}, now=NOW, fingerprint=digest)
    assert name not in repr(sample)
    found = suggest_from_samples([(sample, 3)], settings(), digest)
    assert found.mapping["event_type"] == event_type_of(name)


def test_names_that_may_be_values_are_not_repeated() -> None:
    """An object whose names are addresses or numbers gives no path."""
    suggestion = suggested(
        orders(by=lambda n: {"ada@example.com": f"x{n}@example.com", "4915112345678": f"y{n}@example.com"})
    )
    assert "ada@" not in repr(suggestion) + json.dumps(suggestion.mapping, default=str)
    assert "4915112345678" not in json.dumps(suggestion.mapping, default=str)
    people = [{"name": "Ada Lovelace", "email": mail(1), "country": "DE"}]
    assert "Lovelace" not in str(suggested(orders(3, user={}, customers=people)).mapping)


def test_values_are_hidden_from_logs() -> None:
    """What is collected has no values in its text form."""
    found = observe([BASE | {"user": {"email": "ada@example.com"}}])
    assert "ada@example.com" not in repr(found)


NAMES = (
    *("email", "total", "items", "price", "quantity", "time", "country", "type", "value", "consent"),
    *("", "Größe", "a.b", "x y", "\u202e"),
)


def test_any_events_give_a_document_that_can_be_saved() -> None:
    """Whatever events hold, nothing is raised, and the document has no problems."""
    rng = random.Random(1)
    for _ in range(60):
        events = [{rng.choice(NAMES): nested_value(rng, NAMES) for _ in range(6)} for _ in range(4)]
        suggestion = suggest(events, settings("Europe/Berlin"))
        assert not check_draft(suggestion.mapping), events
        assert all(0 <= row.share <= 1 for row in suggestion.rows), events


def _wide() -> list[dict[str, Any]]:
    wide = {f"m{n}": {"email": f"a{n}@example.com", "total": "1,50"} for n in range(200)}
    long = [{"price": "1.234,50", "quantity": 2, "type": "abcdefgh"[n % 8]} for n in range(300)]
    return [BASE | {"wide": wide, "items": long}] * 200


def _many_dates_and_clocks() -> list[dict[str, Any]]:
    dates = {f"date{n}": "2026-11-24" for n in range(50)} | {f"time{n}": "10:00:00" for n in range(50)}
    return [BASE | {f"group{n}": dates for n in range(8)}] * 200


def _many_lists() -> list[dict[str, Any]]:
    """Members of which only the first ones hold something."""
    first = [{f"m{n}": 1 for n in range(60)}] * 100
    lists = {f"list{n}": first for n in range(60)}
    return [BASE | lists, *[BASE | {name: [{}] * 100 for name in lists} for _ in range(199)]]


def _many_members_in_a_list() -> list[dict[str, Any]]:
    return [BASE | {"list": [{f"m{n}": {f"{k}_{n}": "v" for k in range(50)} for n in range(1000)}]}] * 8


@pytest.mark.parametrize("make", [_wide, _many_dates_and_clocks, _many_lists, _many_members_in_a_list])
def test_the_work_is_bounded(make: Callable[[], list[dict[str, Any]]]) -> None:
    """The largest body, 5 MiB in 200 events, takes a few seconds of CPU at most."""
    events = make()
    begin = time.thread_time()
    suggestion = suggest(events, settings())
    assert time.thread_time() - begin < 4
    assert suggestion.mapping["fields"]

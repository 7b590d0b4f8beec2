"""Families of purchases put together at random: names, spelling, nesting, notation of amounts, times.

Each part is one that real events have. What a mapping cannot know is left out: local times are of one zone,
and amounts in text have a currency that all events share, or a member that names it.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.domain.orders import COUNTRIES, JSON, Order, Truth, make_order

BERLIN: Final = ZoneInfo("Europe/Berlin")


def _utc(form: str) -> Callable[[datetime], Any]:
    return lambda at: at.strftime(form)


def _local(form: str) -> Callable[[datetime], Any]:
    return lambda at: at.astimezone(BERLIN).strftime(form)


_TIMES: Final[tuple[Callable[[datetime], Any], ...]] = (
    _utc("%Y-%m-%dT%H:%M:%SZ"),
    _utc("%Y-%m-%dT%H:%M:%S.000000000Z"),
    lambda at: (at + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S+02:00"),
    lambda at: (at + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S+0200"),
    lambda at: int(at.timestamp()),
    lambda at: int(at.timestamp()) * 1000,
    lambda at: int(at.timestamp()) * 1_000_000,
    lambda at: str(int(at.timestamp())),
    _utc("%a, %d %b %Y %H:%M:%S +0000"),
    _utc("%a, %d %b %Y %H:%M:%S GMT"),
    _utc("%Y-%m-%d %H:%M:%S+00:00"),
    _utc("%Y-%m-%d %H:%M:%S UTC"),
    _utc("%Y%m%dT%H%M%SZ"),
    _utc("%a %b %d %H:%M:%S UTC %Y"),
    _local("%d.%m.%Y %H:%M:%S"),
    _local("%d.%m.%y %H:%M:%S"),
    _local("%d/%m/%Y %H:%M:%S"),
    _local("%m/%d/%Y %I:%M:%S %p"),
    _local("%Y-%m-%dT%H:%M:%S"),
    _local("%Y/%m/%d %H:%M:%S"),
    _local("%d %b %Y %H:%M:%S"),
    _local("%a %b %d %Y %H:%M:%S GMT%z (Central European Standard Time)"),
)


def _grouped(amount: Decimal, group: str, decimal: str) -> str:
    return f"{amount:,.2f}".replace(",", "|").replace(".", decimal).replace("|", group)


# Notations with a sign are of one currency, and so of some countries.
_EURO: Final = ("DE", "AT", "FR", "ES")
_AMOUNTS: Final[tuple[tuple[Callable[[Decimal], Any], str], ...]] = (
    (float, ""),
    (lambda amount: f"{amount:.2f}", ""),
    (lambda amount: f"{amount:.4f}", ""),
    (lambda amount: f"{amount:.2f}".replace(".", ","), ""),
    (lambda amount: _grouped(amount, ".", ","), ""),
    (lambda amount: _grouped(amount, ",", "."), ""),
    (lambda amount: _grouped(amount, "'", "."), ""),
    (lambda amount: _grouped(amount, ".", ",") + " €", "EUR"),
    (lambda amount: _grouped(amount, "\u202f", ",") + " €", "EUR"),
    (lambda amount: "EUR " + _grouped(amount, ".", ","), "EUR"),
    (lambda amount: "$" + _grouped(amount, ",", "."), "USD"),
)

# fmt: off
_NAMES: Final = {
    "time": ("timestamp", "event time", "order date", "created at", "occurred at", "ts", "bestelldatum",
             "date commande", "fecha pedido", "data ordine", "zeitpunkt", "transaction date"),
    "email": ("email", "email address", "e mail", "customer email", "mail", "courriel", "correo"),
    "phone": ("phone", "phone number", "mobile", "tel", "telefon", "handy", "celular", "cell phone"),
    "country": ("country", "country code", "land", "pays", "pais", "billing country", "iso country"),
    "total": ("total", "order total", "grand total", "amount", "revenue", "gesamtbetrag", "montant total"),
    "currency": ("currency", "currency code", "waehrung", "devise", "moneda", "valuta", "curr"),
    "units": ("quantity", "qty", "units", "menge", "anzahl", "cantidad", "item count", "pieces"),
    "items": ("items", "products", "line items", "positions", "lines", "articles", "order lines", "produits"),
    "price": ("price", "unit price", "item price", "preis", "prix unitaire", "einzelpreis", "unit amount"),
    "line_total": ("line total", "row total", "total price"),
    "sku": ("sku", "item id", "product id", "artikelnummer", "ref"),
    "event": ("event", "event name", "action", "type"),
    "number": ("order id", "order number", "transaction id", "bestellnummer", "receipt no"),
}
# fmt: on
_SPELLINGS: Final[tuple[Callable[[str], str], ...]] = (
    lambda name: name.replace(" ", "_"),
    lambda name: name.replace(" ", "-"),
    lambda name: name.replace(" ", "_").upper(),
    str.title,
    lambda name: name.title().replace(" ", ""),
    lambda name: name[0] + name.title().replace(" ", "")[1:],
)
# Members that are no facts of an order, of a product, or of the customer, by what they are written like.
_OF_ORDERS: Final = (
    ("updated at", "2026-11-24T11:59:00Z"),
    ("delivery date", "2026-11-30"),
    ("shipping cost", Decimal("4.90")),
    ("tax amount", Decimal("1.20")),
    ("discount", Decimal(2)),
    ("loyalty points", 1200),
    ("session id", 1795514400),
    ("exchange rate", 1.07),
    ("weight", "1.25"),
)
_OF_PRODUCTS: Final = (
    ("position", 3),
    ("vat rate", 19),
    ("in stock", 55),
    ("rating", 4),
    ("list price", Decimal(9000)),
    ("tax", Decimal("0.10")),
    ("discount", 0),
)
_SHOP: Final = {"email": "info@acme.example", "phone": "+49 30 1234567", "country": "DE"}
_EVENTS: Final = (
    "Order Completed",
    "purchase",
    "order_placed",
    "Kauf",
    "checkout.completed",
    "order.created",
)
_SHAPES: Final = ("flat", "two", "deep", "call", "rows")


@dataclass(frozen=True, slots=True)
class RandomFamily:
    """The events of one invented customer, all of which are written in the same way."""

    names: dict[str, str]
    times: list[Callable[[datetime], Any]]
    amount: Callable[[Decimal], Any]
    currency: str  # of all amounts, which have its sign; else empty
    shape: str
    event: str
    has_items: bool
    has_total: bool
    names_currency: bool
    counts_are_texts: bool
    has_line_total: bool
    of_orders: JSON
    of_products: JSON

    @property
    def countries(self) -> tuple[str, ...]:
        return {"EUR": _EURO, "USD": ("US",)}.get(self.currency, tuple(COUNTRIES))

    def write(self, order: Order) -> tuple[JSON, Truth]:
        name, count = self.names, str if self.counts_are_texts else int
        bought: JSON = self.of_orders | {
            name["number"]: order.number,
            name["time"]: order.random.choice(self.times)(order.at),
        }
        if self.names_currency:
            bought[name["currency"]] = order.currency
        if self.has_total:
            bought[name["total"]] = self.amount(order.total)
        if self.has_items:
            bought[name["items"]] = [
                self.of_products
                | {name["sku"]: sku, name["units"]: count(quantity)}
                | (
                    {name["line_total"]: self.amount(price * quantity)}
                    if self.has_line_total
                    else {name["price"]: self.amount(price)}
                )
                for sku, _, price, quantity in order.lines
            ]
        else:
            bought[name["units"]] = count(order.units)
        person = {name["email"]: order.email, name["phone"]: order.phone, name["country"]: order.country}
        currency = order.currency if self.names_currency else self.currency or "USD"
        return self._nested(bought, person), replace(order.truth(), currency=currency)

    def _nested(self, bought: JSON, person: JSON) -> JSON:
        named = {self.names["event"]: self.event}
        match self.shape:
            case "flat":
                return named | bought | person
            case "two":
                return {"shop": _SHOP} | named | {"order": bought, "customer": person}
            case "deep":
                return {"data": {"attributes": named | {"purchase": bought, "buyer": {"contact": person}}}}
            case "call":
                return {"type": "track", **named, "properties": bought, "context": {"traits": person}}
        fields = [{"name": name, "value": value} for name, value in person.items() if value is not None]
        return named | {"order": bought, "customer_fields": fields}


def random_family(seed: int) -> RandomFamily:
    rnd = random.Random(seed)
    spell = rnd.choice(_SPELLINGS)
    amount, currency = rnd.choice(_AMOUNTS)
    has_items = rnd.random() < 0.7

    def noise(rows: Sequence[tuple[str, Any]]) -> JSON:
        some = rnd.sample(rows, 3)
        return {spell(name): amount(v) if isinstance(v, Decimal) else v for name, v in some}

    return RandomFamily(
        {field: spell(rnd.choice(names)) for field, names in _NAMES.items()},
        rnd.sample(_TIMES, rnd.choice((1, 1, 1, 2, 3))),
        amount,
        currency,
        rnd.choice(_SHAPES),
        rnd.choice(_EVENTS),
        has_items,
        not has_items or rnd.random() < 0.6,
        rnd.random() < 0.9,
        rnd.random() < 0.3,
        rnd.random() < 0.2,
        noise(_OF_ORDERS),
        noise(_OF_PRODUCTS),
    )


def events_of_random_family(seed: int, count: int, now: datetime) -> list[tuple[JSON, Truth]]:
    """Return events, as JSON values, with what is true of each."""
    family = random_family(seed)
    return [family.write(make_order(seed, number, now, family.countries)) for number in range(count)]

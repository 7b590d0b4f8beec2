"""Realistic purchases of many shops, tools and exports, each with what is true of it.

The families differ in names, languages, nesting, notation of amounts and forms of times. The same seed gives
the same events, but for their times, which are within the last day.
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import ModuleType
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.domain import market_events, system_events, unfamiliar_events, vendor_events
from tests.domain.orders import COUNTRIES, JSON, Order, Truth, make_order

BERLIN: Final = ZoneInfo("Europe/Berlin")
PARIS: Final = ZoneInfo("Europe/Paris")


def _comma(amount: Decimal) -> str:
    return f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))


# --- Families -------------------------------------------------------------------------------------


def adobe(order: Order) -> tuple[JSON, Truth]:
    identities = {"ECID": [{"id": f"{order.number:038}", "primary": True}]}
    if order.email is not None:
        identities["Email"] = [{"id": order.email, "primary": False}]
    return {
        "_id": f"adobe-{order.number}",
        "eventType": "commerce.purchases",
        "timestamp": order.at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "identityMap": identities,
        "commerce": {
            "purchases": {"value": 1},
            "order": {"purchaseID": f"P{order.number}", "currencyCode": order.currency},
        },
        "productListItems": [
            {"SKU": sku, "name": group, "quantity": quantity, "priceTotal": float(price * quantity)}
            for sku, group, price, quantity in order.lines
        ],
        "person": {"name": {"firstName": order.first, "lastName": order.last}},
        "mobilePhone": {"number": order.phone},
        "placeContext": {"geo": {"countryCode": order.country}},
        "web": {"webPageDetails": {"URL": "https://shop.example/thanks"}},
    }, order.truth()


def zeotap(order: Order) -> tuple[JSON, Truth]:
    return {
        "event": {
            "id": f"z{order.number}",
            "eventName": "purchase",
            "eventTimestamp": int(order.at.timestamp()) * 1000,
            "orderId": f"Z-{order.number}",
            "cartValue": float(order.total),
            "currency": order.currency,
            "products": [
                {"productId": sku, "productCategory": group, "price": float(price), "quantity": quantity}
                for sku, group, price, quantity in order.lines
            ],
        },
        "user": {
            "zi": f"zi-{order.number}",
            "email": order.email,
            "cellno": order.phone,
            "country": order.country,
        },
        "page": {"url": "https://shop.example/p", "path": "/p"},
        "version": "4.4.3",
    }, order.truth()


def german_table(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(BERLIN)
    return {
        "Bestellnummer": f"B{order.number}",
        "Bestelldatum": local.strftime("%d.%m.%Y"),
        "Uhrzeit": local.strftime("%H:%M:%S"),
        "Gesamtbetrag": _comma(order.total),
        "Versandkosten": "4,90",
        "Währung": order.currency,
        "Anzahl Artikel": str(order.units),
        "Vorname": order.first,
        "Nachname": order.last,
        "E-Mail": order.email,
        "Telefon": order.phone,
        "Straße": "Hauptstraße 7",
        "PLZ": "01067",
        "Ort": "Dresden",
        "Land": order.country,
    }, order.truth()


def till(order: Order) -> tuple[JSON, Truth]:
    return {
        "receipt": {
            "receipt_number": f"R-{order.number}",
            "printed_at": "2026-01-01",
            "sold_at": order.at.astimezone(PARIS).strftime("%Y-%m-%d %H:%M:%S"),
            "terminal": "T4",
            "lines": [
                {"article_number": sku, "unit_price_cents": int(price * 100), "qty": quantity, "vat_rate": 20}
                for sku, _, price, quantity in order.lines
            ],
            "currency": order.currency,
        },
        "cashier": {"email": "till4@shop.example"},
        "loyalty": {"email": order.email, "mobile": order.phone, "country": order.country},
    }, order.truth()


def spanish_shop(order: Order) -> tuple[JSON, Truth]:
    return {
        "evento": "compra",
        "fecha_pedido": order.at.astimezone(ZoneInfo("Europe/Madrid")).strftime("%Y-%m-%dT%H:%M:%S%z"),
        "numero_pedido": f"ES{order.number}",
        "moneda": order.currency,
        "lineas": [
            {"referencia": sku, "categoria": group, "precio": f"{_comma(price)} €", "cantidad": quantity}
            for sku, group, price, quantity in order.lines
        ],
        "cliente": {
            "nombre": order.first,
            "apellidos": order.last,
            "correo": order.email,
            "movil": order.phone,
            "codigo_postal": "28001",
            "ciudad": "Madrid",
            "pais": order.country,
        },
    }, order.truth()


def warehouse(order: Order) -> tuple[JSON, Truth]:
    return {
        "event_name": "order_completed",
        "event_time": order.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "order_id": order.number,
        "revenue": str(order.total),
        "currency_code": order.currency,
        "quantity": order.units,
        "user_email": order.email,
        "user_phone": order.phone,
        "gaid": order.maid,
        "country": {"DE": "Germany", "FR": "France", "GB": "United Kingdom"}[order.country],
        "platform": order.random.choice(("android", "web")),
    }, order.truth(maid=True)


def mixed_times(order: Order) -> tuple[JSON, Truth]:
    at: Any = order.random.choice(
        (
            order.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            str(int(order.at.timestamp()) * 1000),
            order.at.astimezone(BERLIN).strftime("%d.%m.%Y %H:%M:%S"),
            order.at.astimezone(BERLIN).strftime("%Y/%m/%d %H:%M:%S"),
        )
    )
    return {
        "name": "Bestellung abgeschlossen",
        "zeitpunkt": at,
        "warenkorb": [
            {
                "artikel": sku,
                "warengruppe": [group, "Angebot"],
                "einzelpreis": _comma(price),
                "menge": quantity,
            }
            for sku, group, price, quantity in order.lines
        ],
        "waehrung": order.currency,
        "kunde": {
            "mail_adresse": order.email,
            "rufnummer": order.phone,
            "anschrift": {"strasse": "Ring 1", "plz": 1067, "ort": "Dresden", "land": order.country},
        },
        "geraet": {"idfa": order.maid},
        "geburtsdatum": "1970-02-03T00:00:00Z",
    }, order.truth(maid=True)


@dataclass(frozen=True, slots=True)
class Family:
    """The events of one customer, the time zone that the customer states, and the type of the events.

    `missing` are facts that no mapping can send, and that the suggestion names as undecided.
    """

    zone: str | None = None
    countries: tuple[str, ...] = tuple(COUNTRIES)
    event_type: str = "OFF_AMAZON_PURCHASES"
    missing: tuple[str, ...] = ()


# The families whose members are not all the usual ones.
_SPECIAL: Final = {
    "german_table": Family("Europe/Berlin", ("DE", "AT")),
    "till": Family("Europe/Paris", ("FR", "ES", "DE")),
    "spanish_shop": Family(None, ("ES", "FR", "DE")),
    "warehouse": Family(None, ("DE", "FR", "GB")),
    "mixed_times": Family("Europe/Berlin", ("DE", "AT", "FR")),
    "upper_case_table": Family("Europe/Berlin"),
    "days_of_excel": Family("Europe/Berlin"),
    "times_with_words": Family("Europe/Paris", ("FR", "JP", "US")),
    "japanese_shop": Family("Asia/Tokyo", ("JP",)),
    "phone_in_three_members": Family(None, ("DE", "FR", "ES")),
    "phone_in_numbered_parts": Family(None, ("JP",)),
    "phone_with_extension": Family(None, ("US",)),
    "full_width": Family("Asia/Tokyo", ("JP",)),
    "currency_in_the_amount": Family(None, ("BR",)),
    "cents_without_a_name": Family(None, ("BR",), missing=("value",)),
    "indian_groups": Family("Asia/Kolkata", ("GB",)),
    "arabic_digits": Family(None, ("DE", "US")),
    "tax_included": Family("UTC"),
    "names_of_months": Family("Europe/Madrid"),
    "american_months": Family("America/New_York"),
    "japanese_times": Family("Asia/Tokyo", ("JP",)),
    "columns_of_sap": Family("UTC"),
    "collector": Family("UTC"),
    "links_to_addresses": Family(None, ("DE", "GB", "PL")),
    "swiss_shop": Family("Europe/Zurich", ("DE", "AT", "FR")),
    "italian_table": Family("Europe/Rome", ("ES", "DE", "FR")),
    "polish_shop": Family(None, ("PL",)),
    "brazilian_shop": Family("America/Sao_Paulo", ("BR",)),
    "money_in_two_members": Family(missing=("value",)),
    "pieces_on_some_lines": Family(missing=("units_sold",)),
    "amounts_with_scale": Family(None, ("DE", "FR", "GB", "US")),
    "times_of_c": Family("Europe/Zurich"),
    "short_years": Family("Europe/Zurich", ("DE", "AT")),
    "short_years_in_two_columns": Family("America/New_York", ("US",)),
    "german_months": Family("Europe/Zurich", ("DE", "AT")),
    "nested_items": Family(None, ("BR",)),
    "invoice_lines": Family(None, ("DE", "US", "GB", "SE")),
    "german_till": Family("Europe/Berlin", ("DE", "AT")),
    "currency_in_the_column": Family(None, ("GB",)),
    "french_receipt": Family("Europe/Paris", ("FR",)),
    "mexican_shop": Family("America/Mexico_City", ("US", "DE", "FR")),
    "positions_beside_a_total": Family(None, ("DE", "AT", "FR")),
    "fields_with_lists": Family(event_type="LEAD"),
    "typed_answers": Family(event_type="LEAD"),
    "leads": Family(event_type="LEAD"),
    "subscriptions": Family(event_type="SUBSCRIBE"),
    "installs": Family(event_type="MOBILE_APP_FIRST_START"),
    "refunds": Family(event_type="OTHER"),
}


def _writers(module: ModuleType) -> dict[str, Callable[[Order], tuple[JSON, Truth]]]:
    """Return the functions of a module that write an order as an event, by name."""
    functions = inspect.getmembers(module, inspect.isfunction)
    return {
        name: each for name, each in functions if each.__annotations__.get("return") == tuple[JSON, Truth]
    }


_MODULES: Final = (sys.modules[__name__], unfamiliar_events, vendor_events, system_events, market_events)
_WRITERS: Final = {name: write for module in _MODULES for name, write in _writers(module).items()}
FAMILIES: Final = {name: _SPECIAL.get(name, Family()) for name in _WRITERS}
assert _SPECIAL.keys() <= FAMILIES.keys()


def events_of(family: str, seed: int, count: int, now: datetime) -> list[tuple[JSON, Truth]]:
    """Return events of a family, as JSON values, with what is true of each."""
    write, countries = _WRITERS[family], FAMILIES[family].countries
    return [write(make_order(seed, number, now, countries)) for number in range(count)]

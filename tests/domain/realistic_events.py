"""Realistic purchases of many shops, tools and exports, each with what is true of it.

The families differ in names, languages, nesting, notation of amounts and forms of times. The same seed gives
the same events, but for their times, which are within the last day.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.domain import market_events, system_events, unfamiliar_events, vendor_events
from tests.domain.orders import COUNTRIES, JSON, Order, Truth, make_order

BERLIN: Final = ZoneInfo("Europe/Berlin")
PARIS: Final = ZoneInfo("Europe/Paris")
NEW_YORK: Final = ZoneInfo("America/New_York")


def _comma(amount: Decimal) -> str:
    return f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))


# --- Families -------------------------------------------------------------------------------------


def _adobe(order: Order) -> tuple[JSON, Truth]:
    identities = {"ECID": [{"id": f"{order.number:038}", "primary": True}]}
    if order.email is not None:
        identities["Email"] = [{"id": order.email, "primary": False}]
    event = {
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
    }
    return event, order.truth()


def _zeotap(order: Order) -> tuple[JSON, Truth]:
    event = {
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
    }
    return event, order.truth()


def _german_table(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(BERLIN)
    event = {
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
    }
    return event, order.truth()


def _till(order: Order) -> tuple[JSON, Truth]:
    event = {
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
    }
    return event, order.truth()


def _american_export(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(NEW_YORK)
    half = local.strftime("%p")
    event = {
        "Event": "Order Placed",
        "Order Date": f"{local:%m/%d/%Y} {int(local.strftime('%I'))}:{local:%M:%S} {half}",
        "Order Total": f"${order.total:,.2f}",
        "Item Count": order.units,
        "Currency": order.currency,
        "Customer Email": order.email,
        "Customer Phone": order.phone,
        "Alternate Email": order.second_email,
        "Billing Country": order.country,
        "Zip": "02134",
        "Last Updated": "01/02/2020 1:00:00 AM",
    }
    return event, order.truth(second=True)


def _data_layer(order: Order) -> tuple[JSON, Truth]:
    event = {
        "event": "purchase",
        "timestamp_micros": str(int(order.at.timestamp()) * 1_000_000),
        "ecommerce": {
            "transaction_id": str(order.number),
            "currency": order.currency,
            "shipping": "3.50",
            "items": [
                {"item_id": sku, "item_category": group, "price": f"{price:.2f}", "quantity": str(quantity)}
                for sku, group, price, quantity in order.lines
            ],
        },
        "user_properties": {
            "email": order.email,
            "phone_number": order.phone,
            "country": order.country.lower(),
        },
    }
    return event, order.truth()


def _commerce_platform(order: Order) -> tuple[JSON, Truth]:
    def money(amount: Decimal) -> JSON:
        return {"type": "centPrecision", "currencyCode": order.currency, "centAmount": int(amount * 100)}

    event = {
        "type": "OrderCreated",
        "createdAt": order.at.strftime("%Y-%m-%dT%H:%M:%S.123Z"),
        "order": {
            "orderNumber": f"C{order.number}",
            "customerEmail": order.email,
            "totalPrice": money(order.total),
            "taxedPrice": {"totalTax": money(Decimal(1))},
            "lineItems": [
                {
                    "name": {"en": group},
                    "variant": {"sku": sku},
                    "quantity": quantity,
                    "price": {"value": money(price)},
                }
                for sku, group, price, quantity in order.lines
            ],
            "billingAddress": {"country": order.country, "email": order.second_email, "mobile": order.phone},
        },
    }
    at = order.at + timedelta(milliseconds=123)
    truth = order.truth(second=True)
    return event, Truth(at, truth.value, truth.units, truth.currency, truth.email, truth.phone)


def _contact_points(order: Order) -> tuple[JSON, Truth]:
    contacts = [
        {"type": "phone", "value": order.phone},
        {"type": "email", "value": order.email},
        {"type": "fax", "value": "030 5550000"},
    ]
    event = {
        "topic": "order.created",
        "occurred": int(order.at.timestamp()),
        "customer": {"contactPoints": contacts, "countryIso": order.country},
        "shipments": [
            {"articles": [{"ref": sku, "amount": float(price), "pieces": quantity}]}
            for sku, _, price, quantity in order.lines
        ],
        "totals": {"grandTotal": float(order.total), "tax": 1.9, "currency": order.currency},
    }
    return event, order.truth()


def _spanish_shop(order: Order) -> tuple[JSON, Truth]:
    event = {
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
    }
    return event, order.truth()


def _payment(order: Order) -> tuple[JSON, Truth]:
    event = {
        "type": "checkout.session.completed",
        "created": int(order.at.timestamp()),
        "data": {
            "object": {
                "amount_total": float(order.total),
                "currency": order.currency.lower(),
                "metadata": {"channel": "web"},
                "customer_details": {
                    "name": f"{order.first} {order.last.replace(' ', '')}",
                    "email": order.email,
                    "phone": order.phone,
                    "address": {"country": order.country, "postal_code": "94105", "line1": "1 Main St"},
                },
                "line_items": {
                    "data": [
                        {"description": group, "quantity": quantity} for _, group, _, quantity in order.lines
                    ]
                },
            }
        },
    }
    return event, order.truth()


def _warehouse(order: Order) -> tuple[JSON, Truth]:
    event = {
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
    }
    return event, order.truth(maid=True)


def _mixed_times(order: Order) -> tuple[JSON, Truth]:
    at: Any = order.random.choice(
        (
            order.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            str(int(order.at.timestamp()) * 1000),
            order.at.astimezone(BERLIN).strftime("%d.%m.%Y %H:%M:%S"),
            order.at.astimezone(BERLIN).strftime("%Y/%m/%d %H:%M:%S"),
        )
    )
    event = {
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
    }
    return event, order.truth(maid=True)


@dataclass(frozen=True, slots=True)
class Family:
    """The events of one customer, the time zone that the customer states, and the type of the events.

    `missing` are facts that no mapping can send, and that the suggestion names as undecided.
    """

    write: Callable[[Order], tuple[JSON, Truth]]
    zone: str | None = None
    countries: tuple[str, ...] = tuple(COUNTRIES)
    event_type: str = "OFF_AMAZON_PURCHASES"
    missing: tuple[str, ...] = ()


FAMILIES: Final = {
    "adobe": Family(_adobe),
    "zeotap": Family(_zeotap),
    "german_table": Family(_german_table, "Europe/Berlin", ("DE", "AT")),
    "till": Family(_till, "Europe/Paris", ("FR", "ES", "DE")),
    "american_export": Family(_american_export, "America/New_York", ("US",)),
    "data_layer": Family(_data_layer),
    "commerce_platform": Family(_commerce_platform, None, ("DE", "FR", "GB", "US")),
    "contact_points": Family(_contact_points),
    "spanish_shop": Family(_spanish_shop, None, ("ES", "FR", "DE")),
    "payment": Family(_payment),
    "warehouse": Family(_warehouse, None, ("DE", "FR", "GB")),
    "mixed_times": Family(_mixed_times, "Europe/Berlin", ("DE", "AT", "FR")),
    "upper_case_table": Family(unfamiliar_events.upper_case_table, "Europe/Berlin"),
    "times_in_utc": Family(unfamiliar_events.times_in_utc),
    "times_between_words": Family(unfamiliar_events.times_between_words),
    "days_of_excel": Family(unfamiliar_events.days_of_excel, "Europe/Berlin"),
    "times_with_words": Family(unfamiliar_events.times_with_words, "Europe/Paris", ("FR", "JP", "US")),
    "compact_columns": Family(unfamiliar_events.compact_columns, "UTC"),
    "typed_identities": Family(unfamiliar_events.typed_identities),
    "calling_codes": Family(unfamiliar_events.calling_codes),
    "japanese_shop": Family(unfamiliar_events.japanese_shop, "Asia/Tokyo", ("JP",)),
    "named_products": Family(unfamiliar_events.named_products),
    "names_that_say_nothing": Family(unfamiliar_events.names_that_say_nothing),
    "line_price_called_price": Family(unfamiliar_events.line_price_called_price),
    "phone_with_its_country": Family(vendor_events.phone_with_its_country),
    "phone_in_three_members": Family(vendor_events.phone_in_three_members, None, ("DE", "FR", "ES")),
    "phone_in_numbered_parts": Family(vendor_events.phone_in_numbered_parts, None, ("JP",)),
    "phone_with_extension": Family(vendor_events.phone_with_extension, None, ("US",)),
    "full_width": Family(vendor_events.full_width, "Asia/Tokyo", ("JP",)),
    "price_of_a_row": Family(vendor_events.price_of_a_row),
    "price_of_an_object": Family(vendor_events.price_of_an_object),
    "notation_of_the_country": Family(vendor_events.notation_of_the_country),
    "currency_in_the_amount": Family(vendor_events.currency_in_the_amount, None, ("BR",)),
    "pieces_left_out": Family(vendor_events.pieces_left_out),
    "minor_units": Family(vendor_events.minor_units),
    "cents_without_a_name": Family(vendor_events.cents_without_a_name, None, ("BR",), missing=("value",)),
    "indian_groups": Family(vendor_events.indian_groups, "Asia/Kolkata", ("GB",)),
    "arabic_digits": Family(vendor_events.arabic_digits, None, ("DE", "US")),
    "two_currencies": Family(vendor_events.two_currencies, "UTC"),
    "reporting_currency": Family(vendor_events.reporting_currency),
    "net_and_gross": Family(vendor_events.net_and_gross),
    "tax_included": Family(vendor_events.tax_included, "UTC"),
    "gifts_and_discounts": Family(vendor_events.gifts_and_discounts),
    "bundles": Family(vendor_events.bundles),
    "nanoseconds": Family(vendor_events.nanoseconds),
    "names_of_months": Family(vendor_events.names_of_months, "Europe/Madrid"),
    "american_months": Family(vendor_events.american_months, "America/New_York"),
    "japanese_times": Family(vendor_events.japanese_times, "Asia/Tokyo", ("JP",)),
    "columns_of_sap": Family(vendor_events.columns_of_sap, "UTC"),
    "sap_commerce": Family(vendor_events.sap_commerce),
    "dollar_names": Family(vendor_events.dollar_names),
    "columns_of_lists": Family(vendor_events.columns_of_lists),
    "app_events": Family(vendor_events.app_events, "UTC"),
    "text_of_json": Family(vendor_events.text_of_json),
    "content_items": Family(vendor_events.content_items),
    "collector": Family(vendor_events.collector, "UTC"),
    "booking": Family(vendor_events.booking),
    "addresses_with_names": Family(vendor_events.addresses_with_names),
    "links_to_addresses": Family(vendor_events.links_to_addresses, None, ("DE", "GB", "PL")),
    "list_of_one": Family(vendor_events.list_of_one),
    "money_in_two_members": Family(vendor_events.money_in_two_members),
    "digests": Family(vendor_events.digests),
    "parameters_with_types": Family(system_events.parameters_with_types),
    "rows_of_names": Family(system_events.rows_of_names),
    "names_of_types": Family(system_events.names_of_types),
    "extended_json": Family(system_events.extended_json),
    "lists_everywhere": Family(system_events.lists_everywhere),
    "one_or_many": Family(system_events.one_or_many),
    "edges_and_nodes": Family(system_events.edges_and_nodes),
    "change_of_a_row": Family(system_events.change_of_a_row),
    "envelope_of_a_queue": Family(system_events.envelope_of_a_queue),
    "described_by_schemas": Family(system_events.described_by_schemas),
    "resource_of_an_api": Family(system_events.resource_of_an_api),
    "properties_with_their_own_times": Family(system_events.properties_with_their_own_times),
    "dotted_names": Family(system_events.dotted_names),
    "swiss_shop": Family(system_events.swiss_shop, "Europe/Zurich", ("DE", "AT", "FR")),
    "italian_table": Family(system_events.italian_table, "Europe/Rome", ("ES", "DE", "FR")),
    "polish_shop": Family(system_events.polish_shop, None, ("PL",)),
    "brazilian_shop": Family(system_events.brazilian_shop, "America/Sao_Paulo", ("BR",)),
    "amounts_with_codes": Family(system_events.amounts_with_codes),
    "prices_with_currencies": Family(system_events.prices_with_currencies),
    "gross_lines": Family(system_events.gross_lines, missing=("value",)),
    "discounts_and_freight": Family(system_events.discounts_and_freight),
    "units_and_nanos": Family(system_events.units_and_nanos),
    "pieces_on_some_lines": Family(system_events.pieces_on_some_lines),
    "many_pieces": Family(system_events.many_pieces),
    "amounts_with_scale": Family(system_events.amounts_with_scale, None, ("DE", "FR", "GB", "US")),
    "times_of_a_browser": Family(system_events.times_of_a_browser),
    "times_of_c": Family(system_events.times_of_c, "Europe/Zurich"),
    "short_years": Family(system_events.short_years, "Europe/Zurich", ("DE", "AT")),
    "short_years_in_two_columns": Family(
        system_events.short_years_in_two_columns, "America/New_York", ("US",)
    ),
    "zone_of_each_event": Family(system_events.zone_of_each_event),
    "offset_beside_the_time": Family(system_events.offset_beside_the_time),
    "zone_in_brackets": Family(system_events.zone_in_brackets),
    "names_of_zones": Family(system_events.names_of_zones),
    "times_of_a_log": Family(system_events.times_of_a_log),
    "compact_times": Family(system_events.compact_times),
    "german_months": Family(system_events.german_months, "Europe/Zurich", ("DE", "AT")),
    "typed_contacts": Family(system_events.typed_contacts),
    "phone_as_number": Family(system_events.phone_as_number),
    "login_is_the_address": Family(system_events.login_is_the_address),
    "text_of_products": Family(system_events.text_of_products),
    "totals_by_type": Family(market_events.totals_by_type),
    "units_of_a_purchase": Family(market_events.units_of_a_purchase),
    "summary_of_prices": Family(market_events.summary_of_prices),
    "amounts_with_divisors": Family(market_events.amounts_with_divisors),
    "nested_items": Family(market_events.nested_items, None, ("BR",)),
    "price_in_two_currencies": Family(market_events.price_in_two_currencies),
    "several_payments": Family(market_events.several_payments),
    "invoice_lines": Family(market_events.invoice_lines, None, ("DE", "US", "GB", "SE")),
    "german_till": Family(market_events.german_till, "Europe/Berlin", ("DE", "AT")),
    "quantities_with_decimals": Family(market_events.quantities_with_decimals),
    "currency_in_the_column": Family(market_events.currency_in_the_column, None, ("GB",)),
    "prefixed_columns": Family(market_events.prefixed_columns, "UTC"),
    "custom_columns": Family(market_events.custom_columns),
    "french_receipt": Family(market_events.french_receipt, "Europe/Paris", ("FR",)),
    "mexican_shop": Family(market_events.mexican_shop, "America/Mexico_City", ("US", "DE", "FR")),
    "positions_beside_a_total": Family(market_events.positions_beside_a_total, None, ("DE", "AT", "FR")),
    "fields_with_lists": Family(market_events.fields_with_lists, event_type="LEAD"),
    "typed_answers": Family(market_events.typed_answers, event_type="LEAD"),
    "appointment": Family(market_events.appointment),
    "own_and_shop_phone": Family(market_events.own_and_shop_phone),
    "leads": Family(vendor_events.leads, event_type="LEAD"),
    "subscriptions": Family(vendor_events.subscriptions, event_type="SUBSCRIBE"),
    "installs": Family(vendor_events.installs, event_type="MOBILE_APP_FIRST_START"),
    "refunds": Family(vendor_events.refunds, event_type="OTHER"),
}


def events_of(family: str, seed: int, count: int, now: datetime) -> list[tuple[JSON, Truth]]:
    """Return events of a family, as JSON values, with what is true of each."""
    row = FAMILIES[family]
    return [row.write(make_order(seed, number, now, row.countries)) for number in range(count)]

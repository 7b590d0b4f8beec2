"""Purchases as databases, queues and serialisers write them, and as shops of more countries do."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tests.domain.orders import JSON, Order, Truth
from tests.domain.vendor_events import bought, cents, iso, lines, ms, person

ZURICH, ROME, SYDNEY = (ZoneInfo(name) for name in ("Europe/Zurich", "Europe/Rome", "Australia/Sydney"))
SAO_PAULO = ZoneInfo("America/Sao_Paulo")

# --- Values in wrappers ---------------------------------------------------------------------------


def parameters_with_types(order: Order) -> tuple[JSON, Truth]:
    """Write parameters as rows, whose value stands below the name of its type."""

    def row(key: str, **value: Any) -> JSON:
        return {"key": key, "value": value}

    users = [row("plan", string_value="basic"), row("country", string_value=order.country.lower())]
    users += [row("email", string_value=order.email)] if order.email else []
    users += [row("phone_number", string_value=order.phone)] if order.phone else []
    return {
        "event_date": order.at.strftime("%Y%m%d"),
        "event_timestamp": ms(order) * 1000,
        "event_name": "purchase",
        "event_params": [
            row("ga_session_id", int_value=1795514400),
            row("value", double_value=float(order.total)),
            row("currency", string_value=order.currency),
            row("transaction_id", string_value=f"T{order.number}"),
        ],
        "user_properties": users,
        "device": {"category": "mobile", "advertising_id": order.maid, "language": "de-de"},
        "items": lines(order, "item_id", "price", "quantity"),
    }, order.truth(maid=True)


def rows_of_names(order: Order) -> tuple[JSON, Truth]:
    """Write everything but the products as rows of a name and a value."""
    values = {
        "order_date": iso(order),
        "order_total": f"{order.total:.2f}",
        "shipping_cost": "4.90",
        "currency": order.currency,
        "customer_email": order.email,
        "customer_phone": order.phone,
        "country": order.country,
    }
    return {
        "eventName": "order_placed",
        "attributes": [{"name": name, "value": value} for name, value in values.items() if value is not None],
        "items": [{"sku": sku, "qty": q, "unit_price": f"{p:.2f}"} for sku, _, p, q in order.lines],
    }, order.truth()


def names_of_types(order: Order) -> tuple[JSON, Truth]:
    """Write each value below the letter of its type."""
    rows = [
        {"M": {"sku": {"S": sku}, "price": {"N": str(p)}, "quantity": {"N": str(q)}}}
        for sku, _, p, q in order.lines
    ]
    return {
        "eventName": {"S": "purchase"},
        "createdAt": {"S": iso(order)},
        "currency": {"S": order.currency},
        "total": {"N": str(order.total)},
        "items": {"L": rows},
        "email": {"S": order.email} if order.email else {"NULL": True},
        "phone": {"S": order.phone} if order.phone else {"NULL": True},
        "country": {"S": order.country},
    }, order.truth()


def lists_everywhere(order: Order) -> tuple[JSON, Truth]:
    """Write XML as some parsers do: each element is a list, and attributes stand below `$`."""
    return {
        "order": {
            "$": {"id": f"O{order.number}", "currency": order.currency},
            "created": [iso(order)],
            "total": [f"{order.total:.2f}"],
            "customer": [
                {"email": [order.email or ""], "phone": [order.phone or ""], "country": [order.country]}
            ],
            "line": [
                {"$": {"sku": sku}, "price": [f"{p:.2f}"], "quantity": [str(q)]}
                for sku, _, p, q in order.lines
            ],
        }
    }, order.truth()


def one_or_many(order: Order) -> tuple[JSON, Truth]:
    """Write XML as other parsers do: a single line is an object, several ones are a list."""
    rows: Any = [
        {"@sku": sku, "Price": {"#text": f"{p:.2f}", "@currency": order.currency}, "Qty": str(q)}
        for sku, _, p, q in order.lines
    ]
    return {
        "Order": {
            "@id": f"O{order.number}",
            "Date": order.at.isoformat(),
            "Lines": {"Line": rows[0] if len(rows) == 1 else rows},
            "Buyer": {"Email": order.email, "Phone": order.phone, "CountryCode": order.country},
        }
    }, order.truth()


def described_by_schemas(order: Order) -> tuple[JSON, Truth]:
    """Write the person in a list of contexts, which say what they are by a schema."""
    return {
        "schema": "iglu:com.acme/purchase/jsonschema/1-0-0",
        "dvce_created_tstamp": iso(order),
        "data": {
            "transaction_id": f"T{order.number}",
            "revenue": float(order.total),
            "currency": order.currency,
            "products": lines(order, "sku", "price", "quantity"),
        },
        "contexts": [
            {"schema": "iglu:com.acme/page/jsonschema/1-0-0", "data": {"url": "https://shop.example"}},
            {"schema": "iglu:com.acme/user/jsonschema/1-0-0", "data": person(order)},
        ],
    }, order.truth()


# --- Amounts --------------------------------------------------------------------------------------


def swiss_shop(order: Order) -> tuple[JSON, Truth]:
    """Write apostrophes between thousands, and the code before the amount."""

    def money(amount: Decimal) -> str:
        return f"CHF {amount:,.2f}".replace(",", "'")

    total = order.total + 1000
    return {
        "ereignis": "bestellung",
        "bestellung": {
            "zeitpunkt": order.at.astimezone(ZURICH).strftime("%d.%m.%Y, %H:%M Uhr"),
            "total": money(total),
            "davon_mwst": money(Decimal("8.10")),
            "positionen": [
                {"artikelnummer": sku, "anzahl": q, "preis": money(p)} for sku, _, p, q in order.lines
            ],
        },
        "kunde": {"e_mail": order.email, "telefon": order.phone, "land": order.country},
    }, replace(order.truth(value=total, at=order.minute), currency="CHF")


def italian_table(order: Order) -> tuple[JSON, Truth]:
    return {
        "N. ordine": f"{order.number}/2026",
        "Data ordine": order.at.astimezone(ROME).strftime("%d/%m/%Y"),
        "Ora ordine": order.at.astimezone(ROME).strftime("%H.%M.%S"),
        "Totale ordine": f"€ {order.total:,.2f}".translate(str.maketrans(",.", ".,")),
        "Spese di spedizione": "€ 4,90",
        "Quantità totale": order.units,
        "Nome": order.first,
        "Cognome": order.last,
        "Indirizzo e-mail": order.email,
        "Cellulare": order.phone,
        "Paese": order.country,
    }, replace(order.truth(), currency="EUR")


def polish_shop(order: Order) -> tuple[JSON, Truth]:
    def money(amount: Decimal) -> str:
        return f"{amount:,.2f} zł".replace(",", "\xa0").replace(".", ",")

    return {
        "zdarzenie": "zakup",
        "data_zamowienia": order.at.isoformat(),
        "waluta": "PLN",
        "pozycje": [
            {"nazwa": group, "ilosc": q, "cena_netto": money(p * 3), "cena_brutto": money(p)}
            for _, group, p, q in order.lines
        ],
        "klient": {"adres_email": order.email, "telefon": order.phone, "kraj": order.country},
    }, replace(order.truth(), currency="PLN")


def brazilian_shop(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(SAO_PAULO)
    return {
        "tipo": "pedido_aprovado",
        "dataCriacao": local.strftime("%d/%m/%Y às %H:%M:%S"),
        "valorTotal": f"{order.total:,.2f}".translate(str.maketrans(",.", ".,")),
        "valorFrete": "12,50",
        "moeda": "BRL",
        "itens": [
            {"codigo": sku, "precoUnitario": f"{p:.2f}".replace(".", ","), "quantidade": str(q)}
            for sku, _, p, q in order.lines
        ],
        "comprador": {
            "nome": f"{order.first} {order.last}",
            "cpf": "123.456.789-09",
            "email": order.email,
            "celular": order.phone,
            "pais": order.country,
        },
    }, replace(order.truth(), currency="BRL")


def amounts_with_codes(order: Order) -> tuple[JSON, Truth]:
    """Write the currency of each event only in front of its amount."""
    return {
        "event": "Order Completed",
        "timestamp": iso(order),
        "order": {"total": f"{order.currency} {order.total:,.2f}", "units": order.units},
        "customer": person(order),
    }, order.truth()


def prices_with_currencies(order: Order) -> tuple[JSON, Truth]:
    """Write the currency only within each product, and no total."""
    rows = [
        {"ref": sku, "price": {"amount": f"{p:.2f}", "currency": order.currency}, "count": q}
        for sku, _, p, q in order.lines
    ]
    return {"type": "purchase", "ts": ms(order), "basket": rows, "buyer": person(order)}, order.truth()


def pieces_on_some_lines(order: Order) -> tuple[JSON, Truth]:
    rows = [
        {"sku": sku, "price": f"{p:.2f}"} | ({"quantity": q} if q > 1 else {}) for sku, _, p, q in order.lines
    ]
    event = {"event": "purchase", "time": ms(order), "currency": order.currency, "cart": {"items": rows}}
    return {**event, **person(order)}, order.truth()


def many_pieces(order: Order) -> tuple[JSON, Truth]:
    """Write one product in the event itself, sold in dozens."""
    (sku, _, price, quantity), *_ = order.lines
    return {
        "event": "purchase",
        "time": iso(order),
        "sku": sku,
        "price": float(price),
        "quantity": quantity * 12,
        "currency": order.currency,
        **person(order),
    }, replace(order.truth(), value=price * quantity * 12, units=quantity * 12)


def amounts_with_scale(order: Order) -> tuple[JSON, Truth]:
    """Write amounts as whole numbers with the number of their decimals."""
    money = {"value": cents(order.total), "scale": 2, "currency": order.currency}
    return {
        "event": "purchase",
        "time": iso(order),
        "amount": money,
        "units": order.units,
        "customer": person(order),
    }, order.truth()


# --- Times ----------------------------------------------------------------------------------------


def times_of_a_browser(order: Order) -> tuple[JSON, Truth]:
    zone, name = order.random.choice(
        ((ZURICH, "Central European Standard Time"), (SYDNEY, "Australian Eastern Daylight Time"))
    )
    local = order.at.astimezone(zone)
    return {
        "event": "purchase",
        "clientTime": local.strftime(f"%a %b %d %Y %H:%M:%S GMT%z ({name})"),
        **bought(order),
        "user": person(order),
    }, order.truth()


def times_of_c(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(ZURICH)
    return {
        "event": "purchase",
        "timestamp": f"{local:%a %b} {local.day:2} {local:%H:%M:%S %Y}",
        **bought(order),
        "user": person(order),
    }, order.truth()


def short_years(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(ZURICH)
    return {
        "Vorgang": "Verkauf",
        "Datum": local.strftime("%d.%m.%y %H:%M"),
        "Summe": f"{order.total:.2f}".replace(".", ","),
        "Währung": order.currency,
        "Menge": order.units,
        "Mail": order.email,
        "Mobil": order.phone,
        "Land": order.country,
    }, order.truth(at=order.minute)


def short_years_in_two_columns(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(ZoneInfo("America/New_York"))
    return {
        "Sale Date": f"{local.month}/{local.day}/{local:%y}",
        "Sale Time": f"{int(local.strftime('%I'))}:{local:%M %p}",
        "Net Sales": f"${order.total:.2f}",
        "Currency": "USD",
        "Qty": order.units,
        "Customer Email": order.email,
        "Customer Phone": order.phone,
        "Country": order.country,
    }, order.truth(at=order.minute)


def zone_of_each_event(order: Order) -> tuple[JSON, Truth]:
    """Write local times, and the name of their zone beside them."""
    zone = order.random.choice(("Europe/Berlin", "America/New_York", "Asia/Tokyo"))
    return {
        "event": "purchase",
        "local_time": order.at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S"),
        "timezone": zone,
        **bought(order),
        "user": person(order),
    }, order.truth()


def offset_beside_the_time(order: Order) -> tuple[JSON, Truth]:
    zone = order.random.choice((ZURICH, SYDNEY, SAO_PAULO))
    local = order.at.astimezone(zone)
    offset = local.strftime("%z")
    return {
        "event": "purchase",
        "occurred": {
            "local": local.strftime("%Y-%m-%dT%H:%M:%S"),
            "utc_offset": f"{offset[:3]}:{offset[3:]}",
        },
        **bought(order),
        "user": person(order),
    }, order.truth()


def zone_in_brackets(order: Order) -> tuple[JSON, Truth]:
    zone = order.random.choice(("Europe/Zurich", "Europe/London", "America/Sao_Paulo"))
    at = order.at.astimezone(ZoneInfo(zone))
    return {
        "eventType": "OrderPlaced",
        "occurredOn": f"{at.isoformat(timespec='seconds')}[{zone}]",
        "order": {
            "total": float(order.total),
            "currency": order.currency,
            "items": lines(order, "sku", "price", "quantity"),
        },
        "customer": person(order),
    }, order.truth()


def names_of_zones(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(ZoneInfo("America/New_York"))
    return {
        "event": "purchase",
        "time": local.strftime("%Y-%m-%d %H:%M:%S %Z"),
        **bought(order),
        "user": person(order),
    }, order.truth()


def times_of_a_log(order: Order) -> tuple[JSON, Truth]:
    return {
        "event": "purchase",
        "time": order.at.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        **bought(order),
        "user": person(order),
    }, order.truth()


def compact_times(order: Order) -> tuple[JSON, Truth]:
    return {
        "event": "purchase",
        "time": order.at.strftime("%Y%m%dT%H%M%SZ"),
        **bought(order),
        "user": person(order),
    }, order.truth()


def german_months(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(ZURICH)
    month = {10: "Oktober", 11: "November", 12: "Dezember"}[local.month]
    written = f"{local.day}. {month} {local:%Y, %H:%M} Uhr"
    return {
        "aktion": "Kauf",
        "kaufdatum": written,
        "gesamtbetrag": f"{order.total:.2f}".replace(".", ",") + " EUR",
        "anzahl": order.units,
        "kunde": {"email": order.email, "telefon": order.phone, "land": order.country},
    }, replace(order.truth(at=order.minute), currency="EUR")


# --- Persons --------------------------------------------------------------------------------------


def phone_as_number(order: Order) -> tuple[JSON, Truth]:
    return {
        "event_type": "purchase",
        "event_ts": ms(order) // 1000,
        "amount": float(order.total),
        "currency": order.currency,
        "qty": order.units,
        "customer": person(order, phone=order.phone and int(order.digits)),
    }, order.truth()


def login_is_the_address(order: Order) -> tuple[JSON, Truth]:
    return {
        "customer_ids": {"registered": order.email, "cookie": "c-0a1b2c"},
        "event_type": "purchase",
        "timestamp": order.at.timestamp() + 0.25,
        "properties": {
            "purchase_id": order.number,
            "total_price": float(order.total),
            "total_quantity": order.units,
            "local_currency": order.currency,
            "shipping_country": order.country,
            "phone": order.phone,
            "product_list": [{"product_id": sku, "quantity": q} for sku, _, _, q in order.lines],
        },
    }, order.truth(at=order.at + timedelta(milliseconds=250))

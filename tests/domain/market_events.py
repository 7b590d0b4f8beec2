"""Purchases and leads as marketplaces, payment services, tills and forms write them."""

from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

from tests.domain.orders import JSON, Order, Truth
from tests.domain.vendor_events import cents, iso, ms, person

BERLIN, PARIS, MEXICO = (ZoneInfo(name) for name in ("Europe/Berlin", "Europe/Paris", "America/Mexico_City"))


def comma(amount: Decimal, places: int = 2) -> str:
    return f"{amount:.{places}f}".replace(".", ",")


# --- Amounts in lists and objects -----------------------------------------------------------------


def totals_by_type(order: Order) -> tuple[JSON, Truth]:
    """Write all amounts of an order in one list, each with its type."""
    total = order.total + 5
    amounts = (
        ("subtotal", order.total),
        ("shipping", Decimal(5)),
        ("tax", Decimal(2)),
        ("grand_total", total),
    )
    return {
        "event": "order_submitted",
        "submitted_at": iso(order),
        "totals": [{"type": kind, "amount": f"{amount:.2f}"} for kind, amount in amounts],
        "currency": order.currency,
        "products": [{"id": sku, "quantity": q} for sku, _, _, q in order.lines],
        "customer": person(order),
    }, order.truth(value=total)


def amounts_with_divisors(order: Order) -> tuple[JSON, Truth]:
    """Write amounts as whole numbers, and by what they are to be divided. Yen are divided by 1."""
    divisor = 1 if order.currency == "JPY" else 100

    def money(amount: Decimal) -> JSON:
        return {"amount": int(amount * divisor), "divisor": divisor, "currency_code": order.currency}

    return {
        "receipt_id": order.number,
        "buyer_email": order.email,
        "buyer_phone": order.phone,
        "country_iso": order.country,
        "create_timestamp": ms(order) // 1000,
        "update_timestamp": ms(order) // 1000 + 60,
        "grandtotal": money(order.total),
        "total_tax_cost": money(Decimal(2)),
        "transactions": [
            {"transaction_id": n, "quantity": q, "price": money(p)}
            for n, (_, _, p, q) in enumerate(order.lines)
        ],
    }, order.truth()


def nested_items(order: Order) -> tuple[JSON, Truth]:
    """Write the area code apart from the number, and products below the name of their item."""
    area, number = (order.phone or " ").split(" ")
    return {
        "id": 20000000 + order.number,
        "status": "paid",
        "date_created": order.at.astimezone(ZoneInfo("America/Sao_Paulo")).isoformat(),
        "date_closed": order.at.astimezone(ZoneInfo("America/Sao_Paulo")).isoformat(),
        "total_amount": float(order.total),
        "paid_amount": float(order.total + 10),
        "currency_id": order.currency,
        "order_items": [
            {
                "item": {"id": sku, "title": group, "category_id": "MLB1"},
                "quantity": q,
                "unit_price": float(p),
                "sale_fee": 1.1,
            }
            for sku, group, p, q in order.lines
        ],
        "buyer": {
            "email": order.email,
            "phone": {"area_code": area.strip("()"), "number": number},
            "country": order.country,
        },
    }, order.truth()


def price_in_two_currencies(order: Order) -> tuple[JSON, Truth]:
    """Write the price of a subscription in dollars, too, and attributes with the times of their change."""
    price = Decimal("7.99")
    return {
        "api_version": "1.0",
        "event": {
            "type": "PURCHASE",
            "purchased_at_ms": ms(order),
            "event_timestamp_ms": ms(order),
            "expiration_at_ms": ms(order) + 2_592_000_000,
            "price": 8.64,
            "price_in_purchased_currency": float(price),
            "currency": order.currency,
            "country_code": order.country,
            "product_id": "plus_monthly",
            "subscriber_attributes": {
                "$email": {"value": order.email, "updated_at_ms": ms(order) - 86_400_000},
                "$phoneNumber": {"value": order.phone, "updated_at_ms": ms(order) - 86_400_000},
            },
        },
    }, replace(order.truth(value=price), units=None)


def invoice_lines(order: Order) -> tuple[JSON, Truth]:
    """Write an invoice in cents, with lines that have a period and a total."""
    rows = [
        {
            "description": group,
            "amount": cents(p * q),
            "currency": order.currency.lower(),
            "quantity": q,
            "period": {"start": ms(order) // 1000, "end": ms(order) // 1000 + 2_592_000},
        }
        for _, group, p, q in order.lines
    ]
    return {
        "type": "invoice.paid",
        "created": ms(order) // 1000,
        "data": {
            "object": {
                "amount_due": cents(order.total),
                "amount_paid": cents(order.total),
                "amount_remaining": 0,
                "currency": order.currency.lower(),
                "customer_email": order.email,
                "customer_phone": order.phone,
                "customer_address": {"country": order.country},
                "lines": {"data": rows},
                "period_end": ms(order) // 1000 + 2_592_000,
            }
        },
    }, order.truth()


# --- Tables ---------------------------------------------------------------------------------------


def german_till(order: Order) -> tuple[JSON, Truth]:
    """Write quantities with three decimals, and what each line costs."""
    local = order.at.astimezone(BERLIN)
    return {
        "Beleg": {
            "BelegNr": order.number,
            "Datum": local.strftime("%Y-%m-%d"),
            "Uhrzeit": local.strftime("%H:%M:%S"),
            "Kasse": "K2",
            "Zahlart": "EC",
            "Zahlbetrag": comma(order.total),
            "MwSt": comma(Decimal("1.90")),
        },
        "Positionen": [
            {
                "ArtNr": sku,
                "Bez": group,
                "Menge": comma(Decimal(q), 3),
                "EP": comma(p),
                "Betrag": comma(p * q),
            }
            for sku, group, p, q in order.lines
        ],
        "Kundenkarte": {"EMail": order.email, "Handy": order.phone, "Land": order.country},
    }, replace(order.truth(), currency="USD")


def quantities_with_decimals(order: Order) -> tuple[JSON, Truth]:
    return {
        "type": "sales_order",
        "createdDate": order.at.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "currencyIsoCode": order.currency,
        "lines": [
            {"product": sku, "quantity": f"{q}.0000", "unitPrice": f"{p:.4f}"} for sku, _, p, q in order.lines
        ],
        "contact": person(order),
    }, order.truth()


def currency_in_the_column(order: Order) -> tuple[JSON, Truth]:
    return {
        "Purchase Date (UTC)": order.at.strftime("%Y-%m-%d %H:%M"),
        "Order Total (GBP)": f"{order.total:,.2f}",
        "Shipping (GBP)": "3.99",
        "# of Items": order.units,
        "Customer E-Mail": order.email,
        "Customer Tel.": order.phone,
        "Ship-To Country": order.country,
        "Order #": f"#{order.number}",
    }, replace(order.truth(at=order.minute), currency="GBP")


def french_receipt(order: Order) -> tuple[JSON, Truth]:
    """Write a narrow space between thousands, and amounts with and without tax below one name."""

    def money(amount: Decimal) -> str:
        return f"{amount:,.2f} €".replace(",", "\u202f").replace(".", ",")

    total = order.total + 2000
    return {
        "type_evenement": "achat",
        "date_achat": order.at.astimezone(PARIS).strftime("%d/%m/%Y %Hh%M"),
        "ticket": {"numero": order.number, "magasin": "Lyon 3"},
        "montant": {"ht": money(total / 2), "tva": money(total / 2), "ttc": money(total)},
        "nb_articles": order.units,
        "client": {
            "prenom": order.first,
            "nom": order.last,
            "mail": order.email,
            "portable": order.phone,
            "code_pays": order.country,
        },
    }, replace(order.truth(value=total, at=order.minute), currency="EUR")


def mexican_shop(order: Order) -> tuple[JSON, Truth]:
    """Write the half of the day with points, and the sign of dollars for pesos, whose code stands beside."""
    local = order.at.astimezone(MEXICO)
    half = "a.m." if local.hour < 12 else "p.m."
    return {
        "evento": "compra_realizada",
        "fecha": f"{local:%d/%m/%Y} {int(local.strftime('%I'))}:{local:%M:%S} {half}",
        "importe_total": f"$ {order.total:,.2f}",
        "moneda": "MXN",
        "cantidad_articulos": order.units,
        "cliente": {
            "correo_electronico": order.email,
            "telefono_celular": order.phone,
            "pais": order.country,
        },
    }, replace(order.truth(), currency="MXN")


def positions_beside_a_total(order: Order) -> tuple[JSON, Truth]:
    """Write lines whose amounts say nothing of the pieces, and a total that proves what they are."""
    rows = [{"pos": n, "nr": sku, "n": q, "e": comma(p)} for n, (sku, _, p, q) in enumerate(order.lines, 1)]
    return {
        "vorgang": "bestellung",
        "zeit": iso(order),
        "zahlung": {"art": "paypal", "summe_brutto": comma(order.total), "waehrung": order.currency},
        "liste": rows,
        "besteller": {"mail": order.email, "mobil": order.phone, "land": order.country},
    }, order.truth()


# --- Forms ----------------------------------------------------------------------------------------


def fields_with_lists(order: Order) -> tuple[JSON, Truth]:
    """Write each answer of a form as a list of one value."""
    answers = {"email": order.email, "phone_number": order.phone, "country": order.country}
    answers |= {"first_name": order.first, "budget": "5000"}
    return {
        "leadgen_id": "1",
        "form_id": "2",
        "event": "lead",
        "created_time": order.at.strftime("%Y-%m-%dT%H:%M:%S+0000"),
        "field_data": [{"name": name, "values": [value]} for name, value in answers.items() if value],
    }, replace(order.truth(), value=None, units=None, currency=None)


def typed_answers(order: Order) -> tuple[JSON, Truth]:
    """Write each answer below the name of its type, and the names of the fields in another list."""
    answers: list[JSON] = [{"type": "text", "text": "Hello", "field": {"id": "q1"}}]
    answers += [{"type": "email", "email": order.email, "field": {"id": "q2"}}] if order.email else []
    answers += (
        [{"type": "phone_number", "phone_number": order.phone, "field": {"id": "q3"}}] if order.phone else []
    )
    return {
        "event_type": "form_submitted",
        "form_response": {
            "submitted_at": iso(order),
            "landed_at": order.at.strftime("%Y-%m-%dT%H:%M:00Z"),
            "hidden": {"country": order.country.lower()},
            "answers": answers,
        },
    }, replace(order.truth(), value=None, units=None, currency=None)


def own_and_shop_phone(order: Order) -> tuple[JSON, Truth]:
    """Write the shop's address and phone number first."""
    return {
        "event": "Order Completed",
        "shop": {"name": "Acme", "email": "info@acme.example", "phone": "+49 30 1234567", "country": "DE"},
        "sold": {"at": iso(order), "sum": float(order.total), "cur": order.currency, "pcs": order.units},
        "who": {"mail": order.email, "tel": order.phone, "land": order.country},
    }, order.truth()

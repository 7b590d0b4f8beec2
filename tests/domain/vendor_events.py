"""Events as named tools and difficult customers write them, one function each, with what is true of each."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tests.domain.orders import COUNTRIES, JSON, Order, Truth

MADRID, DELHI, TOKYO = (ZoneInfo(name) for name in ("Europe/Madrid", "Asia/Kolkata", "Asia/Tokyo"))
CODES = {"DE": "49", "AT": "43", "FR": "33", "ES": "34", "US": "1", "GB": "44", "PL": "48", "SE": "46"}


def person(order: Order, **more: Any) -> JSON:
    return {"email": order.email, "phone": order.phone, "country": order.country, **more}


def lines(order: Order, sku: str, price: str, quantity: str) -> list[JSON]:
    return [{sku: s, price: float(p), quantity: q} for s, _, p, q in order.lines]


def bought(order: Order) -> JSON:
    return {"total": float(order.total), "currency": order.currency, "quantity": order.units}


def cents(amount: Decimal) -> int:
    return int(amount * 100)


def iso(order: Order) -> str:
    return order.at.strftime("%Y-%m-%dT%H:%M:%SZ")


def ms(order: Order) -> int:
    return int(order.at.timestamp()) * 1000


def elsewhere(order: Order) -> tuple[str, str | None, str | None]:
    """Return another country than the event's, a number of it as dialled there, and its digits."""
    country = order.random.choice(sorted(CODES))
    _, written, digits = COUNTRIES[country]
    written = "0664 5551234" if country == "AT" else written
    return country, order.phone and written, order.phone and digits


# --- Phones ---------------------------------------------------------------------------------------


def phone_with_its_country(order: Order) -> tuple[JSON, Truth]:
    country, number, digits = elsewhere(order)
    return {
        "action": "purchase",
        "ts": iso(order),
        **bought(order),
        "customer": person(order, phone={"country": country, "national_number": number}),
    }, replace(order.truth(), phone=digits)


def phone_in_three_members(order: Order) -> tuple[JSON, Truth]:
    code, area, number = ("", "", "")
    if order.phone:
        code, area = order.digits[:2], order.digits[2:5]
        number = order.digits[5:]
    return {
        "event": "purchase",
        "time": ms(order),
        "total": f"{order.total:.2f}",
        "currency": order.currency,
        "qty": order.units,
        "customer": {
            "email": order.email,
            "country": order.country,
            "phone": {"countryCode": code, "areaCode": area, "number": number},
        },
    }, order.truth()


def phone_in_numbered_parts(order: Order) -> tuple[JSON, Truth]:
    parts = order.phone.split("-") if order.phone else ["", "", ""]
    return {
        "orderDatetime": order.at.astimezone(TOKYO).strftime("%Y-%m-%dT%H:%M:%S+0900"),
        "totalPrice": int(order.total),
        "currency": "JPY",
        "orderer": {
            "emailAddress": order.email,
            "phoneNumber1": parts[0],
            "phoneNumber2": parts[1],
            "phoneNumber3": parts[2],
            "countryCode": "JP",
        },
        "itemList": lines(order, "itemNumber", "price", "units"),
    }, order.truth()


def phone_with_extension(order: Order) -> tuple[JSON, Truth]:
    return {
        "event": "Order Completed",
        "timestamp": iso(order),
        "revenue": float(order.total),
        "currency": "USD",
        "units": order.units,
        "user": person(order, phone=order.phone and f"{order.phone} ext. {order.number % 90 + 10}"),
    }, order.truth()


def full_width(order: Order) -> tuple[JSON, Truth]:
    wide = {ord(char): ord(char) + 0xFEE0 for char in "0123456789,-/:"}
    local = order.at.astimezone(TOKYO).strftime("%Y/%m/%d %H:%M:%S")
    return {
        "イベント": "購入",
        "日時": local.translate(wide),
        "合計": f"{int(order.total):,}円".translate(wide),
        "通貨": "JPY",
        "数量": str(order.units).translate(wide),
        "メール": order.email,
        "電話": order.phone and order.phone.translate(wide),
        "国": "JP",
    }, order.truth()


# --- Amounts --------------------------------------------------------------------------------------


def price_of_a_row(order: Order) -> tuple[JSON, Truth]:
    """Write a single product in the event itself, which no step can multiply."""
    (sku, _, price, quantity), *_ = order.lines
    return {
        "event_type": "users.behaviors.Purchase",
        "time": ms(order) // 1000,
        "product_id": sku,
        "price": float(price),
        "quantity": quantity,
        "currency": order.currency,
        **person(order),
        "ad_id": order.maid,
    }, replace(order.truth(maid=True), value=price * quantity, units=quantity)


def price_of_an_object(order: Order) -> tuple[JSON, Truth]:
    (sku, _, price, quantity), *_ = order.lines
    return {
        "purchase": {
            "product_id": sku,
            "currency": order.currency,
            "price": float(price),
            "quantity": quantity,
            "time": iso(order),
        },
        "attributes": person(order),
    }, replace(order.truth(), value=price * quantity, units=quantity)


def notation_of_the_country(order: Order) -> tuple[JSON, Truth]:
    """Write `1,22 €` beside `¥1,220`."""
    if order.currency in ("USD", "GBP", "JPY"):
        total = f"{order.total:,}" if order.currency == "JPY" else f"{order.total:,.2f}"
    else:
        total = f"{order.total:,.2f}".translate(str.maketrans(",.", ".,")) + " €" * (order.currency == "EUR")
    return {
        "event_name": "purchase",
        "event_time": ms(order),
        "order": {
            "total_display": total,
            "currency": order.currency,
            "items": [{"sku": sku, "qty": q} for sku, _, _, q in order.lines],
        },
        "customer": person(order),
    }, order.truth()


def currency_in_the_amount(order: Order) -> tuple[JSON, Truth]:
    return {
        "evento": "compra",
        "pedido": {
            "data": iso(order),
            "valor_total": f"R$ {order.total:,.2f}".translate(str.maketrans(",.", ".,")),
            "itens": [{"produto": sku, "quantidade": q} for sku, _, _, q in order.lines],
        },
        "cliente": person(order),
    }, order.truth()


def minor_units(order: Order) -> tuple[JSON, Truth]:
    """Write amounts in the smallest unit of the currency. Yen have none."""
    places = 1 if order.currency == "JPY" else 100
    return {
        "event_name": "order_paid",
        "paid_at": order.at.isoformat(),
        "amount_minor": int(order.total * places),
        "currency": order.currency,
        "lines": [
            {"sku": sku, "price_minor": int(price * places), "quantity": q}
            for sku, _, price, q in order.lines
        ],
        "buyer": person(order),
    }, order.truth()


def cents_without_a_name(order: Order) -> tuple[JSON, Truth]:
    """Write all amounts in cents, and nothing that says so."""
    return {
        "creationDate": order.at.strftime("%Y-%m-%dT%H:%M:%S.1234567+00:00"),
        "value": cents(order.total),
        "storePreferencesData": {"currencyCode": order.currency, "countryCode": "BRA"},
        "items": [
            {"productId": sku, "quantity": q, "sellingPrice": cents(price)}
            for sku, _, price, q in order.lines
        ],
        "clientProfileData": {"email": order.email, "phone": order.phone, "firstName": order.first},
        "shippingData": {"address": {"country": "BRA", "postalCode": "20040-020"}},
    }, order.truth(at=order.at + timedelta(milliseconds=123))


def indian_groups(order: Order) -> tuple[JSON, Truth]:
    total = order.total + Decimal(123_400)
    whole, _, decimals = f"{total:.2f}".partition(".")
    return {
        "event": "order_placed",
        "order_date": order.at.astimezone(DELHI).strftime("%d-%m-%Y %H:%M:%S"),
        "amount": f"Rs. {whole[0]},{whole[1:3]},{whole[3:]}.{decimals}/-",
        "currency": "INR",
        "quantity": order.units,
        "customer": {"email_id": order.email, "mobile_no": order.phone, "country": "GB"},
    }, replace(order.truth(value=total), currency="INR")


def arabic_digits(order: Order) -> tuple[JSON, Truth]:
    digits = str.maketrans("0123456789.,", "٠١٢٣٤٥٦٧٨٩٫٬")
    return {
        "الحدث": "شراء",
        "الوقت": iso(order),
        "المجموع": f"{order.total:,.2f} ر.س".translate(digits),
        "العملة": "SAR",
        "الكمية": order.units,
        "العميل": {"البريد": order.email, "الهاتف": order.phone, "الدولة": order.country},
    }, replace(order.truth(), currency="SAR")


def net_and_gross(order: Order) -> tuple[JSON, Truth]:
    net = (order.total / Decimal("1.19")).quantize(Decimal("0.01"))
    return {
        "type": "order.created",
        "amountNet": float(net),
        "amountTotal": float(order.total),
        "shippingTotal": 0,
        "taxAmount": float(order.total - net),
        "orderDateTime": order.at.strftime("%Y-%m-%dT%H:%M:%S.000+00:00"),
        "currency": {"isoCode": order.currency, "factor": 1},
        "orderCustomer": {"email": order.email, "firstName": order.first},
        "billingAddress": {"phoneNumber": order.phone, "country": {"iso": order.country, "name": "x"}},
        "lineItems": [
            {"label": g, "quantity": q, "unitPrice": float(p), "totalPrice": float(p * q)}
            for _, g, p, q in order.lines
        ],
    }, order.truth()


def tax_included(order: Order) -> tuple[JSON, Truth]:
    """Write numbers of currencies, and amounts with and without tax."""
    net = (order.total * Decimal("0.8")).quantize(Decimal("0.01"))
    return {
        "event": "order_validated",
        "date_add": order.at.strftime("%Y-%m-%d %H:%M:%S"),
        "id_currency": "1",
        "currency": {"iso_code": order.currency},
        "total_paid_tax_excl": f"{net:.6f}",
        "total_paid_tax_incl": f"{order.total:.6f}",
        "total_products": f"{net:.6f}",
        "customer": person(order),
        "order_rows": [
            {"product_reference": sku, "product_quantity": str(q), "unit_price_tax_incl": f"{p:.6f}"}
            for sku, _, p, q in order.lines
        ],
    }, order.truth()


def gifts_and_discounts(order: Order) -> tuple[JSON, Truth]:
    """Write a gift, whose price is 0, and a discount as a line."""
    rows = [*lines(order, "sku", "unitPrice", "qty"), {"sku": "GIFT", "unitPrice": 0, "qty": 1}]
    if order.number % 3 == 0:
        rows.append({"sku": "SAVE", "unitPrice": -1.5, "qty": 1})
    less = Decimal("1.5") if order.number % 3 == 0 else Decimal(0)
    event = {"name": "order.created", "at": iso(order), "cart": {"lines": rows, "currency": order.currency}}
    truth = order.truth(value=order.total - less)
    return {**event, "customer": person(order)}, replace(truth, units=order.units + 1 + bool(less))


# --- Times ----------------------------------------------------------------------------------------


def names_of_months(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(MADRID)
    return {
        "Event": "Order Placed",
        "Purchase Date": local.strftime("%d-%b-%Y %H:%M:%S").upper(),
        "Total": f"{order.total:.2f}",
        "Currency": order.currency,
        "Qty": order.units,
        **person(order),
    }, order.truth()


def american_months(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(ZoneInfo("America/New_York"))
    return {
        "event": "purchase",
        "date": f"{local:%B} {local.day}, {local.year} {int(local.strftime('%I'))}:{local:%M:%S %p}",
        "revenue": float(order.total),
        "currency": order.currency,
        "quantity": order.units,
        **person(order),
    }, order.truth()


def japanese_times(order: Order) -> tuple[JSON, Truth]:
    local = order.at.astimezone(TOKYO)
    return {
        "イベント名": "購入",
        "注文日時": f"{local:%Y}年{local:%m}月{local:%d}日 {local:%H}時{local:%M}分{local:%S}秒",
        "合計金額": f"¥{int(order.total):,}",
        "通貨": "JPY",
        "数量": order.units,
        "顧客": {"メールアドレス": order.email, "電話番号": order.phone, "国": "JP"},
    }, order.truth()


def columns_of_sap(order: Order) -> tuple[JSON, Truth]:
    return {
        "VBELN": f"{order.number:010}",
        "ERDAT": order.at.strftime("%Y%m%d"),
        "ERZET": order.at.strftime("%H%M%S"),
        "WAERK": order.currency,
        "NETWR": f"{order.total:.2f}",
        "LAND1": order.country,
        "SMTP_ADDR": order.email,
        "TEL_NUMBER": order.phone,
        "NAME_FIRST": order.first,
        "ITEMS": [{"MATNR": sku, "KWMENG": q, "NETPR": f"{price:.2f}"} for sku, _, price, q in order.lines],
    }, order.truth()


# --- Other tools ----------------------------------------------------------------------------------


def sap_commerce(order: Order) -> tuple[JSON, Truth]:
    def money(amount: Decimal) -> JSON:
        return {"currencyIso": order.currency, "formattedValue": f"{amount} X", "value": float(amount)}

    return {
        "type": "orderPlaced",
        "created": order.at.strftime("%Y-%m-%dT%H:%M:%S+0000"),
        "code": f"{order.number:08}",
        "totalItems": len(order.lines),
        "totalPriceWithTax": money(order.total),
        "totalTax": money(Decimal(1)),
        "entries": [
            {"entryNumber": n, "quantity": q, "basePrice": money(p), "totalPrice": money(p * q)}
            for n, (_, _, p, q) in enumerate(order.lines)
        ],
        "user": {"uid": order.email, "name": f"{order.first} {order.last}"},
        "paymentAddress": {"country": {"isocode": order.country}, "cellphone": order.phone},
    }, order.truth()


def columns_of_lists(order: Order) -> tuple[JSON, Truth]:
    """Write products as a list for each attribute."""
    return {
        "tealium_event": "purchase",
        "timestamp_epoch": ms(order) // 1000,
        "order_total": f"{order.total:.2f}",
        "order_currency": order.currency,
        "product_id": [sku for sku, *_ in order.lines],
        "product_unit_price": [f"{price:.2f}" for _, _, price, _ in order.lines],
        "product_quantity": [str(q) for *_, q in order.lines],
        "customer_email": order.email,
        "customer_phone": order.phone,
        "customer_country": order.country,
    }, order.truth()


def content_items(order: Order) -> tuple[JSON, Truth]:
    return {
        "name": "PURCHASE",
        "timestamp": ms(order),
        "event_data": {"revenue": float(order.total), "currency": order.currency, "transaction_id": "t1"},
        "user_data": {"aaid": order.maid, "idfv": "0", "country": order.country, "os": "Android"},
        "content_items": [{"$sku": sku, "$price": float(p), "$quantity": q} for sku, _, p, q in order.lines],
        "custom_data": {"email": order.email, "phone": order.phone},
    }, order.truth(maid=True)


def collector(order: Order) -> tuple[JSON, Truth]:
    return {
        "event": "transaction",
        "collector_tstamp": (order.at + timedelta(minutes=9)).strftime("%Y-%m-%d %H:%M:%S.000"),
        "derived_tstamp": order.at.strftime("%Y-%m-%d %H:%M:%S.000"),
        "tr_total": float(order.total),
        "tr_tax": 1.0,
        "tr_currency": order.currency,
        "ti_quantity": order.units,
        "geo_country": order.country,
        "user_ipaddress": "8.8.8.8",
        "contexts_user_1": [{"email": order.email, "phone_number": order.phone}],
    }, order.truth()


def addresses_with_names(order: Order) -> tuple[JSON, Truth]:
    """Write addresses as in letters, a digital time as Go prints it, and a word behind the pieces."""
    email = order.email and f"{order.first} <{order.email.strip()}>"
    return {
        "event": "purchase",
        "time": order.at.strftime("%Y-%m-%d %H:%M:%S +0000 UTC"),
        "total": float(order.total),
        "currency": order.currency,
        "quantity": f"{order.units} pcs",
        **person(order, email=email, phone=f"tel:+{order.digits}"),
    }, replace(order.truth(), phone=order.digits)


def links_to_addresses(order: Order) -> tuple[JSON, Truth]:
    """Write addresses as links, and amounts whose signs are the only currency."""
    sign = {"EUR": "€", "GBP": "£", "PLN": "zł"}[order.currency]
    email = order.email and f"mailto:{order.email.strip()}"
    event = {
        "event": "purchase",
        "time": iso(order),
        "total": f"{sign}{order.total:.2f}",
        "quantity": order.units,
    }
    return {**event, **person(order, email=email, phone=f"+{order.digits}")}, replace(
        order.truth(), phone=order.digits
    )


def list_of_one(order: Order) -> tuple[JSON, Truth]:
    """Write the whole event as the only member of a list."""
    inner = {
        "event_name": "Purchase",
        "event_time": ms(order) // 1000,
        "user_data": {"em": order.email, "ph": order.phone, "country": order.country.lower()},
        "custom_data": {
            "value": float(order.total),
            "currency": order.currency,
            "num_items": order.units,
            "contents": [{"id": sku, "quantity": q} for sku, _, _, q in order.lines],
        },
    }
    return {"data": [inner], "partner_agent": "x"}, order.truth()


def money_in_two_members(order: Order) -> tuple[JSON, Truth]:
    """Write an amount in two members, which no step adds. Its units are no pieces."""
    nanos = int(order.total % 1 * 10**9)
    return {
        "event": "purchase",
        "time": iso(order),
        "price": {"currencyCode": order.currency, "units": str(int(order.total)), "nanos": nanos},
        **person(order),
    }, replace(order.truth(), units=None)


# --- No purchases ---------------------------------------------------------------------------------


def leads(order: Order) -> tuple[JSON, Truth]:
    return {
        "event": "lead_submitted",
        "submitted_at": iso(order),
        "form": {"id": 12, "steps": 3, "budget": "5000", "employees": 120},
        "lead": person(order, company="Acme", age=41),
    }, replace(order.truth(), value=None, units=None, currency=None)


def subscriptions(order: Order) -> tuple[JSON, Truth]:
    return {
        "event": "subscription_started",
        "started_at": iso(order),
        "current_period_end": "2027-01-01T00:00:00Z",
        "plan": {"id": "p1", "name": "Plus", "interval": "month", "amount": 9.99, "currency": order.currency},
        "subscriber": person(order),
    }, replace(order.truth(value=Decimal("9.99")), units=None, currency=None)


def installs(order: Order) -> tuple[JSON, Truth]:
    return {
        "event_name": "install",
        "install_time": iso(order),
        "advertising_id": order.maid,
        "cost_value": 1.2,
        "cost_currency": "USD",
        "country_code": order.country,
        "os": "android",
    }, replace(order.truth(maid=True), value=None, units=None, currency=None, email=None, phone=None)


def refunds(order: Order) -> tuple[JSON, Truth]:
    return {
        "event": "Order Refunded",
        "timestamp": iso(order),
        "properties": {"order_id": "o1", "total": -float(order.total), "currency": order.currency},
        "user": person(order),
    }, replace(order.truth(value=-order.total), units=None, currency=None)

"""Purchases as less common tools write them: abbreviations, words beside values, names that say nothing."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.domain.orders import JSON, Order, Truth
from tests.domain.vendor_events import lines


def upper_case_table(order: Order) -> tuple[JSON, Truth]:
    """Write abbreviations, as the columns of a warehouse have them, and date and clock apart."""
    local = order.at.astimezone(ZoneInfo("Europe/Berlin"))
    return {
        "ORD_NO": f"A{order.number}",
        "ORDER_DT": local.strftime("%d.%m.%Y"),
        "ORDER_TM": local.strftime("%H:%M:%S"),
        "CUST_EMAIL_ADDR": order.email,
        "CUST_MOB_NBR": order.phone,
        "CUST_FIRST_NM": order.first,
        "CUST_CNTRY_CD": order.country,
        "TOT_AMT": f"{order.total:.2f}".replace(".", ","),
        "TAX_AMT": "1,00",
        "CURR_CD": order.currency,
        "ITEM_QTY": str(order.units),
        "DEVICE_AD_ID": "",
    }, order.truth()


def times_in_utc(order: Order) -> tuple[JSON, Truth]:
    """Write times without a zone twice: local ones, and ones whose name says that they are in UTC."""
    return {
        "date_created": (order.at + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S"),
        "date_created_gmt": order.at.strftime("%Y-%m-%dT%H:%M:%S"),
        "date_modified_gmt": (order.at + timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%S"),
        "total": f"{order.total:.2f}",
        "total_tax": "3.10",
        "currency": order.currency,
        "billing": {
            "first_name": order.first,
            "country": order.country,
            "email": order.email or "",
            "phone": order.phone or "",
        },
        "line_items": [
            {"id": place, "name": group, "quantity": quantity, "total": f"{price * quantity:.2f}", "sku": sku}
            for place, (sku, group, price, quantity) in enumerate(order.lines)
        ],
    }, order.truth()


def times_between_words(order: Order) -> tuple[JSON, Truth]:
    """Write epochs as some serialisers of JSON do, and amounts with an unusual word for money."""
    return {
        "EventName": "OrderPlaced",
        "OrderDate": f"/Date({int(order.at.timestamp()) * 1000})/",
        "OrderTotal": f"{order.total:,.2f} Fr",
        "CurrencyCode": order.currency,
        "Customer": {"Email": order.email, "Phone": order.phone, "CountryCode": order.country},
        "OrderItems": [{"Sku": sku, "Quantity": quantity} for sku, _, _, quantity in order.lines],
    }, order.truth()


def days_of_excel(order: Order) -> tuple[JSON, Truth]:
    """Write local times as days since 1900, as Excel stores them."""
    local = order.at.astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=UTC)
    days = (local - datetime(1899, 12, 30, tzinfo=UTC)) / timedelta(days=1)
    return {
        "Order Date": round(days, 9),
        "E-mail": order.email,
        "Phone #": order.phone,
        "Country": order.country,
        "Order Total": float(order.total),
        "Currency": order.currency,
        "Qty": order.units,
    }, order.truth()


def typed_identities(order: Order) -> tuple[JSON, Truth]:
    """Write a list of identities that name their type, and times as digits below a name for digits."""
    identities = [{"identity_type": "customer_id", "identity": f"c-{order.number}"}]
    if order.email:
        identities.append({"identity_type": "email", "identity": order.email})
    if order.phone:
        identities.append({"identity_type": "mobile_number", "identity": order.phone})
    return {
        "user_identities": order.random.sample(identities, len(identities)),
        "device_info": {"ios_advertising_id": order.maid, "locale_country": order.country},
        "event_type": "commerce.Purchase",
        "data": {
            "occurred": {"$date": {"$numberLong": str(int(order.at.timestamp()) * 1000)}},
            "currency_code": order.currency,
            "product_action": {
                "action": "purchase",
                "total_amount": float(order.total),
                "tax_amount": 1.1,
                "products": lines(order, "id", "price", "quantity"),
            },
        },
    }, order.truth(maid=True)


def times_with_words(order: Order) -> tuple[JSON, Truth]:
    """Write a word between date and clock, and amounts as they are usual in the country of the event."""
    local = order.at.astimezone(ZoneInfo("Europe/Paris"))
    total = f"{order.total:,.2f}"
    if order.currency == "EUR":
        total = total.translate(str.maketrans(",.", " ,")) + " €"
    return {
        "commande": {
            "date_heure": local.strftime("%d/%m/%Y à %Hh%M"),
            "total_ttc": total,
            "lignes": lines(order, "ref", "prix_unitaire", "qté"),
        },
        "client": {"courriel": order.email, "téléphone": order.phone, "pays": order.country},
        "devise": order.currency,
    }, order.truth(at=order.minute)


def calling_codes(order: Order) -> tuple[JSON, Truth]:
    """Write national phone numbers with the calling code of the number beside them."""
    phone = None
    if order.phone:
        code = next(code for code in CALLING_CODES if order.digits.startswith(code))
        phone = {"country_code": f"+{code}", "number": order.digits.removeprefix(code)}
    return {
        "action": "purchase",
        "ts": order.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "cart": {
            "total": {"amount": float(order.total), "currency": order.currency},
            "entries": lines(order, "sku", "price", "quantity"),
        },
        "customer": {"email": order.email, "phone": phone, "country": "US"},
    }, order.truth()


CALLING_CODES = ("49", "43", "33", "34", "44", "48", "46", "81", "55", "1")


def japanese_shop(order: Order) -> tuple[JSON, Truth]:
    """Write names in Japanese, and amounts with the word for yen."""
    local = order.at.astimezone(ZoneInfo("Asia/Tokyo"))
    return {
        "イベント": "購入",
        "注文番号": f"J-{order.number}",
        "注文日時": local.strftime("%Y/%m/%d %H:%M:%S"),
        "合計金額": f"{int(order.total):,}円",
        "通貨": "JPY",
        "お客様": {"メールアドレス": order.email, "電話番号": order.phone, "国": "JP"},
        "商品": [{"商品コード": sku, "数量": quantity} for sku, _, _, quantity in order.lines],
    }, order.truth()


def names_that_say_nothing(order: Order) -> tuple[JSON, Truth]:
    """Write a list whose names say nothing. Its amounts add up to the total of the order."""
    return {
        "kind": "order",
        "x9": int(order.at.timestamp()),
        "geld": order.currency,
        "who": {
            "k1": order.email,
            "tel": order.phone,
            "cc": order.country,
            "fname": order.first,
            "lname": order.last,
            "plz": "01067",
        },
        "all": float(order.total),
        "z": [{"a": sku, "b": float(price), "c": quantity} for sku, _, price, quantity in order.lines],
    }, order.truth()

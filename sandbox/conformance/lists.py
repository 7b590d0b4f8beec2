"""Check that every value of Amazon's lists is accepted. The lists are copied from Amazon's schema."""

from typing import Any, Final

from sandbox.conformance.events import HASH, PURCHASE


def _words(text: str) -> list[str]:
    return text.split()


TYPES: Final = _words(
    """
    ADD_TO_SHOPPING_CART APPLICATION CHECKOUT CONTACT LEAD MOBILE_APP_FIRST_START OFF_AMAZON_PURCHASES
    OTHER PAGE_VIEW SEARCH SIGN_UP SUBSCRIBE
    """
)
SOURCES: Final = _words("ANDROID FIRE_TV IOS MEASUREMENT_ATTRIBUTION_PARTNER OFFLINE WEBSITE")
HASHED: Final = _words("EMAIL PHONE FIRST_NAME LAST_NAME ADDRESS CITY STATE POSTAL")
RAW: Final = {
    "MAID": "38400000-8cf0-11bd-b23e-10b96e40000d",
    "RAMP_ID": "XY1000bIBVah9ium3hl9YUt5Du6l",
    "MATCH_ID": "loyalty1001",
    "REAL_ID": "real-1001",
    "MERKLE_ID": "merkle-1001",
    "KANTAR_ID": "kantar-1001",
    "FIP": "203.0.113.7",
}
CURRENCIES: Final = _words(
    """
    AED ARS AUD AZN BBD BGN BHD BMD BND BOB BRL BSD CAD CHF CLP CNY COP CRC CZK DKK DOP DZD EGP EUR GBP
    GHS GTQ HKD HNL HRK HUF IDR ILS INR JMD JOD JPY KES KRW KWD KYD KZT LBP LKR MAD MUR MXN MXP MYR NAD
    NGN NOK NZD PAB PEN PHP PKR PLN PYG QAR RON RSD RUB SAR SEK SGD THB TND TRY TTD TWD TZS UAH USD UYU
    VND XAF XCD XOF XPF ZAR
    """
)
# Values that two sources list in addition to the schema (GTM, DOCS), and Amazon's codes for other countries.
COUNTRIES: Final = _words(
    "US CA MX BR GB FR IT ES DE NL AE PL TR EG SA SE BE IN ZA JP AU SG CH OTHER OTHER_EEA ZZ"
)


def _all_keys() -> list[dict[str, Any]]:
    hashed = [{"type": kind, "values": [HASH]} for kind in HASHED]
    return hashed + [{"type": kind, "values": [value]} for kind, value in RAW.items()]


# Each row is (id, source, statement, changes). Each change makes one event.
LISTS: Final = (
    (
        "oas-types",
        "OAS 2.2",
        "all 12 conversion types are accepted",
        [{"eventDescription.conversionType": w} for w in TYPES],
    ),
    (
        "oas-sources",
        "OAS 2.2",
        "all 6 sources are accepted",
        [{"eventDescription.eventSource": w} for w in SOURCES],
    ),
    ("oas-keys", "OAS 2.3", "all 15 match keys together are accepted", [{"matchKeys": _all_keys()}]),
    (
        "oas-currencies",
        "OAS 2.4",
        "all 81 currencies are accepted",
        [{**PURCHASE, "value": 1, "currencyCode": w} for w in CURRENCIES],
    ),
    (
        "oas-countries",
        "OAS, GTM 2.1",
        "countries and Amazon's additional codes are accepted",
        [{"countryCode": w} for w in COUNTRIES],
    ),
)

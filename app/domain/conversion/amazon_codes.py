"""The codes of Amazon's published schema: conversion types, event sources, countries and currencies.

Conversion types and event sources are case-sensitive, and have the labels and explanations that the console
shows. Countries have accepted spellings. Beside them: which currencies have no decimals, and which fields
only purchases send.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# --- Types and sources of events ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """A value that Amazon accepts for a field, with its label and explanation in the console."""

    value: str
    label: str
    help: str


def _rows(*rows: tuple[str, str, str]) -> Mapping[str, Choice]:
    return {value: Choice(value, label, help_text) for value, label, help_text in rows}


PURCHASE: Final = "OFF_AMAZON_PURCHASES"
# Mapping fields that are sent for purchases only (P11), each with the warning for all other event types.
PURCHASE_ONLY: Final[Mapping[str, str]] = {"currency": "currency_ignored", "units_sold": "units_ignored"}

# Source: Amazon's published schema, `ConversionType`.
EVENT_TYPES: Final = _rows(
    ("ADD_TO_SHOPPING_CART", "Add to Shopping Cart", "A product was added to a shopping cart."),
    ("APPLICATION", "Application", "An application was submitted, such as for a loan or a job."),
    ("CHECKOUT", "Checkout", "The checkout page was reached."),
    ("CONTACT", "Contact", "Someone left contact details, such as an e-mail address or a phone number."),
    ("LEAD", "Lead", "An action that can lead to a sale, such as requesting an offer."),
    ("MOBILE_APP_FIRST_START", "Mobile App First Start", "A downloaded app was opened for the first time."),
    (PURCHASE, "Off-Amazon Purchases", "Something was bought outside Amazon."),
    ("OTHER", "Other", "No other type fits."),
    ("PAGE_VIEW", "Page View", "A page of the website was visited."),
    ("SEARCH", "Search", "A product was searched for."),
    ("SIGN_UP", "Sign-Up", "Someone signed up for a product or a service."),
    ("SUBSCRIBE", "Subscribe", "A service was subscribed to."),
)

# Source: Amazon's published schema, `EventSource`.
EVENT_SOURCES: Final = _rows(
    ("WEBSITE", "Website", "It happened on a website."),
    ("ANDROID", "Android", "It happened in an app on Android."),
    ("IOS", "iOS", "It happened in an app on iOS."),
    ("FIRE_TV", "Fire TV", "It happened in an app on Fire TV."),
    ("OFFLINE", "Offline", "It was recorded offline, such as in a shop."),
    (
        "MEASUREMENT_ATTRIBUTION_PARTNER",
        "Measurement Partner",
        "It is reported by a measurement and attribution partner.",
    ),
)


# --- Currencies -----------------------------------------------------------------------------------

# Source: Amazon's published schema, `CurrencyCode`, 81 codes. Older connectors know only 18 of them.
CURRENCIES: Final[frozenset[str]] = frozenset(
    """
    AED ARS AUD AZN BBD BGN BHD BMD BND BOB BRL BSD CAD CHF CLP CNY COP CRC CZK DKK DOP DZD EGP EUR
    GBP GHS GTQ HKD HNL HRK HUF IDR ILS INR JMD JOD JPY KES KRW KWD KYD KZT LBP LKR MAD MUR MXN MXP
    MYR NAD NGN NOK NZD PAB PEN PHP PKR PLN PYG QAR RON RSD RUB SAR SEK SGD THB TND TRY TTD TWD TZS
    UAH USD UYU VND XAF XCD XOF XPF ZAR
    """.split()  # noqa: SIM905  (a block of codes is read more easily than 81 quoted ones)
)

# ISO 4217 defines no minor unit for these currencies. An amount with decimals is probably in another
# currency, so it is a likely mistake.
WITHOUT_DECIMALS: Final[frozenset[str]] = frozenset({"CLP", "JPY", "KRW", "PYG", "VND", "XAF", "XOF", "XPF"})


# --- Countries ------------------------------------------------------------------------------------

# Source: Amazon's published schema, `CountryCode`: 249 codes of ISO 3166-1 (GB, not UK) and three more.
COUNTRIES: Final[frozenset[str]] = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW ZZ
    OTHER OTHER_EEA ZZ
    """.split()  # noqa: SIM905  (a block of codes is read more easily than 250 quoted ones)
)

UK_READ_AS_GB: Final = "country_uk_read_as_gb"

# A language tag such as `en-GB` or `zh-Hant-TW`: language, optional script, and country.
_LANGUAGE_TAG: Final = re.compile(r"[A-Za-z]{2,3}-(?:[A-Za-z]{4}-)?([A-Za-z]{2})")


class ReadAsGB(str):
    """The code `GB` of a country that is written as `UK`, which needs a warning."""

    __slots__ = ()


def read_country(text: str) -> str | None:
    """Return the code in `COUNTRIES` of a country code or a language tag, in any case, with spaces around it.

    `UK` is read as `GB`, because the consent check depends on the country. Codes of three letters and codes
    that Amazon does not list are refused, as other texts: the result is None. Source: position P15.
    """
    word = text.strip(" ")
    if not word.isascii():
        return None
    tag = _LANGUAGE_TAG.fullmatch(word)
    code = (tag.group(1) if tag else word).upper()
    if code == "UK":
        return ReadAsGB("GB")
    return code if code in COUNTRIES else None

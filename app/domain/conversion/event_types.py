"""Amazon's conversion types and event sources, with the labels and explanations that the console shows.

Source: Amazon's published schema, `ConversionType` and `EventSource`; both are case-sensitive.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


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

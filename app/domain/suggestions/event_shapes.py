"""The shapes of events of well-known tools, and what happened by the names of their events.

The facts are from the public documentation of each tool, see docs/suggestions.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.domain.conversion.event_types import PURCHASE
from app.domain.suggestions.names import word_set, words_of


@dataclass(frozen=True, slots=True)
class EventShape:
    """A tool whose events are recognised by their shape: one of `marks` is a set of names that all occur.

    `event_type` and `event_source` are those of all its events, where the tool has only one.
    """

    name: str
    marks: tuple[frozenset[str], ...]
    event_type: str = ""
    event_source: str = ""


def _shape(name: str, *marks: str, event_type: str = "", event_source: str = "") -> EventShape:
    return EventShape(name, tuple(map(word_set, marks)), event_type, event_source)


SHAPES: Final = (
    _shape(
        "Shopify order",
        "line_items total_price",
        "line_items financial_status",
        event_type=PURCHASE,
        event_source="WEBSITE",
    ),
    _shape("Adobe XDM event", "productListItems", "commerce identityMap", "identityMap eventType"),
    _shape(
        "GA4 event", "params items", "ecommerce items", "timestamp_micros", "event_params", "items item_id"
    ),
    _shape("Segment call", "properties messageId", "properties anonymousId", "properties type context"),
    _shape("Zeotap event", "eventName eventTimestamp", "user zi", "user cellno"),
)

# What happened, by the name of the event without case and separators.
EVENT_TYPES_BY_NAME: Final[Mapping[str, str]] = {
    name: event_type
    for event_type, names in {
        PURCHASE: """
            ordercompleted purchase ecommercepurchase inapppurchase commercepurchases purchases order
            ordercreate orderscreate orderspaid orderplaced ordercreated ordersubmitted orderconfirmed
            orderpaid orderfinished purchasecompleted completepurchase completedpurchase completedorder
            placedorder productpurchased productpurchase purchased transaction transactioncompleted
            checkoutcompleted sale conversion paymentcompleted bought buy thankyou
            checkoutsessioncompleted paymentintentsucceeded chargesucceeded invoicepaid bestellung
            bestellungabgeschlossen bestellungaufgegeben kauf kaufabgeschlossen gekauft verkauf commande
            commandevalidee achat compra pedido pedidorealizado ordine acquisto ordinecompletato
            bestelling aankoop encomenda zamowienie zakup kop bestallning receipt bon""",
        "ADD_TO_SHOPPING_CART": """
            productadded addtocart addedtocart addtobasket addtobag cartadd commerceproductlistadds
            productlistadds itemaddedtocart cartadded addedproduct productaddedtocart indenwarenkorb
            warenkorb hinzugefuegt ajoutpanier anadiralcarrito aggiungialcarrello""",
        "CHECKOUT": """
            checkoutstarted begincheckout checkout initiatecheckout startedcheckout startcheckout
            commercecheckouts checkouts checkoutscreate checkoutstepviewed checkoutinitiated""",
        "PAGE_VIEW": """
            pageview pageviewed page screenview productviewed viewitem productview productviews
            viewedproduct productdetailview productlistviewed viewitemlist viewcontent
            commerceproductviews commerceproductlistviews webwebpagedetailspageviews contentview screen
            viewproduct gotohome""",
        "SEARCH": "productssearched search searched viewsearchresults sitesearch productsearch",
        "SIGN_UP": """
            signedup signup registration completeregistration registered accountcreated usersignedup
            customerscreate registercomplete""",
        "LEAD": """
            generatelead lead leadgenerated leadsubmitted qualifylead formsubmitted requestquote
            quoterequested""",
        "CONTACT": "contact contactsubmitted contactformsubmitted contactus",
        "SUBSCRIBE": """
            subscribe subscribed subscription subscriptionstarted subscriptioncreated startsubscription
            newslettersubscribed abo""",
        "APPLICATION": "submitapplication applicationsubmitted applicationcompleted application",
        "MOBILE_APP_FIRST_START": """
            applicationinstalled firstopen appinstall install appfirststart appinstalled
            applicationlaunches""",
    }.items()
    for name in names.split()
}


def joined(text: str) -> str:
    """Return a name without case and separators: `Order Completed` is `ordercompleted`."""
    return "".join(words_of(text))


def event_type_of(name: str) -> str | None:
    """Return the event type of events with this name, None if the name is in no list."""
    return EVENT_TYPES_BY_NAME.get(joined(name))

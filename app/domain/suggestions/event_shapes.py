"""The shapes of events of well-known tools, and what happened by the names of their events.

The facts are from the public documentation of each tool, see docs/suggestions.md.
"""

from collections.abc import Callable, Mapping
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

# What happened, by the name of the event. Words are separated by `_`.
_NAMES: Final[Mapping[str, str]] = {
    PURCHASE: """
        order_completed purchase ecommerce_purchase in_app_purchase commerce.purchases purchases order
        order_create orders_create orders_paid order_placed order_created order_submitted order_confirmed
        order_paid order_finished purchase_completed complete_purchase completed_purchase completed_order
        placed_order product_purchased product_purchase purchased transaction transaction_completed
        checkout_completed sale conversion payment_completed bought buy thank_you checkout.session.completed
        payment_intent.succeeded charge.succeeded invoice.paid
        bestellung bestellung_abgeschlossen bestellung_aufgegeben kauf kauf_abgeschlossen gekauft verkauf
        commande commande_validee achat compra pedido pedido_realizado ordine acquisto ordine_completato
        bestelling aankoop encomenda zamowienie zakup kop bestallning receipt bon""",
    "ADD_TO_SHOPPING_CART": """
        product_added add_to_cart added_to_cart add_to_basket add_to_bag cart_add commerce.product_list_adds
        product_list_adds item_added_to_cart cart_added added_product product_added_to_cart in_den_warenkorb
        warenkorb hinzugefuegt ajout_panier anadir_al_carrito aggiungi_al_carrello""",
    "CHECKOUT": """
        checkout_started begin_checkout checkout initiate_checkout started_checkout start_checkout
        commerce.checkouts checkouts checkouts_create checkout_step_viewed checkout_initiated""",
    "PAGE_VIEW": """
        page_view page_viewed page screen_view product_viewed view_item product_view product_views
        viewed_product product_detail_view product_list_viewed view_item_list view_content
        commerce.product_views commerce.product_list_views web.webpagedetails.page_views content_view screen
        view_product""",
    "SEARCH": "products_searched search searched view_search_results site_search product_search",
    "SIGN_UP": """
        signed_up sign_up registration complete_registration registered account_created user_signed_up
        customers_create register_complete""",
    "LEAD": """
        generate_lead lead lead_generated lead_submitted qualify_lead form_submitted request_quote
        quote_requested""",
    "CONTACT": "contact contact_submitted contact_form_submitted contact_us",
    "SUBSCRIBE": """
        subscribe subscribed subscription subscription_started subscription_created start_subscription
        newsletter_subscribed abo""",
    "APPLICATION": "submit_application application_submitted application_completed application",
    "MOBILE_APP_FIRST_START": """
        application_installed first_open app_install install app_first_start app_installed
        application.launches""",
}
EVENT_NAMES: Final = tuple(name for names in _NAMES.values() for name in names.split())


def joined(text: str) -> str:
    """Return a name without case and separators: `Order Completed` is `ordercompleted`."""
    return "".join(words_of(text))


_TYPES: Final = {joined(name): event_type for event_type, names in _NAMES.items() for name in names.split()}


def event_type_of(name: str) -> str | None:
    """Return the event type of events with this name, None if the name is in no list."""
    return _TYPES.get(joined(name))


def spellings(name: str) -> tuple[str, ...]:
    """Return the usual spellings of an event name, such as `Order Completed` and `orderCompleted`."""
    words = [part.split("_") for part in name.split(".")]

    def written(joint: str, first: Callable[[str], str], rest: Callable[[str], str]) -> str:
        parts = (joint.join([first(part[0]), *map(rest, part[1:])]) for part in words)
        return ".".join(parts)

    ways = ((str.lower, str.lower), (str.title, str.title), (str.title, str.lower), (str.upper, str.upper))
    return tuple(
        dict.fromkeys(
            [written(joint, *way) for joint in "_ -" for way in ways]
            + [written("", first, str.title) for first in (str.lower, str.title)]
        )
    )

"""The example mapping and event, and the presets for a new mapping: for each event type, and for event_id.

The docs, the console, the API description and the benchmark use the example. The presets take their paths
from its event. A draft can replace them by paths found in recent events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.domain.conversion.amazon_codes import EVENT_TYPES, PURCHASE, PURCHASE_ONLY

EXAMPLE_MAPPING: Final[dict[str, Any]] = {
    "name": "Cart",
    "action": "send_events",
    "event_type": "ADD_TO_SHOPPING_CART",
    "event_source": "WEBSITE",
    "event_name": "Added to cart",
    "country_code": {"path": "user.country", "default": "US"},
    "fields": {
        "event_timestamp": {"path": "event.timestamp"},
        "email": {"path": "user.email"},
        "phone": {"path": "user.phone"},
        "maid": {"path": "user.maid"},
        "first_name": {"path": "user.first_name"},
        "last_name": {"path": "user.last_name"},
    },
    "custom_data": [{"name": "brand", "path": "event.properties.brand"}],
    "consent": {"mode": "granted"},
}


def example_event(now: datetime) -> dict[str, Any]:
    """Return an event of an invented person at `now`, which the example mapping can convert."""
    return {
        "event_id": "order-1001",
        "event": {
            "name": "addToCart",
            "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "properties": {"brand": "acme", "sku": "A17", "quantity": 1, "total": 129.5},
        },
        "user": {
            "email": "ada@example.com",
            "phone": "+1 555 010 0199",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "country": "US",
        },
        "consent": {"ad_storage": "GRANTED", "user_data": "GRANTED"},
    }


@dataclass(frozen=True, slots=True)
class Preset:
    """The preset for an event type.

    `needs` are fields that events of the type should have; `only` are fields that no other type supports.
    """

    event_type: str
    event_name: str
    needs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    custom_data: tuple[str, ...] = ()
    event_source: str = "WEBSITE"

    def document(self) -> dict[str, Any]:
        """Return the mapping document with which a new draft starts."""
        return EXAMPLE_MAPPING | {
            "name": EVENT_TYPES[self.event_type].label,
            "event_type": self.event_type,
            "event_source": self.event_source,
            "event_name": self.event_name,
            "fields": EXAMPLE_MAPPING["fields"] | self.more_fields,
            "custom_data": [{"name": name, "path": f"event.properties.{name}"} for name in self.custom_data],
        }

    @property
    def more_fields(self) -> dict[str, Any]:
        """The sources of the fields that events of the type should have, beside those of all events."""
        return {name: {"path": _MORE[name]} for name in (*self.needs, *self.only)}


_MORE: Final[Mapping[str, str]] = {
    "value": "event.properties.total",
    "currency": "event.properties.currency",
    "units_sold": "event.properties.quantity",
}


@dataclass(frozen=True, slots=True)
class EventIdPreset:
    """A source of `event_id` for a usual set-up of Amazon's tag, so that Amazon counts an order once."""

    label: str
    help: str
    source: Mapping[str, Any]


def event_id_presets(order: str | None = None, event_name: str = "Purchase") -> tuple[EventIdPreset, ...]:
    """Return the presets for events with the order number at a path, sent with a name."""
    order = order or "event.properties.order_id"
    name = event_name.replace("{", "{{").replace("}", "}}")
    return (
        EventIdPreset(
            "Amazon's tag sends the order number",
            "Both send the same id, so Amazon counts the order once.",
            {"path": order},
        ),
        EventIdPreset(
            "A tag manager writes an id for each event name, such as 42_Purchase",
            "Write the event's name as the tag manager does, also its case.",
            {"template": f"{{{order}}}_{name}"},
        ),
        EventIdPreset(
            "Several mappings send events of one order",
            "Amazon compares ids across event types; the name keeps them apart.",
            {"template": f"{{{order}}}-{name.lower().replace(' ', '-')}"},
        ),
    )


PRESETS: Final = (
    Preset("ADD_TO_SHOPPING_CART", "Added to cart", ("value",), custom_data=("brand", "category")),
    Preset("APPLICATION", "Application submitted", custom_data=("product",)),
    Preset("CHECKOUT", "Checkout started", ("value",), custom_data=("category",)),
    Preset("CONTACT", "Contact left", custom_data=("channel",)),
    Preset("LEAD", "Lead", ("value",), custom_data=("product",)),
    Preset(
        "MOBILE_APP_FIRST_START", "App first started", event_source="ANDROID", custom_data=("app_version",)
    ),
    Preset(PURCHASE, "Purchase", ("value",), tuple(PURCHASE_ONLY), ("brand", "category")),
    Preset("OTHER", "Other event"),
    Preset("PAGE_VIEW", "Page viewed", custom_data=("page_type",)),
    Preset("SEARCH", "Searched", custom_data=("category",)),
    Preset("SIGN_UP", "Signed up", custom_data=("plan",)),
    Preset("SUBSCRIBE", "Subscribed", ("value",), custom_data=("plan",)),
)
EVENT_NAMES: Final = {preset.event_type: preset.event_name for preset in PRESETS}

"""The example mapping and event that the docs, the console, the API description and the benchmark use."""

from datetime import datetime
from typing import Any, Final

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

"""A realistic event: twelve fields, five match keys, an international phone number, three custom fields."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from app.domain.mapping.presets import EXAMPLE_MAPPING

MAPPING = {
    **EXAMPLE_MAPPING,
    "name": "Bench",
    "fields": {**EXAMPLE_MAPPING["fields"], "value": {"path": "event.properties.total"}},
    "custom_data": [
        {"name": name, "path": f"event.properties.{name}"} for name in ("brand", "category", "sku")
    ],
}

COUNTRIES = (("DE", "+4930901820"), ("GB", "+44207946"), ("US", "+1202555"), ("FR", "+3319900"))


def event(run: str, number: int, destination: str, now: str | None) -> dict[str, object]:
    """Create the event of a number; the stand-in recognises it by the end of its id, `-<number>`."""
    country, prefix = COUNTRIES[number % len(COUNTRIES)]
    return {
        "event_id": f"{run}-{number}",
        "destination_id": destination,
        "journey": {"id": "journey-7", "node_id": "node-3", "execution_id": f"x{number}"},
        "event": {
            "name": "addToCart",
            "timestamp": now,
            "properties": {
                "brand": "acme",
                "category": "running_shoes",
                "sku": f"sku{number % 9973}",
                "total": round(number * 7.919 % 250, 2),
            },
        },
        "user": {
            "email": f"person.{number}@example.com",
            "phone": f"{prefix}{number % 10_000:04d}",
            "maid": f"6d92078a-8246-4ba4-ae5b-{number:012x}",
            "first_name": "Ada",
            "last_name": f"Lovelace{number % 977}",
            "country": country,
        },
    }


def bodies(
    run: str, events: int, per_post: int, destinations: list[str], *, rejected: bool = False
) -> Iterator[bytes]:
    """Yield the bodies of posts, each for one destination, the destinations in turn.

    `rejected` omits the time of each event, so that the service rejects it.
    """
    now = None if rejected else datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for post, first in enumerate(range(0, events, per_post)):
        destination = destinations[post % len(destinations)]
        numbers = range(first, min(events, first + per_post))
        made = [event(run, number, destination, now) for number in numbers]
        yield json.dumps(made[0] if per_post == 1 else {"events": made}, separators=(",", ":")).encode()

"""One event, one mapping, one destination, and changes to them: where the tests of the conversion start."""

import copy
import json
from datetime import UTC, datetime
from typing import Any

from app.domain import strict_json
from app.domain.conversion.convert import Conversion, ConversionPlan, Rules
from app.domain.destination import Region
from app.domain.event import Event, Rejection, read_events
from app.domain.identity.keys import Profile
from app.domain.mapping.document import Mapping, compile_mapping

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)

DOCUMENT: dict[str, Any] = {
    "name": "Cart",
    "action": "send_events",
    "event_type": "ADD_TO_SHOPPING_CART",
    "event_source": "WEBSITE",
    "event_name": "Added to cart",
    "country_code": {"path": "user.country", "default": "US"},
    "fields": {"event_timestamp": "event.timestamp", "email": "user.email", "phone": "user.phone"},
    "custom_data": [{"name": "brand", "path": "event.properties.brand"}],
    "consent": {"mode": "granted"},
}

EVENT: dict[str, Any] = {
    "event_id": "ord-1001:node-7",
    "destination_id": "dst_1",
    "event": {"name": "addToCart", "timestamp": "2026-11-24T10:00:00Z", "properties": {"brand": "acme"}},
    "user": {"email": "ada@example.com"},
}

RULES: dict[str, Any] = {
    "destination_id": "dst_1",
    "mapping_id": "map_1",
    "mapping_version": 1,
    "region": Region.NA,
    "profile": Profile.AMAZON,
    "currency": "USD",
    "dataset_name": None,
    "pins": {},
}


def convert(
    event: Event, event_id: str, mapping: Mapping, rules: Rules, *, now: datetime
) -> Conversion | Rejection:
    """Convert one event with a plan that is not kept."""
    return ConversionPlan(mapping, rules).convert(event, event_id, now)


def document(changes: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Give the mapping document with top-level changes and further destination fields."""
    made = {**copy.deepcopy(DOCUMENT), **(changes or {})}
    made["fields"] = {**made["fields"], **fields}
    return {name: value for name, value in made.items() if value is not None}


def compiled(made: dict[str, Any]) -> Mapping:
    """Compile a document that the test means to be good."""
    mapping = compile_mapping(made)
    assert isinstance(mapping, Mapping), mapping
    return mapping


def event(**paths: Any) -> dict[str, Any]:
    """Give the event with values put at paths, written with `__` for the dot: `user__email=None`."""
    made = copy.deepcopy(EVENT)
    for path, value in paths.items():
        *parents, last = path.split("__")
        at = made
        for name in parents:
            at = at.setdefault(name, {})
        at[last] = value
    return made


def converted(
    content: dict[str, Any], made: dict[str, Any] | None = None, now: datetime = NOW, **rules: Any
) -> Conversion | Rejection:
    """Send an event down the whole pipeline from its bytes to the conversion."""
    body = strict_json.parse(json.dumps(content).encode())
    [read] = read_events(body, default_destination="dst_1", default_mapping=None)
    if isinstance(read, Rejection):
        return read
    assert isinstance(read, Event)
    return convert(
        read, read.event_id or "derived-x", compiled(made or document()), Rules(**{**RULES, **rules}), now=now
    )


def amazon_event(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Give the Amazon event, where the test means the event to be taken."""
    outcome = converted(*args, **kwargs)
    assert isinstance(outcome, Conversion), outcome
    return json.loads(outcome.body)


def refused(*args: Any, **kwargs: Any) -> Rejection:
    """Give the rejection, where the test means the event to be refused."""
    outcome = converted(*args, **kwargs)
    assert isinstance(outcome, Rejection), outcome
    return outcome


def warnings(*args: Any, **kwargs: Any) -> list[tuple[str, str | None]]:
    """List the warnings of an event that is taken."""
    outcome = converted(*args, **kwargs)
    assert isinstance(outcome, Conversion), outcome
    return [(warned.code, warned.field) for warned in outcome.warnings]

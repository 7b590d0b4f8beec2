"""Compares the CPU time of converting an event under a plain and under a rich mapping, without I/O.

The rich mapping sums the products of price and quantity of three lines with decimal commas, takes the first
usable of two email addresses, makes a text of two values, and reads times in two formats. Rounds alternate.
"""

import gc
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from app.domain import strict_json
from app.domain.conversion.convert import Conversion, ConversionPlan, Rules, Work
from app.domain.destination import Region
from app.domain.event import Event, Events, read_events
from app.domain.identity.keys import Profile
from app.domain.mapping.document import Mapping, compile_mapping
from bench.events import MAPPING, bodies
from bench.report import middle, table

EVENTS = 500
RICH: dict[str, Any] = {
    **MAPPING,
    "fields": {
        **MAPPING["fields"],
        "event_timestamp": {
            "path": "event.ordered_at",
            "pipe": [["time", {"formats": ["DD.MM.YYYY HH:mm", "iso"], "zone": "UTC"}]],
        },
        "value": {"path": "event.lines", "pipe": [["sum", "price", "quantity", {"decimal": ","}]]},
        "email": {"first_of": ["user.work_email", "user.email"]},
    },
    "custom_data": [
        *MAPPING["custom_data"][:2],
        {"name": "sku", "template": "{event.properties.sku}_{event.properties.brand}"},
    ],
}


def events() -> list[Event]:
    """Return events that both mappings can read."""
    (body,) = bodies("conversion", EVENTS, EVENTS, ["dst_bench"])
    read = read_events(strict_json.parse(body), default_destination=None, default_mapping=None)
    assert isinstance(read, Events)
    now, found = datetime.now(UTC), [event for event in read if isinstance(event, Event)]
    for number, event in enumerate(found):
        event.content["user"]["work_email"] = "none"
        form = "%d.%m.%Y %H:%M" if number % 2 else "%Y-%m-%dT%H:%M:%SZ"
        event.content["event"]["ordered_at"] = now.strftime(form)
        prices = ("1.234,50", "7,25", f"{number},99")
        event.content["event"]["lines"] = [{"price": price, "quantity": 2} for price in prices]
    return found


def converter(document: dict[str, Any], found: Sequence[Event]) -> Callable[[], list[Conversion]]:
    """Return a function that converts the events, all of which the mapping accepts."""
    mapping = compile_mapping(document)
    assert isinstance(mapping, Mapping), mapping
    plan = ConversionPlan(mapping, Rules("dst_bench", "map", 1, Region.NA, Profile.AMAZON, "USD", None, {}))

    def convert() -> list[Conversion]:
        now, work = datetime.now(UTC), Work()
        made = [plan.convert(event, event.event_id or "", now, work=work) for event in found]
        return [each for each in made if isinstance(each, Conversion)]

    assert len(convert()) == len(found)
    return convert


def run(*, rounds: int) -> None:
    """Print the CPU time for each mapping, and the ratio."""
    found = events()
    plain, rich = converter(MAPPING, found), converter(RICH, found)
    gc.disable()
    times = [(_seconds(plain), _seconds(rich)) for _ in range(10 * rounds)]
    gc.enable()
    print("## Conversion alone, CPU us an event\n")
    costs = [middle(time[place] for time in times) / EVENTS * 1e6 for place in (0, 1)]
    print(table(("plain mapping", "rich mapping", "ratio"), [(*costs, middle(b / a for a, b in times))]))


def _seconds(action: Callable[[], object]) -> float:
    began = time.thread_time()
    action()
    return time.thread_time() - began

"""Train the compression dictionary of stored batches: `python -m dev.dictionary FILE`.

The samples are batches of one to three invented events of all types. The dictionary is part of the storage
format: a batch that was compressed with this dictionary can only be read with it (`app.domain.batch`).
"""

import random
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import zstandard

from app.domain import batch
from app.domain.batch import expand
from app.domain.conversion.amazon_codes import EVENT_SOURCES, EVENT_TYPES, PURCHASE
from app.domain.conversion.convert import Conversion, ConversionPlan, Rules
from app.domain.destination import Region
from app.domain.event import Event
from app.domain.identity.keys import Profile
from app.domain.mapping.document import Mapping, compile_mapping

BYTES: Final = 4096
_BATCHES: Final = 4_000
_COUNTRIES: Final = ("US", "US", "DE", "GB", "FR", "CA", "IT", "ES", "JP", "AU", "BR", "IN", "MX", "NL", "SE")
_CUSTOM: Final = ("brand", "category", "sku", "product_id", "order_id", "campaign", "channel", "quantity")
_KEYS: Final = ("email", "phone", "first_name", "last_name", "address", "city", "state", "postal", "maid")
_ADDITIONAL: Final = ("value", "currency", "units_sold")


def main() -> None:
    """Train the dictionary and write it to the file."""
    rng = random.Random(1)  # noqa: S311
    samples: list[bytes | bytearray | memoryview] = [
        sample for _ in range(_BATCHES) for sample in _packed(rng)
    ]
    trained = zstandard.train_dictionary(BYTES, samples, level=1)
    Path(sys.argv[1]).write_bytes(trained.as_bytes())
    sys.stdout.write(f"{len(samples)} samples, {sum(map(len, samples))} bytes, id {trained.dict_id()}\n")


def _packed(rng: random.Random) -> tuple[bytes, bytes]:
    """Return the content and the event metadata of an invented batch, both not compressed."""
    mapping, rules = _mapping(rng)
    conversions = [_conversion(rng, mapping, rules) for _ in range(rng.choice((1, 1, 2, 3)))]
    journey, node = f"journey-{rng.randrange(1000)}", f"node-{rng.randrange(100)}"
    shapes = [
        batch.EventMetadata(
            place=place,
            event_id=conversion.event_id,
            mapping=rng.randrange(1, 500),
            mapping_version=rng.randrange(1, 20),
            event_type=conversion.event_type,
            event_at_ms=round(conversion.event_at.timestamp() * 1000),
            match_keys=conversion.match_keys,
            warnings=(),
            consent=conversion.consent,
            execution_id=f"{rng.getrandbits(48):x}",
            journey_id=journey,
            node_id=node,
            request_id=f"{rng.getrandbits(64):016x}",
        )
        for place, conversion in enumerate(conversions)
    ]
    bodies = [(place, conversion.body) for place, conversion in enumerate(conversions)]
    return expand(batch.pack(bodies)), expand(batch.pack(shapes))


def _mapping(rng: random.Random) -> tuple[Mapping, Rules]:
    event_type = rng.choice(list(EVENT_TYPES))
    fields = ["event_timestamp", "email", *rng.sample(_KEYS[1:], rng.randrange(len(_KEYS)))]
    fields += rng.sample(_ADDITIONAL, 3 if event_type == PURCHASE else 0)
    name = rng.choice(("Added to cart", "addToCart", "Purchase", "Order completed", "Sign up", "Lead"))
    compiled = compile_mapping(
        {
            "name": "Cart",
            "action": "send_events",
            "event_type": event_type,
            "event_source": rng.choice([*EVENT_SOURCES, "WEBSITE", "WEBSITE", "WEBSITE"]),
            "event_name": name,
            "country_code": {"path": "country"},
            "fields": {field: {"path": field} for field in fields},
            "custom_data": [
                {"name": custom, "path": custom} for custom in rng.sample(_CUSTOM, rng.randrange(4))
            ],
            "consent": {"mode": "granted"},
        }
    )
    assert isinstance(compiled, Mapping), compiled
    rules = Rules(
        destination_id=f"dst_{rng.getrandbits(80):020x}",
        mapping_id=f"map_{rng.getrandbits(80):020x}",
        mapping_version=1,
        region=Region.NA,
        profile=Profile.AMAZON,
        currency=rng.choice(("USD", "EUR", "GBP")),
        dataset_name=rng.choice((None, None, "web")),
        pins={},
    )
    return compiled, rules


def _conversion(rng: random.Random, mapping: Mapping, rules: Rules) -> Conversion:
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(3 * 365 * 86_400))
    word = f"{rng.getrandbits(40):x}"
    content: dict[str, Any] = {
        "country": rng.choice(_COUNTRIES),
        "event_timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "email": f"{word}@example.com",
        "phone": f"+1202555{rng.randrange(10_000):04d}",
        "first_name": f"Ada{word}",
        "last_name": f"Lovelace{word}",
        "address": f"{rng.randrange(100)} Main Street",
        "city": f"Springfield {word}",
        "state": "CA",
        "postal": f"{rng.randrange(100_000):05d}",
        "maid": f"{rng.getrandbits(32):08x}-8246-4ba4-ae5b-{rng.getrandbits(48):012x}",
        "value": Decimal(rng.randrange(100, 30_000)) / 100,
        "currency": rules.currency,
        "units_sold": rng.randrange(1, 9),
        **{custom: f"{custom}_{rng.randrange(1000)}" for custom in _CUSTOM},
    }
    event_id = rng.choice((f"order-{rng.randrange(10**6)}", f"{rng.getrandbits(128):032x}"))
    event = Event(event_id, rules.destination_id, None, content)
    conversion = ConversionPlan(mapping, rules).convert(event, event_id, now)
    assert isinstance(conversion, Conversion), conversion
    return conversion


if __name__ == "__main__":
    main()

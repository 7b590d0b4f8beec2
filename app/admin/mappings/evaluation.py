"""The conversion rules of a mapping, for previews and backtests."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.conversion.consent import ConsentSettings
from app.domain.conversion.convert import Rules
from app.domain.ids import MappingId
from app.store.destinations.destinations import Destination
from app.store.mappings import StoredMapping, event_names

UNSAVED: Final = MappingId("map_unsaved")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """The deployment's settings that conversions depend on.

    `pepper` is the key of the event ids that the service derives, and of fingerprints of texts.
    """

    pepper: bytes = field(default=b"", repr=False)
    max_event_age: timedelta = timedelta(days=21)
    warn_event_age: timedelta = timedelta(days=7)
    consent: ConsentSettings = field(default_factory=ConsentSettings)
    now: Callable[[], datetime] = _now


async def rules_of(
    connection: AsyncConnection,
    settings: EvaluationSettings,
    destination: Destination,
    mapping: StoredMapping | None,
) -> Rules:
    """Return the conversion rules that apply to the mapping's events on receipt, with the pinned names.

    An unsaved mapping has no id. The event ids of its previews are therefore derived from `UNSAVED`.
    """
    pins = await event_names.of_advertiser(connection, destination.advertiser_id)
    return Rules.of(
        destination,
        destination_id=destination.id,
        mapping_id=mapping.id if mapping else UNSAVED,
        mapping_version=(mapping.published_version if mapping else None) or 0,
        pins={pin.event_type: pin.name for pin in pins},
        max_age=settings.max_event_age,
        warn_age=settings.warn_event_age,
        consent_settings=settings.consent,
    )

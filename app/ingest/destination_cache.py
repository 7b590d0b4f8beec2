"""Cache destinations and their compiled mappings, per configuration version."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from app.domain.conversion.consent import ConsentSettings
from app.domain.conversion.convert import ConversionPlan, Rules
from app.domain.destination import Region, State
from app.domain.ids import (
    AdvertiserId,
    DestinationId,
    DestinationNumber,
    LaneId,
    MappingId,
    MappingNumber,
    OrganisationId,
)
from app.domain.mapping.document import Mapping as CompiledMapping
from app.domain.mapping.document import compile_mapping
from app.store import PipelineConnection
from app.store.destinations import cache as store


@dataclass(frozen=True, slots=True)
class PublishedMapping:
    """A mapping, ready to convert events.

    `compiled` and `plan`, which converts events, are None if nothing is published.
    """

    id: MappingId
    number: MappingNumber
    version: int
    compiled: CompiledMapping | None
    rules: Rules
    plan: ConversionPlan | None = None

    def with_pins(self, pins: Mapping[str, str]) -> "PublishedMapping":
        """Return the mapping with other pinned names."""
        rules = replace(self.rules, pins=pins)
        return replace(
            self, rules=rules, plan=None if self.compiled is None else ConversionPlan(self.compiled, rules)
        )


@dataclass(frozen=True, slots=True)
class CachedDestination:
    """A destination at one configuration version, ready to evaluate events."""

    organisation: OrganisationId
    id: DestinationId
    number: DestinationNumber
    lane: LaneId
    version: int
    state: State
    signed_in: bool
    region: Region
    advertiser_id: AdvertiserId
    mappings: Mapping[MappingId, PublishedMapping]
    pins: Mapping[str, str]
    published: tuple[PublishedMapping, ...]  # the members of `mappings` with a published version


@dataclass(frozen=True, slots=True)
class AgeLimits:
    """The event ages above which an event is rejected, or accepted with a warning."""

    refused: timedelta = timedelta(days=21)
    warned: timedelta = timedelta(days=7)


class DestinationCache:
    """Destinations by id.

    A cached destination may be outdated: each flush compares the versions that it used with the database.
    """

    def __init__(self, ages: AgeLimits, consent: ConsentSettings) -> None:
        self._ages = ages
        self._consent = consent
        self._cached: dict[DestinationId, CachedDestination] = {}
        # A cached destination, or None; then the flush checks whether the destination exists.
        self.get = self._cached.get

    def version(self, id_: DestinationId) -> int | None:
        """Return the cached configuration version of a destination, or None."""
        destination = self._cached.get(id_)
        return None if destination is None else destination.version

    async def refresh(self, connection: PipelineConnection, ids: Collection[DestinationId]) -> None:
        """Read these destinations again; remove those that do not exist."""
        rows = await store.load(connection, ids)
        for id_ in ids:
            if id_ in rows:
                self._add(rows[id_])
            else:
                self._cached.pop(id_, None)

    def add_pins(self, names: Mapping[store.NamedType, str]) -> None:
        """Add the names that a flush pinned, in all cached destinations of their advertisers."""
        for destination in list(self._cached.values()):
            new_pins = {
                event_type: name
                for (organisation, advertiser, event_type), name in names.items()
                if (organisation, advertiser) == (destination.organisation, destination.advertiser_id)
            }
            if new_pins.keys() - destination.pins.keys():
                pins = {**destination.pins, **new_pins}
                mappings = {id_: mapping.with_pins(pins) for id_, mapping in destination.mappings.items()}
                self._cached[destination.id] = replace(
                    destination, mappings=mappings, pins=pins, published=_published(mappings)
                )

    def _add(self, row: store.DestinationRow) -> None:
        mappings = {mapping.id: self._compile_mapping(row, mapping) for mapping in row.mappings}
        self._cached[row.id] = CachedDestination(
            organisation=row.organisation,
            id=row.id,
            number=row.number,
            lane=row.lane,
            version=row.version,
            state=State(row.state),
            signed_in=row.signed_in,
            region=row.settings.region,
            advertiser_id=row.settings.advertiser_id,
            mappings=mappings,
            pins=row.pins,
            published=_published(mappings),
        )

    def _compile_mapping(self, row: store.DestinationRow, mapping: store.MappingRow) -> PublishedMapping:
        compiled = None if mapping.document is None else compile_mapping(mapping.document, is_published=True)
        if not isinstance(compiled, CompiledMapping):
            compiled = None  # nothing is published, or the current rules refuse it
        rules = Rules.of(
            row.settings,
            destination_id=row.id,
            mapping_id=mapping.id,
            mapping_version=mapping.version or 0,
            pins=row.pins,
            max_age=self._ages.refused,
            warn_age=self._ages.warned,
            consent_settings=self._consent,
        )
        return PublishedMapping(
            id=mapping.id,
            number=mapping.number,
            version=mapping.version or 0,
            compiled=compiled,
            rules=rules,
            plan=None if compiled is None else ConversionPlan(compiled, rules),
        )


def _published(mappings: Mapping[MappingId, PublishedMapping]) -> tuple[PublishedMapping, ...]:
    return tuple(mapping for mapping in mappings.values() if mapping.compiled is not None)

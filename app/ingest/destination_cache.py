"""Cache destinations and their compiled mappings, per configuration version."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.conversion.convert import ConversionPlan
from app.domain.conversion.results import DeploymentRules, Rules
from app.domain.ids import DestinationId, MappingId, MappingNumber
from app.domain.mapping.document import Mapping as CompiledMapping
from app.domain.mapping.document import compile_mapping
from app.store import PipelineConnection
from app.store.destinations import cache as store


@dataclass(frozen=True, slots=True)
class PublishedMapping:
    """A mapping. `plan` converts its events. It is None if nothing is published."""

    id: MappingId
    number: MappingNumber
    version: int
    plan: ConversionPlan | None


@dataclass(frozen=True, slots=True)
class CachedDestination:
    """A destination at one configuration version, ready to evaluate events.

    `stored` has no mappings, so that their documents need no memory: `mappings` has the compiled ones.
    """

    stored: store.DestinationRow
    mappings: Mapping[MappingId, PublishedMapping]
    published: tuple[PublishedMapping, ...]  # the members of `mappings` with a published version


DestinationLookup = Callable[[DestinationId], CachedDestination | None]
"""Returns a cached destination. Returns None if it is not cached: the flush then checks whether it exists."""


class DestinationCache:
    """Destinations by id.

    A cached destination may be outdated: each flush compares the versions that it used with the database.
    """

    def __init__(self, deployment: DeploymentRules) -> None:
        self._deployment = deployment
        self._cached: dict[DestinationId, CachedDestination] = {}
        self.get: DestinationLookup = self._cached.get

    def version(self, id_: DestinationId) -> int | None:
        """Return the cached configuration version of a destination, or None."""
        destination = self._cached.get(id_)
        return None if destination is None else destination.stored.version

    async def refresh(self, connection: PipelineConnection, ids: Collection[DestinationId]) -> None:
        """Read these destinations again; remove those that do not exist."""
        rows = await store.load(connection, ids)
        for id_ in ids:
            if id_ in rows:
                row = rows[id_]
                mappings = [self._compile_mapping(row, mapping) for mapping in row.mappings]
                self._add(replace(row, mappings=()), mappings)
            else:
                self._cached.pop(id_, None)

    def add_pins(self, names: Mapping[store.NamedType, str]) -> None:
        """Add the names that a flush pinned, in all cached destinations of their advertisers."""
        for destination in list(self._cached.values()):
            stored = destination.stored
            new_pins = {
                event_type: name
                for (organisation, advertiser, event_type), name in names.items()
                if (organisation, advertiser) == (stored.organisation, stored.settings.advertiser_id)
            }
            if new_pins.keys() - stored.pins.keys():
                pins = {**stored.pins, **new_pins}
                # A flush waits for this, so no mapping is compiled again.
                mappings = [_with_pins(mapping, pins) for mapping in destination.mappings.values()]
                self._add(replace(stored, pins=pins), mappings)

    def _add(self, stored: store.DestinationRow, mappings: Sequence[PublishedMapping]) -> None:
        self._cached[stored.id] = CachedDestination(
            stored,
            {mapping.id: mapping for mapping in mappings},
            tuple(mapping for mapping in mappings if mapping.plan is not None),
        )

    def _compile_mapping(self, row: store.DestinationRow, mapping: store.MappingRow) -> PublishedMapping:
        compiled = None if mapping.document is None else compile_mapping(mapping.document, is_published=True)
        version = mapping.version or 0
        plan = None
        if isinstance(compiled, CompiledMapping):  # else nothing is published, or the current rules refuse it
            rules = Rules.of(
                row.settings,
                destination_id=row.id,
                mapping_id=mapping.id,
                mapping_version=version,
                pins=row.pins,
                deployment=self._deployment,
            )
            plan = ConversionPlan(compiled, rules)
        return PublishedMapping(mapping.id, mapping.number, version, plan)


def _with_pins(mapping: PublishedMapping, pins: dict[str, str]) -> PublishedMapping:
    if mapping.plan is None:
        return mapping
    rules = replace(mapping.plan.rules, pins=pins)
    return replace(mapping, plan=ConversionPlan(mapping.plan.mapping, rules))

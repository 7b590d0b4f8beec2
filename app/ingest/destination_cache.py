"""Targets: destinations as the door judges by them, compiled once per configuration version."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from app.domain.conversion.consent import ConsentSettings
from app.domain.conversion.convert import Rules
from app.domain.conversion.fast_path import FastPath, compile_fast_path
from app.domain.destination import Region, State
from app.domain.identity import Profile
from app.domain.ids import AdvertiserId, DestinationId, DestinationNumber, LaneId, MappingId, MappingNumber
from app.domain.mapping.document import Mapping as CompiledMapping
from app.domain.mapping.document import compile_mapping
from app.store import PipelineConnection
from app.store import targets as store


@dataclass(frozen=True, slots=True)
class PublishedMapping:
    """A mapping as events are converted by it; `compiled` is None where nothing is published.

    `fast_path` converts ordinary events; None where the mapping has no fast path or FAST_PATH is off.
    """

    id: MappingId
    number: MappingNumber
    version: int
    compiled: CompiledMapping | None
    rules: Rules
    fast_path: FastPath | None = None


@dataclass(frozen=True, slots=True)
class CachedDestination:
    """A destination at one configuration version, ready to judge events."""

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
    taking: tuple[PublishedMapping, ...]  # those of the mappings that take events


@dataclass(frozen=True, slots=True)
class AgeLimits:
    """How old an event may be: `refused` beyond it, `warned` beyond that (P6)."""

    refused: timedelta = timedelta(days=21)
    warned: timedelta = timedelta(days=7)


class DestinationCache:
    """Keeps targets by id; the flush compares versions in its transaction, so that none is ever stale."""

    def __init__(self, ages: AgeLimits, consent: ConsentSettings, *, fast_path: bool = True) -> None:
        self._fast_path = fast_path
        self._ages = ages
        self._consent = consent
        self._known: dict[DestinationId, CachedDestination] = {}

    def known(self, destination: DestinationId) -> CachedDestination | None:
        """Return what is known of a destination, or None: the flush will tell whether it exists."""
        return self._known.get(destination)

    def version(self, destination: DestinationId) -> int | None:
        """Return the version that events are judged by now."""
        target = self._known.get(destination)
        return None if target is None else target.version

    async def refresh(self, connection: PipelineConnection, ids: Collection[DestinationId]) -> None:
        """Read these destinations anew; those that do not exist are forgotten."""
        rows = await store.load(connection, ids)
        for destination in ids:
            if destination in rows:
                self._known[destination] = self._compile(rows[destination])
            else:
                self._known.pop(destination, None)

    def pinned(self, names: Mapping[tuple[AdvertiserId, str], str]) -> None:
        """Remember names that a flush pinned, so that every mapping is held to them without asking."""
        for destination, target in self._known.items():
            fresh = {
                kind: name for (advertiser, kind), name in names.items() if advertiser == target.advertiser_id
            }
            if fresh.keys() - target.pins.keys():
                self._known[destination] = _holding_to(target, {**target.pins, **fresh})

    def _compile(self, row: store.TargetRow) -> CachedDestination:
        mappings = {mapping.id: self._compile_mapping(row, mapping) for mapping in row.mappings}
        return CachedDestination(
            id=row.id,
            number=row.number,
            lane=row.lane,
            version=row.version,
            state=State(row.state),
            signed_in=row.signed_in,
            region=Region(row.region),
            advertiser_id=row.advertiser_id,
            mappings=mappings,
            pins=row.pins,
            taking=tuple(mapping for mapping in mappings.values() if mapping.compiled is not None),
        )

    def _compile_mapping(self, row: store.TargetRow, mapping: store.MappingRow) -> PublishedMapping:
        compiled = None if mapping.document is None else _compiled(mapping.document)
        rules = Rules(
            destination_id=row.id,
            mapping_id=mapping.id,
            mapping_version=mapping.version or 0,
            region=Region(row.region),
            profile=Profile(row.identity_profile),
            currency=row.currency,
            dataset_name=row.dataset_name,
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
            fast_path=compile_fast_path(compiled, rules) if compiled and self._fast_path else None,
        )


def _holding_to(target: CachedDestination, pins: Mapping[str, str]) -> CachedDestination:
    """Return a target whose mappings are judged by these names."""
    mappings = {id_: _held(mapping, pins) for id_, mapping in target.mappings.items()}
    taking = tuple(mapping for mapping in mappings.values() if mapping.compiled is not None)
    return replace(target, pins=pins, mappings=mappings, taking=taking)


def _held(mapping: PublishedMapping, pins: Mapping[str, str]) -> PublishedMapping:
    rules = replace(mapping.rules, pins=pins)
    fast_path = compile_fast_path(mapping.compiled, rules) if mapping.compiled and mapping.fast_path else None
    return replace(mapping, rules=rules, fast_path=fast_path)


def _compiled(document: dict[str, Any]) -> CompiledMapping | None:
    """Compile a published document. One that no longer compiles takes no events, as if unpublished."""
    compiled = compile_mapping(document)
    return compiled if isinstance(compiled, CompiledMapping) else None

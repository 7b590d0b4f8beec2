"""Select the events of a replay by event id, journey, node, execution, mapping or event type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from app.admin.event_list import require_mapping
from app.domain.batch import may_hold_id, read_shapes
from app.domain.ids import BatchId, DestinationId, DestinationNumber
from app.domain.ledger_keys import event_key
from app.store import PipelineConnection, damage, event_history, ledger, replays
from app.store.replays import ReplayFilter

_BATCHES = 200  # of one query
_MOST_NOT_FOUND = 100  # event ids in a response
_KEYS = 5_000  # of one query; computing them takes 5 ms


@dataclass(frozen=True, slots=True)
class EventSelection:
    """A filter of events. A member that is None accepts any value."""

    event_ids: Sequence[str] | None = None
    execution_id: str | None = None
    mapping_id: str | None = None
    journey_id: str | None = None
    node_id: str | None = None
    event_type: str | None = None

    @property
    def members(self) -> dict[str, str]:
        """The metadata values that an event must have, by member name."""
        wanted = {
            "execution_id": self.execution_id, "journey_id": self.journey_id, "node_id": self.node_id,
            "event_type": self.event_type,
        }  # fmt: skip
        return {name: value for name, value in wanted.items() if value is not None}

    @property
    def is_empty(self) -> bool:
        """Whether the filter selects every event."""
        return self.event_ids is None and self.mapping_id is None and not self.members


ALL_EVENTS = EventSelection()


async def selected(
    connection: PipelineConnection,
    destination: DestinationId,
    number: DestinationNumber,
    wanted: ReplayFilter,
    selection: EventSelection,
) -> tuple[ReplayFilter, tuple[str, ...]]:
    """Find the selected events. Raises Refusal (422) for an unknown mapping.

    Return `wanted` with the batch and the position of each event, and up to 100 event ids that no event has.
    """
    if selection.is_empty:
        return wanted, ()
    mappings = await event_history.mappings(connection, destination)
    require_mapping(mappings, selection.mapping_id)
    allowed = {key: id_ for key, (id_, _) in mappings.items() if selection.mapping_id in (None, id_)}
    places: set[tuple[BatchId, int]] | None = None
    not_found: dict[str, None] = {}
    if selection.event_ids is not None:
        not_found = dict.fromkeys(selection.event_ids)
        keys = (
            (event_key(destination, mapping, event), event)
            for event in selection.event_ids
            for mapping in allowed.values()
        )
        generation = await ledger.current_generation(connection)
        places = set()
        while some := dict(islice(keys, _KEYS)):
            for key, row in (await ledger.find(connection, generation, list(some))).items():
                places.add((row.batch, row.place))
                not_found.pop(some[key], None)
    if selection.members or places is None:
        scanned = await _scan(connection, number, wanted.status, selection.members, set(allowed))
        places = scanned if places is None else places & scanned
    return replace(wanted, selected=sorted(places)), tuple(islice(not_found, _MOST_NOT_FOUND))


async def _scan(
    connection: PipelineConnection,
    number: DestinationNumber,
    status: str,
    members: Mapping[str, str],
    mappings: set[int],
) -> set[tuple[BatchId, int]]:
    """Return the events with these mappings and metadata values.

    Read only batches with an event of this status.
    """
    places: set[tuple[BatchId, int]] = set()
    after = 0
    while page := await replays.candidate_batches(connection, number, status, after=after, limit=_BATCHES):
        for batch, shapes in (await damage.read_shapes_of(connection, page)).items():
            if not all(may_hold_id(shapes, text) for text in members.values()):
                continue
            places |= {
                (batch, shape.place)
                for shape in read_shapes(shapes) or ()
                if shape.mapping in mappings
                and all(getattr(shape, name) == text for name, text in members.items())
            }
        after = max(page)
    return places

"""Find the events of a replay or a dismissal by event id, journey, node, execution, mapping or event type."""

from itertools import islice

from app.admin.events.scan import require_mapping
from app.domain.batch import read_shapes
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId, DestinationId, DestinationNumber
from app.domain.ledger_keys import event_key
from app.store import PipelineConnection, ledger, replays
from app.store.database import damage
from app.store.events import batches

_BATCHES = 200  # of one query
_MOST_NOT_FOUND = 100  # event ids in a response
NOT_FOUND = "Ids of `event_ids` that no event of the destination has, at most 100."
_KEYS = 5_000  # of one query; computing them takes 5 ms


async def selected(
    connection: PipelineConnection, destination: DestinationId, number: DestinationNumber, wanted: EventQuery
) -> tuple[replays.Places | None, tuple[str, ...]]:
    """Find the selected events. Raises Refusal (422) for an unknown mapping.

    Return the batch and the position of each event, None if the filter does not select by metadata, and up to
    100 event ids that no event has.
    """
    if wanted.event_ids is None and wanted.mapping_id is None and not wanted.members:
        return None, ()
    mappings = await batches.mappings(connection, [destination])
    require_mapping(mappings, wanted.mapping_id)
    allowed = {
        key: mapping.id for key, mapping in mappings.items() if wanted.mapping_id in (None, mapping.id)
    }
    places: set[tuple[BatchId, int]] | None = None
    not_found: dict[str, None] = {}
    if wanted.event_ids is not None:
        not_found = dict.fromkeys(wanted.event_ids)
        keys = (
            (event_key(destination, mapping, event), event)
            for event in wanted.event_ids
            for mapping in allowed.values()
        )
        generation = await ledger.current_generation(connection)
        places = set()
        while some := dict(islice(keys, _KEYS)):
            for key, row in (await ledger.find(connection, generation, list(some))).items():
                places.add((row.batch, row.place))
                not_found.pop(some[key], None)
    if wanted.members or places is None:
        scanned = await _scan(connection, number, wanted, set(allowed))
        places = scanned if places is None else places & scanned
    return sorted(places), tuple(islice(not_found, _MOST_NOT_FOUND))


async def _scan(
    connection: PipelineConnection, number: DestinationNumber, wanted: EventQuery, mappings: set[int]
) -> set[tuple[BatchId, int]]:
    """Return the events with these mappings and the wanted metadata values.

    Read only batches with an event of a wanted status.
    """
    places: set[tuple[BatchId, int]] = set()
    statuses = replays.REPLAYABLE if wanted.status is None else (wanted.status,)
    after = 0
    while page := await replays.candidate_batches(connection, number, statuses, after=after, limit=_BATCHES):
        for batch, shapes in (await damage.read_shapes_of(connection, page)).items():
            if not wanted.may_contain(shapes):
                continue
            places |= {
                (batch, shape.place)
                for shape in read_shapes(shapes) or ()
                if shape.mapping in mappings and wanted.matches(shape)
            }
        after = max(page)
    return places

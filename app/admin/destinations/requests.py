"""The requests of a destination to Amazon: their list, what one of them carried, and an early retry."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from app.admin import ErrorCode, Refusal, require_found
from app.admin.context import AppContext
from app.admin.destinations import find_visible, reading_row
from app.admin.events.history import ATTEMPT
from app.amazon.messages import cut_values
from app.crypto import CannotDecrypt, Vault, open_batch
from app.domain.batch import read_shapes
from app.domain.destination import State
from app.domain.ids import BatchId
from app.domain.outcomes.outcome import ResponseDetails
from app.store import batches, lanes, replays
from app.store.audit import AuditAction
from app.store.destinations import figures

_MOST_CONVERSIONS: Final = 5  # on the page of a request


async def read_requests(
    context: AppContext, destination_id: str, wanted: figures.RequestQuery
) -> figures.RequestPage:
    """Return a page of a destination's requests to Amazon, newest first. Raises Refusal (404)."""
    async with reading_row(context, destination_id) as (connection, destination):
        return await figures.request_page(connection, destination.number, wanted)


@dataclass(frozen=True, slots=True)
class RequestDetails:
    """One request to Amazon with its response, if stored, and what it carried, without personal values.

    `conversions` are the first conversions as JSON with their values cut. There is none after the deletion of
    the data keys. `event_types` and `match_keys` say how many conversions have each of them.
    """

    row: figures.RequestRow
    response: ResponseDetails | None
    conversions: Sequence[str]
    event_types: Mapping[str, int]
    match_keys: Mapping[str, int]


async def read_request(context: AppContext, destination_id: str, attempt_id: str) -> RequestDetails:
    """Return one request of a destination. Raises Refusal (404)."""
    try:
        attempt = int(context.opaque.open(attempt_id, kind=ATTEMPT))
    except CannotDecrypt:
        raise Refusal(ErrorCode.NOT_FOUND) from None
    async with reading_row(context, destination_id) as (connection, destination):
        row = require_found(await figures.request(connection, destination.number, attempt))
        places = {(BatchId(batch), day) for batch, day in row.days.items()}
        stored = await batches.read(connection, places, destination.number)
    return await context.compute_short(_details, context.vault, row, stored)


def _details(
    vault: Vault,
    request: figures.StoredRequest,
    stored: Mapping[BatchId, tuple[bytes | None, bytes | None, bytes | None]],
) -> RequestDetails:
    carried = None if request.places is None else {*zip(request.batches, request.places, strict=True)}
    conversions: list[str] = []
    event_types: Counter[str] = Counter()
    match_keys: Counter[str] = Counter()
    for batch in dict.fromkeys(request.batches):
        data_key, content, shapes = stored.get(BatchId(batch), (None, None, None))
        for shape in read_shapes(shapes) or ():
            if carried is None or (batch, shape.place) in carried:
                event_types[shape.event_type] += 1
                match_keys.update(shape.match_keys)
        if len(conversions) < _MOST_CONVERSIONS:
            bodies = open_batch(BatchId(batch), data_key, content, vault) or {}
            conversions += [
                msgspec.json.format(msgspec.json.encode(cut_values(msgspec.json.decode(body)))).decode()
                for place, body in bodies.items()
                if carried is None or (batch, place) in carried
            ]
    return RequestDetails(
        request,
        msgspec.json.decode(request.response, type=ResponseDetails) if request.response else None,
        conversions[:_MOST_CONVERSIONS],
        dict(event_types.most_common()),
        dict(match_keys.most_common()),
    )


async def retry_now(context: AppContext, destination_id: str) -> None:
    """Send the events of a destination again now that wait for their next attempt.

    An open circuit breaker lets a probe pass. A pause that Amazon asked for stays. Raises Refusal (404, or
    nothing is sent to this destination).
    """
    async with context.transaction() as change:
        found = await find_visible(change.connection, context.caller, destination_id)
        is_sending = found.state in (State.CONNECTED, State.ACTIVE)
        if not is_sending and found.sign_in_reason != "endpoint_not_found":
            raise Refusal(ErrorCode.NOT_CONNECTED, "Nothing is sent while the destination is not active.")
        await replays.make_due(change.driver, found.number)
        await lanes.notify_retry(change.driver, found.lane)
        await change.record(AuditAction.EVENTS_RETRIED, found.id)

"""The use case that suggests a mapping, from events of the request or from samples of recent events."""

from collections.abc import Iterator, Sequence
from typing import Any, Final
from zoneinfo import available_timezones

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.destinations.event_schemas import read_observed, settings_of
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.suggestions.suggest import MAX_EVENTS, Suggestion, suggest

_BATCHES: Final = ("events", "rows")


async def suggest_mapping(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    events: Sequence[dict[str, Any]] | None,
    zone: str | None,
) -> Suggestion:
    """Suggest a mapping for events, or for the samples of recent events if `events` is None.

    Nothing of the events is stored or logged. Raises Refusal (422) for an unknown time zone.
    """
    if zone is not None and zone not in available_timezones():
        problem = FieldProblem("zone", "not_in_list")
        raise Refusal(ErrorCode.INVALID, "The zone is no name of the IANA time zone database.", problem)
    if events is None:
        return (await read_observed(context, caller, destination_id, zone)).suggestion
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        settings = await settings_of(context, connection, destination, zone)
    # Hundreds of events take longer than the event loop may be occupied.
    return await context.compute(suggest, list(_single_events(events))[:MAX_EVENTS], settings)


def _single_events(events: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the events of a body as `POST /events` reads it: a list under `events` or `rows` is a batch."""
    for event in events:
        batch = next((event[name] for name in _BATCHES if type(event.get(name)) is list), None)
        if batch is None:
            yield event
        else:
            yield from (member for member in batch if type(member) is dict)

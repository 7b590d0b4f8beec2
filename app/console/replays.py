"""Replay and dismissal of events.

One page counts the events; two actions follow; a page shows a replay's progress.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field, ValidationError
from starlette.responses import Response

from app.admin import ErrorCode, Refusal, Scope
from app.admin.events.search import mapping_names
from app.admin.field_problems import field_problems
from app.admin.replays import dismiss_dead_letters, find_replay, list_replays, replay_events
from app.api.events.filters import Id
from app.console.events.lists import ConsoleFilter
from app.console.live_updates import streamed
from app.console.time_range import PARAMETER, RangeName
from app.console.visits import PAGE, CurrentDestination, DestinationVisit, Form, PageRouter, Paging
from app.console.wording import age
from app.domain.event_query import EventQuery
from app.domain.outcomes.status import Status

router = PageRouter()

_MOST_EVENTS = 200  # per selection


class ChosenEvents(ConsoleFilter):
    """The events to replay or dismiss. An empty selection accepts any event."""

    status: Literal["dead", "expired"] = "dead"  # type: ignore[assignment]
    range_name: RangeName | None = Field(default=None, alias=PARAMETER)
    events: Annotated[tuple[Id, ...], Field(alias="event", max_length=_MOST_EVENTS)] = ()

    @classmethod
    def of(cls, form: Form) -> "ChosenEvents":
        """Return the events that a form chose. Raises Refusal."""
        given: dict[str, Any] = {name: text for name in form if (text := form.text(name))}
        events = [value for value in form.getlist("event") if value]
        try:
            return cls.model_validate({**given, "event": events})
        except ValidationError as error:
            raise Refusal(ErrorCode.INVALID, None, *field_problems(error.errors())) from None

    def selected(self, now: datetime) -> EventQuery:
        """Return the filter of these events."""
        has_begin = self.range_name or self.day or self.since
        return self.query(
            status=Status(self.status),
            rejected=None,
            since=self.range(now).since if has_begin else None,
            event_ids=self.events or None,
        )


@router.get(PAGE + "/replay", Scope.REPLAY)
async def page(visit: CurrentDestination, chosen: Annotated[ChosenEvents, Query()]) -> Response:
    """Show what a replay and a dismissal of the events of a filter would do. Nothing is changed."""
    wanted = chosen.selected(visit.context.now())
    result = await replay_events(*visit.on, wanted.for_replay(), dry_run=True)
    dismissable = 0
    if chosen.status == "dead":
        dismissable = (await dismiss_dead_letters(*visit.on, wanted, dry_run=True)).matched
    names = await mapping_names(*visit.on)
    return await visit.show(
        "replay.html",
        chosen=chosen,
        chosen_mapping=names.get(chosen.mapping_id or "", chosen.mapping_id),
        result=result,
        dismissable=dismissable,
        duration="immediately" if result.seconds < 1 else f"in {age(result.seconds)}",
    )


@router.post(PAGE + "/replay/selection", Scope.REPLAY)
async def selection(visit: CurrentDestination, form: Form) -> Response:
    """Count the selected events. Nothing is changed."""
    chosen = ChosenEvents.of(form)
    if not chosen.events:
        raise Refusal(ErrorCode.INVALID, "Select at least one event with its checkbox.")
    return await page(visit, chosen)


@router.post(PAGE + "/replay", Scope.REPLAY)
async def action(visit: CurrentDestination, form: Form) -> Response:
    """Replay the events and open the page of the replay."""
    chosen = ChosenEvents.of(form)
    wanted = chosen.selected(visit.context.now()).for_replay()
    result = await replay_events(*visit.on, wanted, dry_run=False)
    return visit.done("replayed", f"{PAGE}/replays/{result.replay_id}", result.replayed)


@router.post(PAGE + "/dismiss", Scope.REPLAY)
async def dismiss(visit: CurrentDestination, form: Form) -> Response:
    """Dismiss the dead letters and show their number."""
    chosen = ChosenEvents.of(form)
    if chosen.status != "dead":
        raise Refusal(ErrorCode.INVALID, "Only events that failed permanently can be dismissed.")
    done = await dismiss_dead_letters(*visit.on, chosen.selected(visit.context.now()), dry_run=False)
    return visit.done("dismissed", PAGE + "/errors", done.dismissed)


@router.get(PAGE + "/replays", Scope.EVENTS_READ, Scope.REPLAY)
async def history(visit: CurrentDestination, paging: Paging) -> Response:
    """List the replays of a destination, newest first."""
    rows = await list_replays(*visit.on, limit=paging.most, below=paging.number)
    return await visit.show(
        "replays.html",
        **paging.listed(rows, lambda row: (row.number,)),
        names=await visit.names(row.requested_by for row in rows),
    )


@router.get(PAGE + "/replays/{replay_id}", Scope.EVENTS_READ, Scope.REPLAY)
async def replay_page(visit: CurrentDestination, replay_id: str) -> Response:
    """Show a replay and the current states of its events."""
    return await visit.show("replay_job.html", **await _content(visit, replay_id))


@router.get(PAGE + "/replays/{replay_id}/live", Scope.EVENTS_READ, Scope.REPLAY)
async def live(visit: CurrentDestination, replay_id: str) -> Response:
    """Stream the progress of a replay while the page is open, until no event waits."""
    await find_replay(*visit.on, replay_id)  # 404 for a replay that does not exist
    return streamed(visit, "replay_part.html", lambda current: _content(current, replay_id))


async def _content(visit: DestinationVisit, replay_id: str) -> dict[str, Any]:
    """Return the content of a replay's page. Raises Refusal (404)."""
    replay = await find_replay(*visit.on, replay_id)
    names = await visit.names([replay.requested_by])
    return {"replay": replay, "final": replay.waiting == 0, "names": names}

"""Replay and dismissal of events.

One page counts the events; two actions follow; a page shows a replay's progress.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.datastructures import FormData
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.dead_letters import dismiss_dead_letters
from app.admin.event_list import mapping_names
from app.admin.refusals import ErrorCode, Refusal
from app.admin.replay import replay_events
from app.admin.replay_progress import find_replay, list_replays
from app.api.access.secured_route import requires
from app.api.paging import Cursor, number_of, split_page
from app.console import confirmations, pages
from app.console.access.secured_page import (
    CurrentDestination,
    CurrentVisit,
    Form,
    SecuredPage,
    Visit,
    form_text,
)
from app.console.destinations.page import PAGE, content_of
from app.console.time_range import PARAMETER, RangeName, time_range
from app.console.wording import STATUSES, age, event_type_label, number, person
from app.domain.event_query import EventQuery
from app.domain.outcomes.status import Status
from app.store import audit
from app.store.destinations.destinations import Destination
from app.store.replays import ReplayProgress

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE_SIZE = 50
_MOST_EVENTS = 200  # per selection
_Word = Annotated[str, Query(max_length=64)]
_Id = Annotated[str, Query(max_length=256)]
ReplayableStatus = Literal["dead", "expired"]


@dataclass(frozen=True, slots=True)
class ChosenEvents:
    """The events to replay or dismiss, as query parameters. "" and an empty selection accept any event."""

    status: ReplayableStatus = "dead"
    reason: _Word = ""
    mapping: _Word = ""
    execution: _Id = ""
    journey: _Id = ""
    node: _Id = ""
    range_name: Annotated[RangeName | None, Query(alias=PARAMETER)] = None
    event_type: Annotated[str, Query(alias="type", max_length=64)] = ""
    cause: _Word = ""
    day: date | None = None
    dismissed: bool | None = None
    events: Annotated[tuple[Annotated[str, Field(max_length=256)], ...], Query(alias="event")] = ()

    @classmethod
    def of(cls, form: FormData) -> "ChosenEvents":
        """Return the events that a form chose. Raises Refusal (422)."""
        status, range_name = form_text(form, "status"), form_text(form, "range")
        if status not in ("dead", "expired"):
            raise Refusal(ErrorCode.INVALID, "Choose failed or expired events.")
        if range_name and range_name not in set(RangeName):
            raise Refusal(ErrorCode.INVALID, "Choose one of the listed time ranges.")
        events = [value for value in form.getlist("event") if isinstance(value, str) and value]
        if len(events) > _MOST_EVENTS:
            raise Refusal(ErrorCode.INVALID, f"Select at most {_MOST_EVENTS} events.")
        names = ("reason", "mapping", "execution", "journey", "node", "cause")
        return cls(
            cast(ReplayableStatus, status),
            **{name: form_text(form, name) for name in names},
            range_name=RangeName(range_name) if range_name else None,
            event_type=form_text(form, "type"),
            day=_day(form_text(form, "day")),
            dismissed={"true": True, "false": False}.get(form_text(form, "dismissed")),
            events=tuple(events),
        )

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The form fields that choose the same events."""
        named = (
            ("status", self.status), ("reason", self.reason), ("mapping", self.mapping),
            ("execution", self.execution), ("journey", self.journey), ("node", self.node),
            (PARAMETER, self.range_name), ("type", self.event_type), ("cause", self.cause),
            ("day", self.day.isoformat() if self.day else ""),
            ("dismissed", "" if self.dismissed is None else str(self.dismissed).lower()),
            *(("event", event) for event in self.events),
        )  # fmt: skip
        return [(name, value) for name, value in named if value]

    def query(self, now: datetime) -> EventQuery:
        """Return the filter of these events."""
        return EventQuery(
            status=Status(self.status),
            reason=self.reason or None,
            since=self._since(now),
            mapping_id=self.mapping or None,
            execution_id=self.execution or None,
            journey_id=self.journey or None,
            node_id=self.node or None,
            event_type=self.event_type or None,
            cause=self.cause or None,
            event_ids=self.events or None,
            dismissed=self.dismissed,
        )

    def _since(self, now: datetime) -> datetime | None:
        if self.day:
            return datetime.combine(self.day, time(), UTC)
        return time_range(self.range_name, now).since if self.range_name else None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise Refusal(ErrorCode.INVALID, "Choose a day.") from None


@router.get(PAGE + "/replay", response_model=None)
@requires(Scope.REPLAY)
async def page(
    visit: CurrentVisit, found: CurrentDestination, chosen: Annotated[ChosenEvents, Depends()]
) -> Response:
    """Count the events of a filter. Nothing is changed."""
    return await _counted(visit, found, chosen)


@router.post(PAGE + "/replay/selection", response_model=None)
@requires(Scope.REPLAY)
async def selection(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Count the selected events. Nothing is changed."""
    chosen = ChosenEvents.of(form)
    if not chosen.events:
        raise Refusal(ErrorCode.INVALID, "Select at least one event with its checkbox.")
    return await _counted(visit, found, chosen)


async def _counted(visit: Visit, found: Destination, chosen: ChosenEvents) -> Response:
    """Show what a replay and a dismissal of these events would do."""
    caller, wanted = visit.caller, chosen.query(visit.context.now())
    result = await replay_events(visit.context, caller, found.id, wanted.for_replay(), dry_run=True)
    dismissable = 0
    if chosen.status == "dead":
        dismissable, _ = await dismiss_dead_letters(visit.context, caller, found.id, wanted, dry_run=True)
    names = await mapping_names(visit.context, caller, found.id)
    return pages.show(
        visit.request,
        "replay.html",
        **content_of(visit, found, "events"),
        chosen=chosen,
        chosen_type=event_type_label(chosen.event_type),
        chosen_mapping=names.get(chosen.mapping, chosen.mapping),
        label=STATUSES[chosen.status].label,
        result=result,
        dismissable=dismissable,
        number=number,
        duration="immediately" if result.seconds < 1 else f"in {age(result.seconds)}",
    )


@router.post(PAGE + "/replay", response_model=None)
@requires(Scope.REPLAY)
async def action(visit: CurrentVisit, destination_id: str, form: Form) -> Response:
    """Replay the events and open the page of the replay."""
    chosen = ChosenEvents.of(form)
    wanted = chosen.query(visit.context.now()).for_replay()
    result = await replay_events(visit.context, visit.caller, destination_id, wanted, dry_run=False)
    address = f"/console/destinations/{destination_id}/replays/{result.replay_id}"
    return confirmations.redirect(visit.context, address, "replayed", result.replayed)


@router.post(PAGE + "/dismiss", response_model=None)
@requires(Scope.REPLAY)
async def dismiss(visit: CurrentVisit, destination_id: str, form: Form) -> Response:
    """Dismiss the dead letters and show their number."""
    chosen = ChosenEvents.of(form)
    if chosen.status != "dead":
        raise Refusal(ErrorCode.INVALID, "Only events that failed permanently can be dismissed.")
    wanted = chosen.query(visit.context.now())
    dismissed, _ = await dismiss_dead_letters(
        visit.context, visit.caller, destination_id, wanted, dry_run=False
    )
    address = f"/console/destinations/{destination_id}/errors"
    return confirmations.redirect(visit.context, address, "dismissed", dismissed)


@router.get(PAGE + "/replays", response_model=None)
@requires(Scope.EVENTS_READ, Scope.REPLAY)
async def history(visit: CurrentVisit, found: CurrentDestination, cursor: Cursor = None) -> Response:
    """List the replays of a destination, newest first."""
    rows = await list_replays(
        visit.context, visit.caller, found.id, limit=_PAGE_SIZE + 1, below=number_of(cursor)
    )
    items, next_cursor = split_page(rows, _PAGE_SIZE, lambda row: (row.number,))
    return pages.show(
        visit.request,
        "replays.html",
        **content_of(visit, found, "events"),
        items=[present(item) for item in items],
        names=await _names(visit.context, items),
        person=person,
        next_cursor=next_cursor,
        later=cursor is not None,
    )


@router.get(PAGE + "/replays/{replay_id}", response_model=None)
@requires(Scope.EVENTS_READ, Scope.REPLAY)
async def replay_page(visit: CurrentVisit, found: CurrentDestination, replay_id: str) -> Response:
    """Show a replay and the current states of its events."""
    return pages.show(visit.request, "replay_job.html", **await replay_content(visit, found, replay_id))


async def replay_content(visit: Visit, found: Destination, replay_id: str) -> dict[str, Any]:
    """Return the content of a replay's page. Raises Refusal (404)."""
    replay = await find_replay(visit.context, visit.caller, found.id, replay_id)
    names = await _names(visit.context, [replay])
    return {
        **content_of(visit, found, "events"),
        "replay": present(replay),
        "by": person(replay.requested_by, names),
        "statuses": STATUSES,
    }


async def _names(context: AppContext, items: Sequence[ReplayProgress]) -> dict[str, str]:
    async with context.engine.connect() as connection:
        return dict(await audit.names(connection, {item.requested_by for item in items}))


@dataclass(frozen=True, slots=True)
class ReplayJobView:
    """A replay. `parts` are (key, label, number, tone). `percent` is the share of events in a final state."""

    id: str
    requested_at: datetime
    requested_by: str
    status: str | None
    reason: str | None
    replayed: str
    unknown: str | None
    parts: Sequence[tuple[str, str, str, str]]
    percent: int
    is_final: bool
    failed: int


def present(replay: ReplayProgress) -> ReplayJobView:
    """Return the view of a replay."""
    final = replay.delivered + replay.dead + replay.expired + replay.erased
    counted = final + replay.waiting
    parts = (
        ("waiting", "Waiting", replay.waiting, "quiet"),
        ("delivered", "Delivered", replay.delivered, "good"),
        ("dead", "Failed again", replay.dead, "bad"),
        ("expired", "Expired", replay.expired, "bad"),
        ("erased", "Erased", replay.erased, "quiet"),
    )
    return ReplayJobView(
        id=replay.id,
        requested_at=replay.requested_at,
        requested_by=replay.requested_by,
        status=replay.selection.get("status"),
        reason=replay.selection.get("reason"),
        replayed=number(replay.replayed),
        unknown=number(replay.replayed - counted) if replay.replayed > counted else None,
        parts=[(key, label, number(count), tone if count else "none") for key, label, count, tone in parts],
        percent=100 if not counted else 100 * final // counted,
        is_final=replay.waiting == 0,
        failed=replay.dead + replay.expired,
    )

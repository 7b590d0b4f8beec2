"""Replay and dismissal: a page that counts the events, the buttons that confirm, and the replays with
progress.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.dead_letters import dismiss_dead_letters
from app.admin.destinations import find_visible
from app.admin.event_list import mapping_names
from app.admin.refusals import ErrorCode, Refusal
from app.admin.replay import replay_events
from app.admin.replay_progress import find_replay, list_replays
from app.admin.replay_selection import EventSelection
from app.api.paging import Cursor, cursor_of, number_of, split_page
from app.api.secured_route import Context, requires
from app.console import confirmations, pages
from app.console.destination import PAGE, content_of
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.console.sessions import Visitor
from app.console.time_range import RangeName, time_range
from app.console.wording import STATUSES, age, number, person
from app.domain.conversion.event_types import EVENT_TYPES
from app.store import audit
from app.store.destinations import Destination
from app.store.replays import ReplayFilter, ReplayProgress

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE_SIZE = 50
_MOST_EVENTS = 200  # per selection
_Id = Annotated[str, Query(max_length=256)]


@dataclass(frozen=True, slots=True)
class ChosenEvents:
    """The events to replay or dismiss. An empty text and an empty selection mean any."""

    status: str
    reason: str = ""
    mapping: str = ""
    execution: str = ""
    journey: str = ""
    node: str = ""
    range_name: str = ""
    event_type: str = ""
    cause: str = ""
    events: Sequence[str] = ()

    @classmethod
    def of(cls, form: FormData) -> "ChosenEvents":
        """Return what a form chose. Raises Refusal."""
        status, range_name = form_text(form, "status"), form_text(form, "range")
        if status not in ("dead", "expired"):
            raise Refusal(ErrorCode.INVALID, "Choose failed or expired events.")
        if range_name and range_name not in set(RangeName):
            raise Refusal(ErrorCode.INVALID, "Choose one of the listed time ranges.")
        events = [value for value in form.getlist("event") if isinstance(value, str) and value]
        if len(events) > _MOST_EVENTS:
            raise Refusal(ErrorCode.INVALID, f"Select at most {_MOST_EVENTS} events.")
        return cls(
            status,
            reason=form_text(form, "reason"),
            mapping=form_text(form, "mapping"),
            execution=form_text(form, "execution"),
            journey=form_text(form, "journey"),
            node=form_text(form, "node"),
            range_name=range_name,
            event_type=form_text(form, "type"),
            cause=form_text(form, "cause"),
            events=events,
        )

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Return form fields that repeat the choice."""
        named = (
            ("status", self.status), ("reason", self.reason), ("mapping", self.mapping),
            ("execution", self.execution), ("journey", self.journey), ("node", self.node),
            ("range", self.range_name), ("type", self.event_type), ("cause", self.cause),
            *(("event", event) for event in self.events),
        )  # fmt: skip
        return [(name, value) for name, value in named if value]

    def filter(self, now: datetime) -> ReplayFilter:
        """Return the status, reason, cause and time of the events."""
        since = time_range(RangeName(self.range_name), now).since if self.range_name else None
        return ReplayFilter(self.status, self.reason or None, since, cause=self.cause or None)

    @property
    def selection(self) -> EventSelection:
        """The ids of the events."""
        return EventSelection(
            list(self.events) or None,
            self.execution or None,
            self.mapping or None,
            self.journey or None,
            self.node or None,
            self.event_type or None,
        )


@router.get(PAGE + "/replay", response_model=None)
@requires(Scope.REPLAY)
async def page(
    *,
    request: Request,
    destination_id: str,
    context: Context,
    visitor: CurrentVisitor,
    status: Literal["dead", "expired"] = "dead",
    reason: Annotated[str, Query(max_length=64)] = "",
    mapping: Annotated[str, Query(max_length=64)] = "",
    execution: _Id = "",
    journey: _Id = "",
    node: _Id = "",
    event: _Id = "",
    type: Annotated[str, Query(max_length=64)] = "",
    cause: Annotated[str, Query(max_length=64)] = "",
    range_name: Annotated[RangeName | None, Query(alias="range")] = None,
) -> Response:
    """Count the events of a filter. Nothing is changed."""
    chosen = ChosenEvents(
        status,
        reason,
        mapping,
        execution,
        journey,
        node,
        range_name or "",
        type,
        cause,
        [event] if event else [],
    )
    return await _counted(request, destination_id, context, visitor, chosen)


@router.post(PAGE + "/replay/selection", response_model=None)
@requires(Scope.REPLAY)
async def selection(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Count the selected events. Nothing is changed."""
    chosen = ChosenEvents.of(form)
    if not chosen.events:
        raise Refusal(ErrorCode.INVALID, "Select at least one event with its checkbox.")
    return await _counted(request, destination_id, context, visitor, chosen)


async def _counted(
    request: Request, destination_id: str, context: AppContext, visitor: Visitor, chosen: ChosenEvents
) -> Response:
    """Show what a replay and a dismissal of these events would do."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    caller, wanted = visitor.caller, chosen.filter(context.now())
    result = await replay_events(
        context, caller, destination_id, wanted, selection=chosen.selection, dry_run=True
    )
    dismissable = 0
    if chosen.status == "dead":
        dismissable = await dismiss_dead_letters(
            context, caller, destination_id, wanted, selection=chosen.selection, dry_run=True
        )
    names = await mapping_names(context, caller, destination_id)
    return pages.show(
        request,
        "replay.html",
        **content_of(context, found, visitor, "events"),
        chosen=chosen,
        chosen_type=EVENT_TYPES[chosen.event_type].label if chosen.event_type in EVENT_TYPES else None,
        chosen_mapping=names.get(chosen.mapping, chosen.mapping),
        label=STATUSES[chosen.status].label,
        result=result,
        dismissable=dismissable,
        number=number,
        duration="immediately" if result.seconds < 1 else f"in {age(result.seconds)}",
    )


@router.post(PAGE + "/replay", response_model=None)
@requires(Scope.REPLAY)
async def action(destination_id: str, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Replay the events and open the page of the replay."""
    chosen = ChosenEvents.of(form)
    wanted = chosen.filter(context.now())
    result = await replay_events(context, visitor.caller, destination_id, wanted, selection=chosen.selection)
    address = f"/console/destinations/{destination_id}/replays/{result.replay_id}"
    return confirmations.redirect(context, address, "replayed", result.replayed)


@router.post(PAGE + "/dismiss", response_model=None)
@requires(Scope.REPLAY)
async def dismiss(destination_id: str, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Dismiss the dead letters and show their number."""
    chosen = ChosenEvents.of(form)
    if chosen.status != "dead":
        raise Refusal(ErrorCode.INVALID, "Only events that failed permanently can be dismissed.")
    dismissed = await dismiss_dead_letters(
        context,
        visitor.caller,
        destination_id,
        chosen.filter(context.now()),
        selection=chosen.selection,
    )
    address = f"/console/destinations/{destination_id}/errors"
    return confirmations.redirect(context, address, "dismissed", dismissed)


@router.get(PAGE + "/replays", response_model=None)
@requires(Scope.EVENTS_READ, Scope.REPLAY)
async def history(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, cursor: Cursor = None
) -> Response:
    """List the replays of a destination, newest first."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    rows = await list_replays(
        context, visitor.caller, destination_id, limit=_PAGE_SIZE + 1, below=number_of(cursor)
    )
    items, has_more = split_page(rows, _PAGE_SIZE)
    return pages.show(
        request,
        "replays.html",
        **content_of(context, found, visitor, "events"),
        items=[present(item) for item in items],
        names=await _names(context, items),
        person=person,
        next_cursor=cursor_of(items[-1].number) if has_more else None,
        later=cursor is not None,
    )


@router.get(PAGE + "/replays/{replay_id}", response_model=None)
@requires(Scope.EVENTS_READ, Scope.REPLAY)
async def replay_page(
    request: Request, destination_id: str, replay_id: str, context: Context, visitor: CurrentVisitor
) -> Response:
    """Show a replay and the current states of its events."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    return pages.show(request, "replay_job.html", **await replay_content(context, visitor, found, replay_id))


async def replay_content(
    context: AppContext, visitor: Visitor, found: Destination, replay_id: str
) -> dict[str, Any]:
    """Return the content of a replay's page. Raises Refusal (404)."""
    replay = await find_replay(context, visitor.caller, found.id, replay_id)
    names = await _names(context, [replay])
    return {
        **content_of(context, found, visitor, "events"),
        "replay": present(replay),
        "by": person(replay.requested_by, names),
        "statuses": STATUSES,
    }


async def _names(context: AppContext, items: Sequence[ReplayProgress]) -> dict[str, str]:
    async with context.engine.connect() as connection:
        return dict(await audit.names(connection, {item.requested_by for item in items}))


@dataclass(frozen=True, slots=True)
class ReplayJobView:
    """A replay. `parts` are (key, label, number, tone); `percent` is the share of final events."""

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
        status=replay.status,
        reason=replay.reason,
        replayed=number(replay.replayed),
        unknown=number(replay.replayed - counted) if replay.replayed > counted else None,
        parts=[(key, label, number(count), tone if count else "none") for key, label, count, tone in parts],
        percent=100 if not counted else 100 * final // counted,
        is_final=replay.waiting == 0,
        failed=replay.dead + replay.expired,
    )

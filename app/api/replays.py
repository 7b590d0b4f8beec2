"""Replay or dismiss failed events, and list the replays of a destination with their progress."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from app.admin.access import Scope
from app.admin.inputs import RequestBody
from app.admin.replays import progress
from app.admin.replays.dismissal import dismiss_dead_letters
from app.admin.replays.replay import replay_events
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.events.filters import EventFilter, Id, JourneyFilter
from app.api.http.response_body import ResponseBody
from app.api.paging import PAGE, Cursor, Limit, Page, number_of, split_page
from app.domain.outcomes.status import Status
from app.store import replays

router = APIRouter(route_class=SecuredRoute, tags=["events"])

_NOT_FOUND = "Ids of `event_ids` that no event of the destination has, at most 100."


class EventSelectionBody(EventFilter, RequestBody):
    """A selection of events. A member that is absent accepts any value."""

    event_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="Only these events."
    )
    dry_run: bool = Field(default=True, description="Count, and change nothing.")


class ReplayRequest(EventSelectionBody):
    """The events to replay."""

    status: Literal["dead", "expired"] | None = Field(
        default=None, examples=["dead"], description="Default: both."
    )
    include_dismissed: bool = Field(
        default=False,
        description="Also replay dismissed dead letters. Those in `event_ids` are always replayed.",
    )


class DeadLetterFilter(EventSelectionBody):
    """The dead letters to dismiss."""

    status: Literal["dead"] = "dead"


class ReplayView(ResponseBody):
    """The result of a replay or of its dry run. `matched = replayed + too_old + forgotten + remaining`."""

    dry_run: bool
    matched: int
    replayed: int
    too_old: int = Field(description="Events older than Amazon's age limit. They are unchanged.")
    forgotten: int = Field(description="Events whose data was deleted. They are unchanged.")
    remaining: int = Field(
        description="Events that this request did not reach. Repeat the request to replay them."
    )
    requests: int
    seconds: float = Field(description="The minimum time until the last event is sent.")
    replay_id: str | None = Field(description="The id of the replay in event histories; null for a dry run.")
    not_found: list[str] = Field(description=_NOT_FOUND)


@router.post("/destinations/{destination_id}/replay", summary="Replay dead or expired events")
@requires(Scope.REPLAY)
async def replay(
    destination_id: str, body: ReplayRequest, caller: CurrentCaller, context: Context
) -> ReplayView:
    """Send all matching dead or expired events again. Live events have priority. A dry run is the default.

    If the request reaches its time limit, `remaining` counts the events that are left: repeat the request.
    `seconds` is the minimum duration. `too_old` counts events that are too old for Amazon; `forgotten` counts
    events whose data was deleted. Both stay unchanged. A repeated request does not send an event twice.
    `replay_id` identifies the replay in event histories.
    """
    wanted = body.query(status=None if body.status is None else Status(body.status))
    result = await replay_events(
        context,
        caller,
        destination_id,
        wanted.for_replay(include_dismissed=body.include_dismissed),
        dry_run=body.dry_run,
    )
    return ReplayView.model_validate({"dry_run": body.dry_run, **asdict(result)})


class DismissalView(ResponseBody):
    """The number of dead letters that were dismissed. For a dry run, the number that would be dismissed."""

    dry_run: bool
    matched: int
    dismissed: int
    not_found: list[str] = Field(description=_NOT_FOUND)


@router.post("/destinations/{destination_id}/dead-letters/dismiss", summary="Dismiss dead letters")
@requires(Scope.REPLAY)
async def dismiss(
    destination_id: str, body: DeadLetterFilter, caller: CurrentCaller, context: Context
) -> DismissalView:
    """Mark dead letters as handled. Their status stays `dead`, but `dead_open` no longer counts them.

    A dry run is the default.
    """
    wanted = body.query(status=Status(body.status))
    matched, not_found = await dismiss_dead_letters(
        context, caller, destination_id, wanted, dry_run=body.dry_run
    )
    return DismissalView(dry_run=body.dry_run, matched=matched, dismissed=matched, not_found=list(not_found))


class SelectedIds(ResponseBody):
    """The event ids of a selection."""

    count: int
    sha256: str = Field(description="Of the sorted ids, joined by LF.")


class ReplayProgressView(JourneyFilter):
    """A replay with its selection, and the current states of its events."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    replay_id: str = Field(examples=["rpl_0a1b2c3d4e5f6a7b8c9d"])
    requested_at: datetime
    requested_by: str = Field(description="The id of the key that requested it.")
    status: str | None = Field(default=None, examples=["dead"], description="Null: dead and expired events.")
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    event_ids: SelectedIds | None = None
    mapping_id: str | None = None
    event_type: str | None = None
    cause: str | None = Field(
        default=None, description="The cause of a group on the console's page of failures."
    )
    include_dismissed: bool = Field(description="Whether dismissed dead letters were replayed too.")
    replayed: int
    waiting: int
    delivered: int
    dead: int
    expired: int
    erased: int

    @classmethod
    def of(cls, found: replays.ReplayProgress) -> "ReplayProgressView":
        """Return the view of a replay."""
        included = found.selection.get("dismissed") is not False
        figures = {**asdict(found), "replay_id": found.id, "include_dismissed": included}
        return cls.model_validate({**found.selection, **figures})


class ReplayPage(Page[ReplayProgressView]):
    """A page of replays, newest first."""


@router.get("/destinations/{destination_id}/replays", summary="List replays")
@requires(Scope.EVENTS_READ, Scope.REPLAY)
async def list_replays(
    destination_id: str, caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> ReplayPage:
    """List the replays of a destination with their progress, newest first."""
    rows = await progress.list_replays(
        context, caller, destination_id, limit=limit + 1, below=number_of(cursor)
    )
    items, next_cursor = split_page(rows, limit, lambda row: (row.number,))
    return ReplayPage(items=[ReplayProgressView.of(item) for item in items], next_cursor=next_cursor)


@router.get("/destinations/{destination_id}/replays/{replay_id}", summary="Read a replay")
@requires(Scope.EVENTS_READ, Scope.REPLAY)
async def read_replay(
    destination_id: str, replay_id: str, caller: CurrentCaller, context: Context
) -> ReplayProgressView:
    """Return a replay: who requested it, and the current states of its events."""
    return ReplayProgressView.of(await progress.find_replay(context, caller, destination_id, replay_id))

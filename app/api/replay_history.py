"""Dismiss dead letters, and list the replays of a destination with their progress."""

from dataclasses import asdict
from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from app.admin import replay_progress as use_cases
from app.admin.access import Scope
from app.admin.dead_letters import dismiss_dead_letters
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.paging import PAGE, Cursor, Limit, Page, number_of, split_page
from app.api.replay import NOT_FOUND, EventSelectionBody
from app.store import replays

_SELECTION = (
    "status", "reason", "since", "until", "event_ids", "execution_id", "journey_id", "node_id", "mapping_id",
    "event_type", "cause",
)  # fmt: skip

router = APIRouter(route_class=SecuredRoute, tags=["events"])


class DeadLetterFilter(EventSelectionBody):
    """A filter of dead letters. A member that is absent accepts any value."""

    status: Literal["dead"] = "dead"


class DismissalView(ResponseBody):
    """The number of dead letters that were dismissed. For a dry run, the number that would be dismissed."""

    dry_run: bool
    matched: int
    dismissed: int
    not_found: list[str] = Field(description=NOT_FOUND)


@router.post("/destinations/{destination_id}/dead-letters/dismiss", summary="Dismiss dead letters")
@requires(Scope.REPLAY)
async def dismiss(
    destination_id: str, body: DeadLetterFilter, caller: CurrentCaller, context: Context
) -> DismissalView:
    """Mark dead letters as handled. Their status stays `dead`, but `dead_open` no longer counts them.

    A dry run is the default.
    """
    matched, not_found = await dismiss_dead_letters(
        context,
        caller,
        destination_id,
        body.query(body.status),
        dry_run=body.dry_run,
    )
    return DismissalView(
        dry_run=body.dry_run,
        matched=matched,
        dismissed=matched,
        not_found=list(not_found),
    )


class SelectedIds(ResponseBody):
    """The event ids of a selection."""

    count: int
    sha256: str = Field(description="Of the sorted ids, joined by LF.")


class ReplayProgressView(ResponseBody):
    """A replay, and the current states of its events."""

    replay_id: str = Field(examples=["rpl_0a1b2c3d4e5f6a7b8c9d"])
    requested_at: datetime
    requested_by: str = Field(description="The id of the key that requested it.")
    status: str | None = Field(examples=["dead"], description="Null: dead and expired events.")
    reason: str | None
    since: datetime | None
    until: datetime | None
    event_ids: SelectedIds | None
    execution_id: str | None
    journey_id: str | None
    node_id: str | None
    mapping_id: str | None
    event_type: str | None
    cause: str | None = Field(description="The cause of a group on the console's page of failures.")
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
        selection = {name: found.selection.get(name) for name in _SELECTION}
        included = found.selection.get("dismissed") is not False
        figures = {**asdict(found), "replay_id": found.id, "include_dismissed": included}
        return cls.model_validate({**figures, **selection})


class ReplayPage(Page[ReplayProgressView]):
    """A page of replays, newest first."""


@router.get("/destinations/{destination_id}/replays", summary="List replays")
@requires(Scope.EVENTS_READ, Scope.REPLAY)
async def list_replays(
    destination_id: str, caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> ReplayPage:
    """List the replays of a destination with their progress, newest first."""
    rows = await use_cases.list_replays(
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
    return ReplayProgressView.of(await use_cases.find_replay(context, caller, destination_id, replay_id))

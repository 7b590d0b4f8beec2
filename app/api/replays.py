"""Replay or dismiss failed events, and list the replays of a destination with their progress."""

from typing import Annotated, Literal

from pydantic import Field

from app.admin import Scope
from app.admin import replays as use_cases
from app.admin.inputs import RequestBody
from app.api.access.secured_route import ONE, OnDestination, SecuredRouter
from app.api.events.filters import EventFilter, Id
from app.api.lists import Page, Paging
from app.domain.outcomes.status import Status
from app.store.replays import ReplayProgress

router = SecuredRouter("events")


class EventSelectionBody(EventFilter, RequestBody):
    """A selection of events. A member that is absent accepts any value."""

    event_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)] | None = None
    """Only these events."""
    dry_run: bool = True
    """Count, and change nothing."""


class ReplayRequest(EventSelectionBody):
    """The events to replay."""

    status: Literal["dead", "expired"] | None = Field(default=None, examples=["dead"])
    """Default: both."""
    include_dismissed: bool = False
    """Also replay dismissed dead letters. Those in `event_ids` are always replayed."""


class DeadLetterFilter(EventSelectionBody):
    """The dead letters to dismiss."""

    status: Literal["dead"] = "dead"


@router.post(ONE + "/replay", Scope.REPLAY, summary="Replay dead or expired events")
async def replay(on: OnDestination, body: ReplayRequest | None = None) -> use_cases.ReplayResult:
    """Send all matching dead or expired events again. Live events have priority. A dry run is the default.

    If the request reaches its time limit, `remaining` counts the events that are left: repeat the request.
    `seconds` is the minimum duration. `too_old` counts events that are too old for Amazon; `forgotten` counts
    events whose data was deleted. Both stay unchanged. A repeated request does not send an event twice.
    `replay_id` identifies the replay in event histories.
    """
    body = body or ReplayRequest()
    selected = body.query(status=None if body.status is None else Status(body.status))
    wanted = selected.for_replay(include_dismissed=body.include_dismissed)
    return await use_cases.replay_events(*on, wanted, dry_run=body.dry_run)


@router.post(ONE + "/dead-letters/dismiss", Scope.REPLAY, summary="Dismiss dead letters")
async def dismiss(on: OnDestination, body: DeadLetterFilter | None = None) -> use_cases.Dismissal:
    """Mark dead letters as handled. Their status stays `dead`, but `dead_open` no longer counts them.

    A dry run is the default.
    """
    body = body or DeadLetterFilter()
    wanted = body.query(status=Status(body.status))
    return await use_cases.dismiss_dead_letters(*on, wanted, dry_run=body.dry_run)


class ReplayPage(Page[ReplayProgress]):
    """A page of replays, newest first."""


@router.get(ONE + "/replays", Scope.EVENTS_READ, Scope.REPLAY, summary="List replays")
async def list_replays(on: OnDestination, paging: Paging) -> ReplayPage:
    """List the replays of a destination with their progress, newest first."""
    rows = await use_cases.list_replays(*on, limit=paging.most, below=paging.number)
    return ReplayPage(**paging.listed(rows, lambda row: (row.number,)))


@router.get(ONE + "/replays/{replay_id}", Scope.EVENTS_READ, Scope.REPLAY, summary="Read a replay")
async def read_replay(on: OnDestination, replay_id: str) -> ReplayProgress:
    """Return a replay: who requested it, and the current states of its events."""
    return await use_cases.find_replay(*on, replay_id)

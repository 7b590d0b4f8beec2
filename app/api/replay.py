"""Replay over HTTP: queue dead or expired events again. A dry run returns the counts and the duration."""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.inputs import Instant, ReasonName, RequestBody
from app.admin.replay import replay_events
from app.admin.replay_selection import EventSelection
from app.api.response_body import ResponseBody
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.store.replays import ReplayFilter

router = APIRouter(route_class=SecuredRoute, tags=["events"])


NOT_FOUND = "Ids of `event_ids` that no event of the destination has, at most 100."


class EventSelectionBody(RequestBody):
    """A filter of events. `since` and `until` limit the time at which events were accepted."""

    reason: ReasonName | None = Field(default=None, description="Only events with this reason.")
    since: Instant | None = None
    until: Instant | None = None
    event_ids: (
        Annotated[list[Annotated[str, Field(max_length=256)]], Field(min_length=1, max_length=1000)] | None
    ) = Field(default=None, description="Only these events.")
    execution_id: str | None = Field(
        default=None, max_length=256, description="Only events of this journey execution."
    )
    mapping_id: str | None = Field(default=None, max_length=64, description="Only events of this mapping.")
    dry_run: bool = Field(default=False, description="Count, and change nothing.")

    def filter(self, status: str) -> ReplayFilter:
        """Return the filter of events by status, time and reason."""
        return ReplayFilter(status, self.reason, self.since, self.until)

    def selection(self) -> EventSelection:
        """Return the filter of events by event id, execution id and mapping id."""
        return EventSelection(self.event_ids, self.execution_id, self.mapping_id)


class ReplayRequest(EventSelectionBody):
    """The events to replay."""

    status: Literal["dead", "expired"] = Field(examples=["dead"])


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
    not_found: list[str] = Field(description=NOT_FOUND)


@router.post("/destinations/{destination_id}/replay", summary="Replay dead or expired events")
@requires(Scope.REPLAY)
async def replay(
    destination_id: str, body: ReplayRequest, caller: CurrentCaller, context: Context
) -> ReplayView:
    """Send all matching dead or expired events again. Live events have priority.

    If the request reaches its time limit, `remaining` counts the events that are left: repeat the request.
    `seconds` is the minimum duration. `too_old` counts events that are too old for Amazon; `forgotten` counts
    events whose data was deleted. Both stay unchanged. A repeated request does not send an event twice.
    `replay_id` identifies the replay in event histories.
    """
    result = await replay_events(
        context,
        caller,
        destination_id,
        body.filter(body.status),
        selection=body.selection(),
        dry_run=body.dry_run,
    )
    return ReplayView.model_validate({"dry_run": body.dry_run, **asdict(result)})

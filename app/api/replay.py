"""Replay over HTTP: queue dead or expired events again. A dry run returns the counts and the duration."""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.inputs import Instant, ReasonName, RequestBody
from app.admin.replay import replay_events
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.domain.event_query import EventQuery
from app.domain.outcomes.status import Status

router = APIRouter(route_class=SecuredRoute, tags=["events"])


_Id = Annotated[str | None, Field(max_length=256)]
NOT_FOUND = "Ids of `event_ids` that no event of the destination has, at most 100."


class EventSelectionBody(RequestBody):
    """A filter of events. `since` and `until` limit the time at which events were accepted."""

    reason: ReasonName | None = Field(default=None, description="Only events with this reason.")
    since: Instant | None = None
    until: Instant | None = None
    event_ids: (
        Annotated[list[Annotated[str, Field(max_length=256)]], Field(min_length=1, max_length=1000)] | None
    ) = Field(default=None, description="Only these events.")
    execution_id: _Id = Field(default=None, description="Only events of this journey execution.")
    journey_id: _Id = Field(default=None, description="Only events of this journey.")
    node_id: _Id = Field(default=None, description="Only events of this journey node.")
    mapping_id: str | None = Field(default=None, max_length=64, description="Only events of this mapping.")
    dry_run: bool = Field(default=True, description="Count, and change nothing.")

    def query(self, status: str | None) -> EventQuery:
        """Return the filter of events with this status."""
        return EventQuery(
            status=None if status is None else Status(status),
            reason=self.reason,
            since=self.since,
            until=self.until,
            event_ids=self.event_ids,
            execution_id=self.execution_id,
            journey_id=self.journey_id,
            node_id=self.node_id,
            mapping_id=self.mapping_id,
        )


class ReplayRequest(EventSelectionBody):
    """The events to replay."""

    status: Literal["dead", "expired"] | None = Field(
        default=None, examples=["dead"], description="Default: both."
    )
    include_dismissed: bool = Field(
        default=False,
        description="Also replay dismissed dead letters. Those in `event_ids` are always replayed.",
    )


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
    """Send all matching dead or expired events again. Live events have priority. A dry run is the default.

    If the request reaches its time limit, `remaining` counts the events that are left: repeat the request.
    `seconds` is the minimum duration. `too_old` counts events that are too old for Amazon; `forgotten` counts
    events whose data was deleted. Both stay unchanged. A repeated request does not send an event twice.
    `replay_id` identifies the replay in event histories.
    """
    result = await replay_events(
        context,
        caller,
        destination_id,
        body.query(body.status).for_replay(include_dismissed=body.include_dismissed),
        dry_run=body.dry_run,
    )
    return ReplayView.model_validate({"dry_run": body.dry_run, **asdict(result)})

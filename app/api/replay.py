"""Replay over HTTP: queue dead or expired events again, after a dry run with counts and duration."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field as Described

from app.admin import replay as replaying
from app.admin.access import Scope
from app.admin.destinations import lock_visible
from app.admin.inputs import Instant, RequestBody
from app.admin.replay_selection import EventSelection, selected
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.store import audit, driver_of, replays

router = APIRouter(route_class=SecuredRoute, tags=["events"])

_LONGEST_S = 20.0
_WRITER = 0  # whose rows in the counts take what the API moves; replays are few


class Replay(RequestBody):
    """Which events to put back; times are those of acceptance."""

    status: Literal["dead", "expired"] = Described(examples=["dead"])
    reason: str | None = Described(default=None, max_length=64, description="Only events with this reason.")
    since: Instant | None = None
    until: Instant | None = None
    event_ids: (
        Annotated[list[Annotated[str, Described(max_length=256)]], Described(min_length=1, max_length=1000)]
        | None
    ) = Described(default=None, description="Only these events.")
    execution_id: str | None = Described(
        default=None, max_length=256, description="Only events of this journey execution."
    )
    mapping_id: str | None = Described(
        default=None, max_length=64, description="Only events of this mapping."
    )
    dry_run: bool = Described(default=False, description="Count, and change nothing.")

    @property
    def selection(self) -> EventSelection:
        """The events that are named one by one, or by what they belong to."""
        return EventSelection(self.event_ids, self.execution_id, self.mapping_id)


@router.post("/destinations/{destination_id}/replay", summary="Replay dead or expired events")
@requires(Scope.REPLAY)
async def replay(
    destination_id: str, body: Replay, caller: CurrentCaller, context: Context
) -> dict[str, Any]:
    """Send dead or expired events again, behind everything live: all that match, however many.

    Where a call has no time for all of them, `remaining` says how many are left; ask again for those.
    `seconds` is how long it will take at least. What Amazon would find too old (`too_old`) and what has no
    data any more (`forgotten`) stays as it is. Asking twice is asking once. `replay_id` names the replay in
    the history of each of its events.
    """
    wanted = replays.ReplayFilter(body.status, body.reason, body.since, body.until)
    until = context.monotonic() + _LONGEST_S
    first = done = await _round(destination_id, body, wanted, caller, context)
    replayed = done.replayed
    while not body.dry_run and done.remaining and done.replayed and context.monotonic() < until:
        # A transaction each: one over all of them would hold its locks against claims for minutes.
        done = await _round(destination_id, body, wanted, caller, context)
        replayed += done.replayed
    return {"dry_run": body.dry_run, **asdict(replaying.together(first, done, replayed))}


async def _round(
    destination_id: str, body: Replay, wanted: replays.ReplayFilter, caller: CurrentCaller, context: Context
) -> replaying.ReplayResult:
    """Replay as many as one transaction takes, and wake the workers."""
    async with context.engine.begin() as connection:
        found = await lock_visible(connection, caller, destination_id)
        # In the same transaction, on the driver's own connection: the destination is locked by now.
        driver = await driver_of(connection)
        wanted = await selected(driver, found.id, found.number, wanted, body.selection)
        done = await replaying.replay(
            driver,
            found.number,
            await replays.lane_of(driver, found.number),
            wanted,
            max_age=context.max_event_age,
            writer=_WRITER,
            by=caller.actor,
            dry_run=body.dry_run,
        )
        if not body.dry_run:
            await audit.record(
                connection,
                actor=caller.actor,
                action=audit.AuditAction.EVENTS_REPLAYED,
                subject=found.id,
                destination=found.id,
                after={
                    "replay_id": done.replay_id,
                    "status": body.status,
                    "reason": body.reason,
                    "replayed": done.replayed,
                    "matched": done.matched,
                },
            )
    if not body.dry_run:
        await context.wake(found.number)
    return done

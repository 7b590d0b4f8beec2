"""Use cases on destinations, shared by API, console and configuration files. Changes are audited.

Functions that take a connection run inside the caller's transaction, which must be rolled back after a
`Refusal`. Functions that take the context open their own transactions. Pause, disconnect and archive
commit the change first, so that no further request to Amazon starts. They return when no request is in
flight.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import Caller, ErrorCode, Refusal, copy_as, require_found, require_id, require_version
from app.admin.context import AppContext, Update
from app.domain.destination import State
from app.domain.ids import DestinationId
from app.store import PipelineConnection, callbacks
from app.store.audit import AuditAction
from app.store.database import partitions
from app.store.destinations import destinations, sign_ins
from app.store.destinations.destinations import Destination
from app.store.events import batches


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedDestination(Destination):
    """A destination after a delete."""

    discarded: Annotated[int, Field(description="The number of discarded events.")]


def _require_visible(caller: Caller, destination: str) -> None:
    """Raise Refusal (not found) unless the text is the id of a destination that the caller may see."""
    require_id("dst_", destination)
    if not caller.sees(destination):
        raise Refusal(ErrorCode.NOT_FOUND)


async def find_visible(connection: AsyncConnection, caller: Caller, destination: str) -> Destination:
    """Return a destination that the caller may see, archived or not. Raises Refusal (not found)."""
    _require_visible(caller, destination)
    return require_found(await destinations.find(connection, destination))


async def lock_visible(connection: AsyncConnection, caller: Caller, destination: str) -> Destination:
    """Lock a destination until the transaction ends and return it. Raises Refusal (not found, archived)."""
    _require_visible(caller, destination)
    found = require_found(await destinations.lock(connection, destination))
    if found.state is State.ARCHIVED:
        raise Refusal(ErrorCode.DESTINATION_ARCHIVED)
    return found


@asynccontextmanager
async def reading(
    context: AppContext, destination_id: str
) -> AsyncIterator[tuple[AsyncConnection, Destination]]:
    """Lend a connection, and the destination, archived or not. Raises Refusal (not found)."""
    async with context.engine.connect() as connection:
        yield connection, await find_visible(connection, context.caller, destination_id)


@asynccontextmanager
async def changing(context: AppContext, destination_id: str) -> AsyncIterator[tuple[Update, Destination]]:
    """Begin a transaction in which the destination is locked. Raises Refusal (not found, archived)."""
    async with context.transaction() as change:
        yield change, await lock_visible(change.connection, context.caller, destination_id)


async def find_visible_row(
    connection: PipelineConnection, caller: Caller, destination_id: str
) -> batches.DestinationRef:
    """Return the destination if the caller may see it. Raises Refusal (404)."""
    _require_visible(caller, destination_id)
    return require_found(await batches.destination(connection, DestinationId(destination_id)))


@asynccontextmanager
async def reading_row(
    context: AppContext, destination_id: str
) -> AsyncIterator[tuple[PipelineConnection, batches.DestinationRef]]:
    """Lend a connection of the pipeline, and the destination. Raises Refusal (404)."""
    async with context.pool.acquire() as connection:
        yield connection, await find_visible_row(connection, context.caller, destination_id)


async def destination_names(context: AppContext) -> dict[str, str]:
    """Return the names of the destinations that a caller may see, by id, in the order of the names."""
    async with context.engine.connect() as connection:
        found = await destinations.names(connection, only=context.caller.only)
    return dict(sorted(found, key=lambda pair: (pair[1], pair[0])))


_PUBLIC = TypeAdapter(Destination)


def audit_view(destination: Destination) -> dict[str, Any]:
    """Return the members of a destination that the audit records."""
    members = _PUBLIC.dump_python(destination, mode="json")
    return {name: value for name, value in members.items() if not name.endswith(("_at", "version"))}


async def set_status_callback(change: Update, destination: Destination, *, enabled: bool) -> None:
    """Enable or disable status callbacks. Idempotent. Disabling also drops pending callbacks."""
    if enabled:
        is_new = await callbacks.enable(change.driver, destination.number, by=change.by)
    else:
        is_new = await callbacks.disable(change.driver, destination.number)
    if is_new:
        old, new = ({"status_callback": each} for each in (not enabled, enabled))
        await change.record(AuditAction.DESTINATION_CALLBACK_CHANGED, destination.id, old, new)


async def read_status_callback(context: AppContext, destination_id: str) -> callbacks.CallbackStatus:
    """Return whether a destination sends callbacks, and how many are not acknowledged yet."""
    async with reading_row(context, destination_id) as (connection, found):
        return await callbacks.read_status(connection, found.number, configured=context.callback_configured)


async def switch_status_callback(
    context: AppContext, destination_id: str, *, enabled: bool
) -> callbacks.CallbackStatus:
    """Switch the callbacks for final states on or off. Switching off drops the callbacks that wait."""
    async with changing(context, destination_id) as (change, found):
        await set_status_callback(change, found, enabled=enabled)
    return await read_status_callback(context, destination_id)


async def pause_destination(context: AppContext, destination_id: str) -> Destination:
    """Stop sending; events are still accepted and wait. Return when no request is in flight."""
    paused = await _set_paused(context, destination_id, paused=True)
    await context.delivery_control.quiesce(paused.number)
    return paused


async def resume_destination(context: AppContext, destination_id: str) -> Destination:
    """Start sending again; the destination returns to its state before the pause."""
    resumed = await _set_paused(context, destination_id, paused=False)
    await context.wake(resumed)
    return resumed


async def _set_paused(context: AppContext, destination_id: str, *, paused: bool) -> Destination:
    async with changing(context, destination_id) as (change, before):
        if before.paused == paused:
            return before
        after = await destinations.set_paused(change.connection, before.id, paused)
        action = AuditAction.DESTINATION_PAUSED if paused else AuditAction.DESTINATION_RESUMED
        await change.record(action, before.id, audit_view(before), audit_view(after))
    return after


async def disconnect_destination(context: AppContext, destination_id: str) -> Destination:
    """Delete the Amazon tokens. The destination becomes `draft`, or `needs_reconnect` if events wait."""
    async with changing(context, destination_id) as (change, before):
        if before.sign_in == "none":
            return before
        # Set `broken` first, even if no event waits. An event that is accepted from now on must wait too.
        after = await destinations.set_sign_in(change.connection, before.id, "broken", "disconnected")
        await sign_ins.delete_tokens(change.connection, before.id)
        action = AuditAction.DESTINATION_DISCONNECTED
        await change.record(action, before.id, audit_view(before), audit_view(after))
    await context.delivery_control.quiesce(after.number)
    async with changing(context, destination_id) as (change, current):
        await partitions.hold_flushes(change.driver)
        is_disconnected = (current.sign_in, current.sign_in_reason) == ("broken", "disconnected")
        if is_disconnected and not await context.delivery_control.waiting(change.driver, current.number):
            return await destinations.set_sign_in(change.connection, current.id, "none")
    return current


async def archive_destination(
    context: AppContext, destination_id: str, *, discard: bool, expected: Collection[int] | None = None
) -> ArchivedDestination:
    """Archive a destination permanently; return it with the number of events that were discarded.

    Raises Refusal while events wait, unless `discard` is set: those events then become dead. A repeated call
    returns the same destination and finishes an interrupted discard, as workers do within an hour. Raises
    Refusal (412) if the version to archive is not in `expected`.
    """
    async with context.transaction() as change:
        connection = change.connection
        await find_visible(connection, context.caller, destination_id)
        before = await destinations.lock(connection, destination_id)
        assert before is not None
        await partitions.hold_flushes(change.driver)
        after = before
        if before.state is not State.ARCHIVED:
            require_version(before.version, expected)
            waiting = await context.delivery_control.waiting(change.driver, before.number)
            if waiting and not discard:
                raise Refusal(
                    ErrorCode.EVENTS_WAITING,
                    f"Accepted events of this destination wait: {waiting:,}. Let them be delivered, or "
                    "delete with discard=true, which makes them dead with reason discarded.",
                    waiting=waiting,
                )
            await sign_ins.delete_tokens(connection, before.id)
            after = await destinations.archive(connection, before.id)
            archived = {**audit_view(after), "discard": discard}
            await change.record(AuditAction.DESTINATION_ARCHIVED, before.id, audit_view(before), archived)
    await context.delivery_control.quiesce(after.number)
    discarded = 0
    while discard:
        async with context.transaction() as change:
            events = await context.delivery_control.discard(change.driver, after.number)
        context.delivery_control.count_discarded(events)
        discarded += events
        discard = events > 0
    return copy_as(ArchivedDestination, after, discarded=discarded)

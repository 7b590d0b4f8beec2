"""Acts on destinations and mappings, each with its row in the audit: the same for a route and for a file.

They run inside the caller's transaction, which holds what they change, and raise `Refusal` for what may not
be done; then nothing of the transaction may be committed.
"""

from dataclasses import asdict
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import publishing
from app.admin.access import Caller
from app.admin.ids import require_destination_id
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.destination import State
from app.domain.ids import DestinationId
from app.store import audit, callbacks, destinations, driver_of
from app.store.destinations import Destination, DestinationDraft


async def find_visible(connection: AsyncConnection, caller: Caller, destination: str) -> Destination:
    """Return a destination that the caller may know of, archived ones too. Raises Refusal (404)."""
    require_destination_id(destination)
    found = await destinations.find(connection, destination) if caller.sees(destination) else None
    if found is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    return found


async def lock_visible(connection: AsyncConnection, caller: Caller, destination: str) -> Destination:
    """Return a destination that may be changed until the transaction ends. Raises Refusal (404, 409)."""
    require_destination_id(destination)
    found = await destinations.lock(connection, destination) if caller.sees(destination) else None
    if found is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    if found.state is State.ARCHIVED:
        raise Refusal(ErrorCode.DESTINATION_ARCHIVED)
    return found


def public_view(destination: Destination) -> dict[str, Any]:
    """Return what a reader may know of a destination: never a token, never a row's inner number."""
    return {
        "id": destination.id,
        "name": destination.name,
        "advertiser_id": destination.advertiser_id,
        "region": destination.region.value,
        "currency": destination.currency,
        "identity_profile": destination.identity_profile,
        "dataset_name": destination.dataset_name,
        "rate_limit": asdict(destination.rate),
        "state": destination.state.value,
        "reason": destination.sign_in_reason,
        "connected": destination.sign_in == "valid",
        "published_mappings": destination.published_mappings,
        "version": destination.version,
        "created_at": destination.created_at,
        "updated_at": destination.updated_at,
        "archived_at": destination.archived_at,
    }


def audit_view(destination: Destination) -> dict[str, Any]:
    """Return what the audit keeps of a destination."""
    return {
        name: value
        for name, value in public_view(destination).items()
        if not name.endswith(("_at", "version"))
    }


def draft_of(destination: Destination) -> DestinationDraft:
    """Return what a caller said of a destination."""
    return DestinationDraft(
        name=destination.name,
        advertiser_id=destination.advertiser_id,
        region=destination.region,
        currency=destination.currency,
        identity_profile=destination.identity_profile,
        dataset_name=destination.dataset_name,
        rate=destination.rate,
    )


async def create_destination(
    connection: AsyncConnection, destination: DestinationId, draft: DestinationDraft, *, by: str
) -> Destination:
    """Make a draft of a destination under an id that nothing has yet."""
    made = await destinations.create(connection, destination, draft)
    await audit.record(
        connection,
        actor=by,
        action=audit.AuditAction.DESTINATION_CREATED,
        subject=made.id,
        destination=made.id,
        after=audit_view(made),
    )
    return made


async def change_destination(
    connection: AsyncConnection, before: Destination, draft: DestinationDraft, *, by: str
) -> Destination:
    """Let a destination be as the draft says; one that is so already is returned as it is.

    Raises Refusal when advertiser or region would change although they are fixed, or when a published
    mapping's name is not the one pinned for the new advertiser.
    """
    if draft == draft_of(before):
        return before
    if (draft.advertiser_id, draft.region) != (before.advertiser_id, before.region):
        if before.sign_in != "none" or await destinations.ever_accepted(connection, before.number):
            raise Refusal(ErrorCode.DESTINATION_FIXED, None, *_moved(before, draft))
        await publishing.pin_for_advertiser(connection, before.id, draft.advertiser_id)
    after = await destinations.change(connection, before.id, draft)
    await audit.record(
        connection,
        actor=by,
        action=audit.AuditAction.DESTINATION_CHANGED,
        subject=after.id,
        destination=after.id,
        before=audit_view(before),
        after=audit_view(after),
    )
    return after


async def set_status_callback(
    connection: AsyncConnection, destination: Destination, enabled: bool, *, by: str
) -> None:
    """Tell a destination's final states from now on, or no more, not even what is owed. Twice is once."""
    driver = await driver_of(connection)
    if enabled:
        is_new = await callbacks.enable(driver, destination.number, by=by)
    else:
        is_new = await callbacks.disable(driver, destination.number)
    if is_new:
        await audit.record(
            connection,
            actor=by,
            action=audit.AuditAction.DESTINATION_CALLBACK_CHANGED,
            subject=destination.id,
            destination=destination.id,
            before={"status_callback": not enabled},
            after={"status_callback": enabled},
        )


def _moved(before: Destination, draft: DestinationDraft) -> list[FieldProblem]:
    return [
        FieldProblem(name, "not_allowed")
        for name in ("advertiser_id", "region")
        if getattr(before, name) != getattr(draft, name)
    ]

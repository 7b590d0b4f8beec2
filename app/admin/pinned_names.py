"""Use cases of the list of pinned event names, and of the effect of a rename (R12)."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.admin import publishing
from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.event_names import require_all_visible
from app.admin.refusals import ErrorCode, Refusal
from app.store import destinations, event_names, mappings
from app.store.event_names import Pin
from app.store.mappings import StoredMapping


async def list_pinned_names(
    context: AppContext,
    caller: Caller,
    *,
    limit: int,
    after: tuple[str, str] | None = None,
    search: str | None = None,
) -> Sequence[Pin]:
    """Return up to `limit` pinned names of advertisers. The caller may see all destinations of these
    advertisers.
    """
    async with context.engine.connect() as connection:
        return await event_names.page(connection, limit=limit, after=after, search=search, only=caller.only)


@dataclass(frozen=True, slots=True)
class RenameImpact:
    """The effect of renaming an event type.

    `republished` mappings get a new version. `unchanged` ones read the type from the event and keep the old
    name. `destinations` are the names of their destinations by id.
    """

    pin: Pin
    republished: Sequence[StoredMapping]
    unchanged: Sequence[StoredMapping]
    destinations: dict[str, str]


async def preview_rename(
    context: AppContext, caller: Caller, advertiser_id: str, event_type: str
) -> RenameImpact:
    """Return the effect of a rename. Raises Refusal (403, 404)."""
    async with context.engine.connect() as connection:
        await require_all_visible(connection, caller, advertiser_id)
        pins = await event_names.of_advertiser(connection, advertiser_id)
        pin = next((each for each in pins if each.event_type == event_type), None)
        if pin is None:
            raise Refusal(ErrorCode.NOT_FOUND, "No name is pinned for this advertiser and event type.")
        ids = await destinations.ids_of_advertiser(connection, advertiser_id)
        names = dict(await destinations.names(connection, only=ids))
        published = await mappings.published_of(connection, ids)
    republished, unchanged = publishing.users_of_name(published, event_type, pin.name)
    return RenameImpact(pin, republished, unchanged, names)

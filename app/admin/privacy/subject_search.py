"""Count the stored events of a person. The search compares the same match key values as an erasure."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.admin import new_id
from app.admin.context import AppContext
from app.admin.privacy.erasure import require_unlimited, values_of
from app.crypto import Vault, open_batch
from app.domain.privacy.carried_key import carried_key
from app.store.audit import AuditAction
from app.store.database.damage import newest_batch
from app.store.privacy import erasures
from app.store.privacy.erasures import ReadableBatch

_BATCHES = 20  # of up to 500 events, decrypted in a thread
_SECONDS = 5.0  # of one request; the caller continues with the cursor
StoredStatus = Literal["waiting", "delivered", "dead"]
_STATUSES: Mapping[str | None, StoredStatus] = {
    None: "waiting",
    "sent": "delivered",
    "expired": "dead",
    "discarded": "dead",
    "retrying": "waiting",
    "delivered": "delivered",
    "dead": "dead",
}
# Where data may be that the search does not read, and why.
NOT_SEARCHED = (
    "Amazon, which stores the events that it accepted.",
    "Backups and write-ahead logs of the database.",
    "Batches whose data key was deleted. They are unreadable.",
)


@dataclass(slots=True)
class SubjectSearch:
    """The results of a search. The keys of `events` are destination and status.

    `cursor` is the id of the last batch that was searched. It is None if every batch was searched.
    """

    events: Counter[tuple[str, StoredStatus]] = field(default_factory=Counter)
    batches: int = 0
    unreadable: int = 0
    cursor: int | None = None


async def find_person(
    context: AppContext, identifiers: Mapping[str, str], *, after: int
) -> tuple[str, SubjectSearch]:
    """Search the batches with ids above `after` for a person, for some seconds. Raises Refusal (403, 422).

    Return the id of the search and its results, with the cursor None if no batch is left to search. The
    audit records the search and the kinds of identifiers, but not their values.
    """
    require_unlimited(context.caller)
    values = await asyncio.to_thread(values_of, identifiers)
    id_ = new_id("sub_")
    async with context.transaction() as change:
        await change.record(AuditAction.SUBJECT_SEARCHED, id_, after={"identifiers": sorted(identifiers)})
    result, until = SubjectSearch(), context.monotonic() + _SECONDS
    async with context.pool.acquire() as connection:
        last = await newest_batch(connection)
        while page := await erasures.next_batches(connection, after=after, last=last, limit=_BATCHES):
            after = page.to
            batches = await erasures.readable(connection, page.batches)
            result.batches += len(batches)
            result.unreadable += page.unreadable
            await asyncio.to_thread(_count, context.vault, batches, values, result)
            if context.monotonic() >= until:
                result.cursor = after
                break
    return id_, result


def _count(
    vault: Vault, batches: Sequence[ReadableBatch], values: frozenset[str], result: SubjectSearch
) -> None:
    for batch in batches:
        bodies = open_batch(batch.id, batch.data_key, batch.content, vault)
        if bodies is None:
            result.unreadable += 1
            continue
        for place, body in bodies.items():
            if carried_key(body, values) is not None:
                status = _STATUSES.get(batch.exceptions.get(place, batch.disposition), "waiting")
                result.events[batch.destination or "", status] += 1

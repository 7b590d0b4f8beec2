"""Use cases of the audit: list administrative actions, and verify that no entry was changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.context import AppContext
from app.domain.audit_chain import ChainBroken, ChainHead, is_unchanged, verify
from app.store import audit
from app.store.organisations.scope import EVERY

_ROWS: Final = 1_000
_ID: Final = "aud"


async def list_audit(
    context: AppContext, *, limit: int, below: int | None, wanted: audit.AuditFilter | None
) -> list[audit.AuditEntry]:
    """Return up to `limit` actions that the caller may see, newest first, with numbers below `below`."""
    async with context.engine.connect() as connection:
        entries = await audit.newest(
            connection,
            limit=limit,
            below=below,
            wanted=wanted,
            only=context.caller.only,
            id_of=partial(context.opaque.seal, kind=_ID),
        )
    if context.caller.is_platform:
        return entries
    return [replace(entry, sequence=None, prev_hash=None, hash=None) for entry in entries]


def number_of_entry(context: AppContext, entry: audit.AuditEntry) -> int:
    """Return the number of an entry's row."""
    return int(context.opaque.open(entry.id, kind=_ID))


async def changed_entries(context: AppContext, entries: Sequence[audit.AuditEntry]) -> frozenset[str]:
    """Return the ids of entries whose hash does not match their content."""
    numbers = {number_of_entry(context, entry): entry.id for entry in entries}
    async with context.engine.connect() as connection:
        links = await audit.links_of(connection, list(numbers))
    unchanged = {row.id for row in links if is_unchanged(row)}
    return frozenset(id_ for number, id_ in numbers.items() if number not in unchanged)


@dataclass(frozen=True, slots=True)
class ChainResult:
    """The result of verifying the chain. `is_known` is False if the expected hash is not in it."""

    chain: ChainHead | ChainBroken
    is_known: bool = True


async def verify_chain(context: AppContext) -> ChainResult:
    """Verify the complete chain, which all organisations share."""
    return await follow_chain(context.within(EVERY).engine)


async def follow_chain(engine: AsyncEngine, head: str | None = None) -> ChainResult:
    """Verify the complete chain, and search it for `head`, a hash that an earlier run printed."""
    known, found = head is None, ChainHead(0, bytes(32))
    async with engine.connect() as connection:
        # Read one snapshot. The next run verifies actions that commit during this run.
        await connection.execution_options(isolation_level="REPEATABLE READ")
        for unlinked in await audit.unlinked(connection):
            return ChainResult(verify([unlinked]), known)
        while links := await audit.chain(connection, after=found.rows, limit=_ROWS):
            known = known or any(row.hash is not None and row.hash.hex() == head for row in links)
            result = verify(links, found)
            if isinstance(result, ChainBroken):
                return ChainResult(result, known)
            found = result
    return ChainResult(found, known)

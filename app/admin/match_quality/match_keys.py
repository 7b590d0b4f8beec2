"""Use case: the match keys of recent events by mapping, and what another match key would add."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.context import AppContext
from app.admin.destinations import reading
from app.admin.mappings.schema import compiled_or_none
from app.admin.mappings.trials import rules_of
from app.domain.match_quality.match_keys import MatchQuality, match_quality
from app.store import mappings
from app.store.destinations import schema_samples
from app.store.destinations.destinations import Destination


async def read_match_quality(
    context: AppContext, destination_id: str, *, limit: int, after: int | None = None
) -> list[tuple[mappings.StoredMapping, MatchQuality | None]]:
    """Return up to `limit` mappings with numbers above `after`, oldest first, with their match quality.

    A mapping without a published version has none.
    """
    await context.intake.sampler.write()
    async with reading(context, destination_id) as (connection, destination):
        stored = await mappings.page(connection, destination.id, limit=limit, after=after)
        computations = [await _computation(context, connection, destination, each) for each in stored]
    return [
        (each, await context.compute(compute)) for each, compute in zip(stored, computations, strict=True)
    ]


async def _computation(
    context: AppContext, connection: AsyncConnection, destination: Destination, stored: mappings.StoredMapping
) -> Callable[[], MatchQuality | None]:
    """Read what the match quality of a mapping depends on, and return its computation."""
    document = stored.published or {}
    rules = await rules_of(connection, context, destination, stored)
    samples, now = await schema_samples.recent(connection, stored.id), context.now()

    def compute() -> MatchQuality | None:
        compiled = compiled_or_none(document)
        if compiled is None:
            return None
        return match_quality(samples.groups(), document, compiled, rules, now=now)

    return compute

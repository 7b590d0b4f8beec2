"""Compare a draft of a mapping with the published version over recent events."""

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.evaluation import EvaluationSettings, rules_of
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.observed.backtest import Backtest, backtest
from app.store import schema_samples
from app.store.destinations import Destination
from app.store.mappings import Document, StoredMapping


async def compare_draft(
    connection: AsyncConnection,
    standards: EvaluationSettings,
    destination: Destination,
    mapping: StoredMapping,
    draft: Mapping,
    *,
    limit: int = schema_samples.RING,
) -> Backtest:
    """Return what a draft would have done to the newest events of a published mapping."""
    assert mapping.published is not None
    published = compiled_or_none(mapping.published)
    rules = await rules_of(connection, standards, destination, mapping)
    if published is None:
        return Backtest()
    recent = await schema_samples.recent(connection, mapping.id, limit=limit)
    return backtest(recent, published, draft, rules, now=standards.now())


def compiled_or_none(document: Document) -> Mapping | None:
    """Return a document compiled, or None for one from before a stricter rule."""
    made = compile_mapping(dict(document))
    return made if isinstance(made, Mapping) else None


def summary(told: Backtest) -> str:
    """Say it in one sentence."""
    if not told.events:
        return "No event was seen yet that the draft could be tried against."
    parts = [f"{times:,} lose {key}" for key, times in told.lost.most_common()]
    parts += [f"{times:,} gain {key}" for key, times in told.gained.most_common()]
    parts += [
        f"{times:,} are newly rejected ({reason}{f', {field}' if field else ''})"
        for (reason, field), times in told.rejected.most_common()
    ]
    if told.unclear:
        parts.append(f"{told.unclear:,} cannot be judged by their form")
    return f"Of the last {told.events:,}: {', '.join(parts) or 'nothing changes'}."

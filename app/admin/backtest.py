"""Compare a draft of a mapping with the published version over recent events."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.evaluation import EvaluationSettings, rules_of
from app.admin.mapping_schema import compile_or_refuse
from app.admin.mappings import find_mapping
from app.admin.refusals import ErrorCode, Refusal
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.observed.backtest import Backtest, RejectionGroup, backtest
from app.store import schema_samples
from app.store.destinations import Destination
from app.store.mappings import Document, StoredMapping


async def backtest_draft(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    mapping_id: str,
    *,
    document: Document | None = None,
    limit: int = schema_samples.RING,
) -> tuple[int, Backtest]:
    """Compare a document, or the saved draft, with the published version over the newest events.

    Returns the published version and the result. Raises Refusal (422) when the draft is not publishable or
    nothing is published yet.
    """
    await context.write_schema_samples()
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await find_mapping(connection, destination, mapping_id)
        if document is None:
            draft = compile_or_refuse(mapping.draft)
        else:
            draft = compile_or_refuse(document, ErrorCode.INVALID, parent="mapping")
        if mapping.published_version is None:
            raise Refusal(
                ErrorCode.NOT_PUBLISHABLE,
                "No version is published yet, so there is nothing to compare the draft with.",
            )
        compare = await comparison(connection, context, destination, mapping, draft, limit=limit)
    return mapping.published_version, await context.compute(compare)


async def comparison(
    connection: AsyncConnection,
    settings: EvaluationSettings,
    destination: Destination,
    mapping: StoredMapping,
    draft: Mapping,
    *,
    limit: int = schema_samples.RING,
) -> Callable[[], Backtest]:
    """Return a function that computes how a draft would change the conversions of the newest events.

    The mapping is published. The function takes up to 0.5 s.
    """
    assert mapping.published is not None
    published = compiled_or_none(mapping.published)
    rules = await rules_of(connection, settings, destination, mapping)
    if published is None:
        return Backtest
    recent, now = await schema_samples.recent(connection, mapping.id, limit=limit), settings.now()
    return lambda: backtest(recent.counted(), published, draft, rules, now=now)


def needs_confirmation(draft: Document, result: Backtest) -> bool:
    """Return whether publishing the draft would reject events or lose match keys.

    Rejections because of a pinned event name do not count if the draft's event type is a constant. Publishing
    such a draft is refused anyway.
    """
    reasons = {group.reason for group in result.rejected}
    compiled = compiled_or_none(draft)
    if compiled is not None and compiled.constant_event_type is not None:
        reasons.discard("event_name_conflict")
    return bool(result.lost or reasons)


def compiled_or_none(document: Document) -> Mapping | None:
    """Return the compiled document, or None if the document is invalid."""
    compiled = compile_mapping(dict(document), is_published=True)
    return compiled if isinstance(compiled, Mapping) else None


def summary(result: Backtest) -> str:
    """Return the result as a sentence. It says "nothing changes" only if that is certain."""
    if not result.events:
        return "No recent events to test the draft on."
    parts = [
        *(_count(times, "loses", "lose") + key for key, times in result.lost.most_common()),
        *(_count(times, "gains", "gain") + key for key, times in result.gained.most_common()),
        *(
            _count(times, "sends", "send") + f"a different {name}"
            for name, times in result.changed.most_common()
        ),
        *(
            _count(times, "is", "are") + f"newly rejected ({_why(group)})"
            for group, times in result.rejected.most_common()
        ),
    ]
    if result.unclear:
        parts.append(f"{result.unclear:,} could not be tested")
    if result.uncertain:
        parts.append(f"{', '.join(result.uncertain)} may change, depending on the values")
    return f"Of the last {result.events:,}: {', '.join(parts) or 'nothing changes'}."


def _count(times: int, singular: str, plural: str) -> str:
    return f"{times:,} {singular if times == 1 else plural} "


def _why(group: RejectionGroup) -> str:
    return ", ".join(word for word in (group.reason, group.mapping_field) if word)

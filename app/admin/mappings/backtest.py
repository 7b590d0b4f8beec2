"""Compare a draft of a mapping with the published version over recent events."""

from collections.abc import Callable
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.context import AppContext
from app.admin.destinations import reading
from app.admin.mappings.drafts import compile_draft, find_mapping, require_published
from app.admin.mappings.evaluation import EvaluationSettings, rules_of
from app.domain.event import EventProblem
from app.domain.mapping.document import Mapping, compile_mapping
from app.domain.observed.backtest import Backtest, backtest
from app.domain.observed.fingerprints import fingerprint, fingerprint_key
from app.store import mappings
from app.store.destinations import schema_samples
from app.store.destinations.destinations import Destination
from app.store.mappings import Document, StoredMapping

_VERSIONS: Final = 5  # whose samples are judged by what these versions did with the events


async def backtest_draft(
    context: AppContext,
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
    async with reading(context, destination_id) as (connection, destination):
        mapping = await find_mapping(connection, destination, mapping_id)
        draft = compile_draft(mapping, document)
        published = require_published(mapping)
        compare = await comparison(connection, context, destination, mapping, draft, limit=limit)
    return published, await context.compute(compare)


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
    samples, now = await schema_samples.recent(connection, mapping.id, limit=limit), settings.now()
    versions = await mappings.versions(connection, mapping.id, limit=_VERSIONS)
    key = fingerprint_key(settings.pepper, destination.number)
    return lambda: backtest(
        samples.groups(),
        published,
        draft,
        rules,
        fingerprint=partial(fingerprint, key=key),
        now=now,
        older={each.version: compiled for each in versions if (compiled := compiled_or_none(each.document))},
        complete=limit >= schema_samples.RING,
    )


def needs_confirmation(draft: Document, result: Backtest) -> bool:
    """Return whether publishing the draft would reject events or lose match keys.

    Rejections because of a pinned event name do not count if the draft's event type is a constant. Publishing
    such a draft is refused anyway.
    """
    reasons = {group.reason for group in result.rejected}
    compiled = compiled_or_none(draft)
    if compiled is not None and compiled.constant_event_type is not None:
        reasons.discard("event_name_conflict")
    return bool(result.lost or reasons or result.repeated_event_ids)


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
    if result.newly_accepted:
        parts.append(_count(result.newly_accepted, "is", "are") + "newly accepted")
    if result.repeated_event_ids:
        repeats = _count(result.repeated_event_ids, "repeats", "repeat")
        parts.append(f"{repeats}an event id and would be rejected")
    text = f"Of the last {result.events:,}: {', '.join(parts) or 'nothing changes'}."
    if not result.unclear:
        return text
    unclear = ", ".join(f"{times:,} {_why(group)}" for group, times in result.unclear.most_common())
    certain = text if parts else f"Of the last {result.events:,}: no change is certain."
    return f"{certain} Unclear, because the samples hold no texts: {unclear}."


def _count(times: int, singular: str, plural: str) -> str:
    return f"{times:,} {singular if times == 1 else plural} "


def _why(group: EventProblem) -> str:
    return ", ".join(word for word in (group.reason, group.mapping_field) if word)

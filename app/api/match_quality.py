"""Routes of match quality: what reconciles the events sent with what Amazon counts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated

from fastapi import Query

from app.admin import Scope
from app.admin.inputs import DayRange
from app.admin.match_quality import dedupe, marked_conversions, match_keys, reconciliation, shadow
from app.admin.privacy.hash_value import ExplainHashRequest, explain_hash
from app.api.access.secured_route import ONE, OnDestination, OnMapping, SecuredRouter
from app.api.http.responses import ResponseBody
from app.api.lists import Page, Paging
from app.api.mappings import MAPPING
from app.domain.match_quality.dedupe import DedupeFinding
from app.domain.match_quality.foreign_hash import HashExplanation
from app.domain.match_quality.match_keys import FORMULA, KeyCoverage, MatchQuality, WhatIf
from app.domain.match_quality.reconciliation import ReconciledDay
from app.store.mappings import StoredMapping

router = SecuredRouter("match quality")
identity_router = SecuredRouter("identity")


class MappingQualityView(ResponseBody):
    """How well the newest events of a mapping identify people. It is no match rate: Amazon reports none."""

    mapping_id: str
    mapping_name: str
    prehashed: str
    """What the mapping says of match keys that come hashed."""
    events: int
    """The number of sampled events, at most 1,000."""
    coverage: Mapping[str, KeyCoverage]
    doubtful_keys: Sequence[str]
    """Keys that came hashed in more than half of the events, by a rule that is not declared."""
    sendable_share: float
    """The share of the events with at least one match key."""
    score: float
    """Sendable identity, 0 to 10."""
    formula: str
    what_if: Sequence[WhatIf]


class MatchQualityPage(Page[MappingQualityView]):
    """A page of the published mappings of a destination."""


def _view(mapping: StoredMapping, quality: MatchQuality) -> MappingQualityView:
    document = mapping.published or {}
    return MappingQualityView(
        mapping_id=mapping.id,
        mapping_name=mapping.name,
        prehashed=document.get("prehashed") or "unknown",
        formula=FORMULA,
        **asdict(quality),
    )


@router.get(ONE + "/match-quality", Scope.DESTINATIONS_READ, summary="Read the match quality")
async def read_quality(on: OnDestination, paging: Paging) -> MatchQualityPage:
    """Return, for each published mapping, which match keys its newest events carry, and what is missing.

    `what_if` lists paths of the events that look like a match key and would add one. The numbers come from
    samples of accepted and rejected events, which hold no values.
    """
    found = await match_keys.read_match_quality(*on, limit=paging.most, after=paging.number)
    page = paging.listed(found, lambda row: (row[0].number,))
    page["items"] = [_view(mapping, quality) for mapping, quality in page["items"] if quality is not None]
    return MatchQualityPage(**page)


DEDUPE = ONE + "/dedupe"


class DedupeView(ResponseBody):
    """The faults of a destination's event ids."""

    findings: list[DedupeFinding]


@router.get(DEDUPE, Scope.DESTINATIONS_READ, summary="Check the event ids")
async def read_dedupe(on: OnDestination) -> DedupeView:
    """Find event ids by which Amazon counts too few or too many events, with the remedy of each fault."""
    return DedupeView(findings=await dedupe.read_findings(*on))


@router.post(DEDUPE + "/compare", Scope.EVENTS_READ, summary="Compare event ids")
async def compare_event_ids(on: OnDestination, body: dedupe.CompareIdsRequest) -> dedupe.IdComparison:
    """Compare the event ids of Amazon's tag with Amazon's eventIds of the events accepted here.

    The time range is that of the acceptance, by default the last seven days. Nothing of the body is stored.
    """
    return await dedupe.compare_ids(*on, body)


RECONCILIATION = ONE + "/reconciliation"


class ReconciledDayView(ResponseBody):
    """The conversions of one kind on one UTC day, by the events' own times, as in AMC."""

    day: date
    event_name: str | None
    event_type: str | None
    event_source: str | None
    """Null for rejected events whose source differs per event."""
    dataset_name: str | None
    accepted: int
    """Events that this service accepted."""
    sent: int
    """Events that were in a request to Amazon."""
    amazon_accepted: int
    """Conversions that Amazon listed under `success`."""
    amazon_refused: int
    repeated_ids: int
    """Not accepted: an earlier event had the id. By day of receipt."""
    without_consent: int
    """Not accepted, because consent lacks. By day of receipt."""
    rejected: int
    """Not accepted for another reason. By day of receipt."""
    waiting: int

    @classmethod
    def of(cls, row: ReconciledDay) -> "ReconciledDayView":
        """Return a row as the API shows it."""
        return cls(day=row.day, **asdict(row.kind), **asdict(row.counts))


class ReconciliationPage(Page[ReconciledDayView]):
    """A page of the reconciliation, newest day first."""

    amc_sql: str
    """The query for Amazon Marketing Cloud that counts the same events."""
    complete: bool
    """False if not all stored events could be counted in 20 seconds."""


class GapView(ResponseBody):
    """The difference between what Amazon accepted and what it shows."""

    gap: int
    """Accepted by Amazon minus shown; negative if it shows more."""
    sentence: str
    stable_at: datetime
    """When Amazon's numbers for the day should no longer change."""


@router.get(RECONCILIATION, Scope.DESTINATIONS_READ, summary="Read the reconciliation")
async def read_days(
    on: OnDestination, days: Annotated[DayRange, Query()], paging: Paging
) -> ReconciliationPage:
    """Count what Amazon should show: conversions by UTC day, event name, type, source and data set.

    By default, these are the last seven days. At most 31 are counted.
    `amc_sql` asks Amazon for its own numbers of the same events. Amazon's campaign reports count attributed
    conversions and never equal these.
    """
    found = await reconciliation.read_reconciliation(*on, days.first, days.last)
    return paging.part(
        ReconciliationPage, found.items, ReconciledDayView.of, amc_sql=found.amc_sql, complete=found.complete
    )


@router.post(RECONCILIATION + "/explain", Scope.EVENTS_READ, summary="Explain a gap")
async def explain_day(on: OnDestination, body: reconciliation.ExplainGapRequest) -> GapView:
    """Explain the number that Amazon shows for an event name on a UTC day, in one paragraph."""
    return GapView.model_validate(await reconciliation.explain_reconciliation(*on, body))


SHADOW = MAPPING + "/shadow"


@router.post(SHADOW, Scope.DESTINATIONS_WRITE, summary="Start a shadow")
async def begin(on: OnMapping, body: shadow.ShadowRequest) -> shadow.ShadowView:
    """Convert a share of the live events with the draft, beside the published version, and send nothing.

    The draft is copied: later edits change nothing. A destination has one shadow, so that another one ends.
    """
    return await shadow.start_shadow(*on, body)


@router.get(SHADOW, Scope.DESTINATIONS_READ, summary="Read a shadow")
async def read_results(on: OnMapping) -> shadow.ShadowView:
    """Return the results of the mapping's last shadow."""
    return await shadow.read_shadow(*on)


@router.delete(SHADOW, Scope.DESTINATIONS_WRITE, summary="End a shadow")
async def stop(on: OnMapping) -> shadow.ShadowView:
    """End the shadow. Its results stay until the next one starts."""
    return await shadow.end_shadow(*on)


@router.post(ONE + "/test-conversions", Scope.DESTINATIONS_WRITE, summary="Send test conversions")
async def send_marked(
    on: OnDestination, body: marked_conversions.TestConversionsRequest
) -> marked_conversions.TestConversionsView:
    """Send one to three marked conversions with invented identities to a data set of their own.

    Amazon has no test mode: a definition of this event name appears in Events manager. Real events, pins,
    counts and lanes are not touched.
    """
    return await marked_conversions.send_test_conversions(*on, body)


@identity_router.post("/identity/explain-hash", Scope.DESTINATIONS_READ, summary="Explain a foreign hash")
async def explain_foreign_hash(body: ExplainHashRequest) -> HashExplanation:
    """Name the rule by which another system made `hash` from `value`, and what Amazon needs instead.

    `rules` are all rules that give this hash, in a fixed order; `rule` is the first of them, or null. The
    value is tried under twelve rules and compared with nothing that is stored.
    """
    return explain_hash(body)

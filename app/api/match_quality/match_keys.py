"""The match keys of recent events over HTTP."""

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.match_quality.match_keys import MappingQuality, read_match_quality
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.paging import PAGE, Cursor, Limit, Page, number_of, split_page
from app.domain.match_quality.match_keys import FORMULA, MatchQuality

router = APIRouter(route_class=SecuredRoute, tags=["match quality"])


class KeyCoverageView(ResponseBody):
    """The events that carry a match key, by where it was hashed."""

    hashed_here: int
    came_hashed: int = Field(description="Events whose value was a SHA-256 digest already.")
    unhashed: int = Field(description="Events with a key that Amazon takes unhashed, such as a MAID.")
    changed: int = Field(description="Values that lost characters when they were normalised, such as `ü`.")


class WhatIfView(ResponseBody):
    """What mapping another path would add to a match key."""

    field: str
    path: str
    source: dict[str, object] = Field(description="The source to map, with the pipe that it needs.")
    events_gained: int = Field(description="Events that would gain the match key.")
    share_gained: float
    sendable_gained: int = Field(description="Of these, events that have no match key at all today.")


class MappingQualityView(ResponseBody):
    """How well the newest events of a mapping identify people. It is no match rate: Amazon reports none."""

    mapping_id: str
    mapping_name: str
    prehashed: str = Field(description="What the mapping says of match keys that come hashed.")
    events: int = Field(description="The number of sampled events, at most 1,000.")
    coverage: dict[str, KeyCoverageView]
    doubtful_keys: list[str] = Field(
        description="Keys that came hashed in more than half of the events, by a rule that is not declared."
    )
    sendable_share: float = Field(description="The share of the events with at least one match key.")
    score: float = Field(description="Sendable identity, 0 to 10.")
    formula: str
    what_if: list[WhatIfView]


class MatchQualityPage(Page[MappingQualityView]):
    """A page of the published mappings of a destination."""


def _view(found: MappingQuality, quality: MatchQuality) -> MappingQualityView:
    document = found.mapping.published or {}
    return MappingQualityView(
        mapping_id=found.mapping.id,
        mapping_name=found.mapping.name,
        prehashed=document.get("prehashed") or "unknown",
        events=quality.events,
        coverage={key: KeyCoverageView.model_validate(each) for key, each in quality.coverage.items()},
        doubtful_keys=list(quality.doubtful),
        sendable_share=quality.sendable_share,
        score=quality.score,
        formula=FORMULA,
        what_if=[WhatIfView.model_validate(row) for row in quality.what_if],
    )


@router.get("/destinations/{destination_id}/match-quality", summary="Read the match quality")
@requires(Scope.DESTINATIONS_READ)
async def read(
    destination_id: str, caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> MatchQualityPage:
    """Return, for each published mapping, which match keys its newest events carry, and what is missing.

    `what_if` lists paths of the events that look like a match key and would add one. The numbers come from
    samples of accepted and rejected events, which hold no values.
    """
    found = await read_match_quality(
        context, caller, destination_id, limit=limit + 1, after=number_of(context, cursor)
    )
    items, next_cursor = split_page(context, found, limit, lambda each: (each.mapping.number,))
    return MatchQualityPage(
        items=[_view(each, each.quality) for each in items if each.quality is not None],
        next_cursor=next_cursor,
    )

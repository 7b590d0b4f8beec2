"""Faults of event ids over HTTP, and the comparison with the ids of Amazon's tag."""

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.match_quality.dedupe import compare_ids, read_findings
from app.admin.match_quality.inputs import CompareIdsRequest
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.domain.match_quality.dedupe import FindingKind, IdDifference

router = APIRouter(route_class=SecuredRoute, tags=["match quality"])

DEDUPE = "/destinations/{destination_id}/dedupe"


class DedupeFindingView(ResponseBody):
    """A fault of the event ids of a mapping."""

    kind: FindingKind
    mapping_id: str
    events: int = Field(description="The number of events that it concerns: of the samples, or of 7 days.")
    path: str | None
    sentence: str
    remedy: str


class DedupeView(ResponseBody):
    """The faults of a destination's event ids."""

    findings: list[DedupeFindingView]


class DifferenceCount(ResponseBody):
    """Why ids of the tag differ from ids that are meant to be the same."""

    kind: IdDifference
    count: int


class IdComparisonView(ResponseBody):
    """How the ids of the tag relate to those of this service."""

    matched: int
    only_here: int
    only_there: int
    reasons: list[DifferenceCount]
    readable: int = Field(description="The events whose ids could still be read to find the reasons.")


@router.get(DEDUPE, summary="Check the event ids")
@requires(Scope.DESTINATIONS_READ)
async def read(destination_id: str, caller: CurrentCaller, context: Context) -> DedupeView:
    """Find event ids by which Amazon counts too few or too many events, with the remedy of each fault."""
    found = await read_findings(context, caller, destination_id)
    return DedupeView(findings=[DedupeFindingView.model_validate(each) for each in found])


@router.post(DEDUPE + "/compare", summary="Compare event ids")
@requires(Scope.EVENTS_READ)
async def compare(
    destination_id: str, caller: CurrentCaller, context: Context, body: CompareIdsRequest
) -> IdComparisonView:
    """Compare the event ids of Amazon's tag with Amazon's eventIds of the events accepted here.

    The time range is that of the acceptance, by default the last seven days. Nothing of the body is stored.
    """
    found = await compare_ids(context, caller, destination_id, body.ids, body.since, body.until)
    return IdComparisonView(
        matched=found.matched,
        only_here=found.only_here,
        only_there=found.only_there,
        reasons=[DifferenceCount(kind=kind, count=count) for kind, count in sorted(found.reasons.items())],
        readable=found.readable,
    )

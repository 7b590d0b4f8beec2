"""Marked test conversions over HTTP, sent only when a person asks for them."""

from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.match_quality.inputs import TestConversionsRequest
from app.admin.match_quality.marked_conversions import send_test_conversions
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody

router = APIRouter(route_class=SecuredRoute, tags=["match quality"])


class TestItemView(ResponseBody):
    """Amazon's answer for one conversion."""

    index: int
    event_id: str = Field(description="The Amazon eventId of the conversion.")
    status: Literal["accepted", "refused", "unknown"]
    code: str | None
    message: str | None


class TestConversionsView(ResponseBody):
    """Amazon's answer to a request with marked conversions."""

    outcome: str = Field(description="As in attempts: `answered`, `throttled`, `unauthorized`, …")
    http_status: int | None
    request_id: str | None
    dataset_name: str
    event_name: str
    items: list[TestItemView] = Field(description="Empty if Amazon refused the request as a whole.")


@router.post("/destinations/{destination_id}/test-conversions", summary="Send test conversions")
@requires(Scope.DESTINATIONS_WRITE)
async def send(
    destination_id: str, caller: CurrentCaller, context: Context, body: TestConversionsRequest
) -> TestConversionsView:
    """Send one to three marked conversions with invented identities to a data set of their own.

    Amazon has no test mode: a definition of this event name appears in Events manager. Real events, pins,
    counts and lanes are not touched.
    """
    found = await send_test_conversions(context, caller, destination_id, body)
    return TestConversionsView.model_validate(found)

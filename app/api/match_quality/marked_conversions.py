"""Marked test conversions over HTTP, sent only when a person asks for them."""

from fastapi import APIRouter

from app.admin.access import Scope
from app.admin.match_quality.inputs import TestConversionsRequest
from app.admin.match_quality.marked_conversions import TestConversionsView, send_test_conversions
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires

router = APIRouter(route_class=SecuredRoute, tags=["match quality"])


@router.post("/destinations/{destination_id}/test-conversions", summary="Send test conversions")
@requires(Scope.DESTINATIONS_WRITE)
async def send(
    destination_id: str, caller: CurrentCaller, context: Context, body: TestConversionsRequest
) -> TestConversionsView:
    """Send one to three marked conversions with invented identities to a data set of their own.

    Amazon has no test mode: a definition of this event name appears in Events manager. Real events, pins,
    counts and lanes are not touched.
    """
    return await send_test_conversions(context, caller, destination_id, body)

"""Activate page (R13): settings for the journey's node, and a test event."""

import json
from collections.abc import Sequence
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from app.admin.access import Scope
from app.admin.access.keys import create_key, list_keys
from app.admin.inputs import NewKey
from app.admin.mappings.drafts import list_mappings
from app.admin.mappings.sample_event import send_sample_event
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.api.paging import MOST
from app.console import confirmations, pages
from app.console.access.secured_page import (
    CurrentDestination,
    CurrentVisit,
    Form,
    SecuredPage,
    Visit,
    form_text,
)
from app.console.destinations.activate_view import RESPONSES, body_forms
from app.console.destinations.page import PAGE, content_of, sign_in_origin
from app.domain import strict_json
from app.domain.mapping.example import example_event
from app.store.access.keys import ApiKey
from app.store.destinations.destinations import Destination

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

MAX_KEY_NAME = 200
# The optional journey object. All events of an execution can be found by its `execution_id`.
JOURNEY = {"id": "cart-reminder", "node_id": "send-to-amazon", "execution_id": "run-1"}


@router.get(PAGE + "/activate", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Show address, key and payload for the Send to Destinations node."""
    return await _page(visit, found, None)


@router.post(PAGE + "/journey-key", response_model=None)
@requires(Scope.KEYS_ADMIN)
async def create_journey_key(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Create a key that only sends events to this destination, and show its secret in this response only."""
    body = NewKey(
        name=f"Journey: {found.name}"[:MAX_KEY_NAME],
        scopes=[Scope.EVENTS_WRITE],
        destination_ids=[found.id],
    )
    _, secret = await create_key(visit.context, visit.caller, body)
    return await _page(visit, found, secret)


async def show_after_publish(visit: Visit, found: Destination, sample: str) -> Response:
    """Show the page after the first publish, with the event for which the mapping was made as test event.

    Nothing of the event is stored: it is only in this response.
    """
    return await _page(visit, found, None, sample=sample)


async def _page(visit: Visit, found: Destination, secret: str | None, *, sample: str = "") -> Response:
    details = await list_mappings(visit.context, visit.caller, found.id, limit=MOST)
    published = [each.mapping for each in details if each.mapping.published_version]
    mapping_id = published[0].id if len(published) > 1 else None
    return pages.show(
        visit.request,
        "activate.html",
        **content_of(visit, found, "activate"),
        url=f"{visit.context.public_url}/events",
        forms=body_forms(
            f"{visit.context.public_url}/events",
            found.id,
            mapping_id,
            {**example_event(visit.context.now()), "journey": JOURNEY},
        ),
        mappings=published,
        keys=await _keys(visit, found),
        secret=secret,
        responses=RESPONSES,
        may_make_keys=visit.caller.may(Scope.KEYS_ADMIN),
        may_send=visit.caller.may(Scope.EVENTS_WRITE) and visit.context.development,
        was_published=bool(sample),
        sample=sample or json.dumps(example_event(visit.context.now()), indent=2),
    )


async def _keys(visit: Visit, found: Destination) -> Sequence[ApiKey]:
    """Return the keys that can send to this destination now. Return none if the user may not see keys."""
    if not visit.caller.may(Scope.KEYS_ADMIN):
        return []
    now = visit.context.now()
    return [
        key
        for key in await list_keys(visit.context, visit.caller, limit=MOST)
        if Scope.EVENTS_WRITE in key.scopes
        and key.revoked_at is None
        and (key.expires_at is None or key.expires_at > now)
        and (key.destination_ids is None or found.id in key.destination_ids)
    ]


@router.post(PAGE + "/test", response_model=None)
@requires(Scope.EVENTS_WRITE)
async def test(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Send a test event through the full pipeline to the sandbox. Works in development only."""
    mapping_id = form_text(form, "mapping_id") or None
    content = strict_json.parse(form_text(form, "event").encode())
    if not isinstance(content, dict):
        raise Refusal(ErrorCode.INVALID, "The test event must be one event: a JSON object.")
    sent = await send_sample_event(visit.context, visit.caller, found.id, mapping_id, content)
    shown = {
        "events_manager": f"{sign_in_origin(visit.context, found.region)}/events-manager?"
        + urlencode({"advertiser_id": found.advertiser_id}),
        "destination_id": found.id,
        "status": sent.result.status,
        "event_id": sent.event_id,
        "rejection": sent.result.rejection,
    }
    if visit.request.headers.get("hx-request"):
        return HTMLResponse(pages.part("test_part.html", **shown))
    page = f"/console/destinations/{found.id}/event?id={sent.event_id}"
    return confirmations.redirect(visit.context, page, "test_sent")

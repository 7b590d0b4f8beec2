"""Activate page (R13): settings for the journey's node, and a test event."""

import json
from collections.abc import Sequence
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.inputs import NewKey
from app.admin.keys import create_key, list_keys
from app.admin.mappings import list_mappings
from app.admin.sample_event import send_sample_event
from app.api.paging import MOST
from app.api.secured_route import Context, requires
from app.console import confirmations, pages
from app.console.activate_view import RESPONSES, body_forms
from app.console.destination import PAGE, content_of, sign_in_origin
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.console.sessions import Visitor
from app.domain.mapping.example import example_event
from app.store import destinations as stored
from app.store.keys import ApiKey

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

MAX_KEY_NAME = 200
# The optional journey object; with it all events of one execution can be found.
JOURNEY = {"id": "cart-reminder", "node_id": "send-to-amazon", "execution_id": "run-1"}


@router.get(PAGE + "/activate", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(request: Request, destination_id: str, context: Context, visitor: CurrentVisitor) -> Response:
    """Show address, key and payload for the Send to Destinations node."""
    return await _page(request, destination_id, context, visitor, None)


@router.post(PAGE + "/journey-key", response_model=None)
@requires(Scope.KEYS_ADMIN)
async def create_journey_key(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Create a key that only sends events to this destination, and show its secret in this response only."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    body = NewKey(
        name=f"Journey: {found.name}"[:MAX_KEY_NAME],
        scopes=[Scope.EVENTS_WRITE],
        destination_ids=[found.id],
    )
    _, secret = await create_key(context, visitor.caller, body)
    return await _page(request, destination_id, context, visitor, secret)


async def _page(
    request: Request, destination_id: str, context: AppContext, visitor: Visitor, secret: str | None
) -> Response:
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    details = await list_mappings(context, visitor.caller, destination_id, limit=MOST)
    published = [each.mapping for each in details if each.mapping.published_version]
    mapping_id = published[0].id if len(published) > 1 else None
    return pages.show(
        request,
        "activate.html",
        **content_of(context, found, visitor, "activate"),
        url=f"{context.public_url}/events",
        forms=body_forms(
            f"{context.public_url}/events",
            found.id,
            mapping_id,
            {**example_event(context.now()), "journey": JOURNEY},
        ),
        mappings=published,
        keys=await _keys(context, visitor, found),
        secret=secret,
        responses=RESPONSES,
        may_make_keys=visitor.caller.may(Scope.KEYS_ADMIN),
        may_send=visitor.caller.may(Scope.EVENTS_WRITE) and context.development,
        sample=json.dumps(example_event(context.now()), indent=2),
    )


async def _keys(context: AppContext, visitor: Visitor, found: stored.Destination) -> Sequence[ApiKey]:
    """Return the keys that can send to this destination now; empty unless the user may see keys."""
    if not visitor.caller.may(Scope.KEYS_ADMIN):
        return []
    now = context.now()
    return [
        key
        for key in await list_keys(context, visitor.caller, limit=MOST)
        if Scope.EVENTS_WRITE in key.scopes
        and key.revoked_at is None
        and (key.expires_at is None or key.expires_at > now)
        and (key.destination_ids is None or found.id in key.destination_ids)
    ]


@router.post(PAGE + "/test", response_model=None)
@requires(Scope.EVENTS_WRITE)
async def test(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Send one test event through the full pipeline; development only, to the sandbox."""
    mapping_id = form_text(form, "mapping_id") or None
    sent = await send_sample_event(context, visitor.caller, destination_id, mapping_id)
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    content = {
        "events_manager": f"{sign_in_origin(context, found.region)}/events-manager?"
        + urlencode({"advertiser_id": found.advertiser_id}),
        "destination_id": destination_id,
        "status": sent.result.status,
        "event_id": sent.event_id,
        "rejection": sent.result.rejection,
    }
    if request.headers.get("hx-request"):
        return HTMLResponse(pages.part("test_part.html", **content))
    page = f"/console/destinations/{destination_id}/event?id={sent.event_id}"
    return confirmations.redirect(context, page, "test_sent")

"""Keys: made with a role or for a journey, shown once, replaced, revoked."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.field_problems import field_problems
from app.admin.inputs import KeyRotation, NewKey
from app.admin.refusals import ErrorCode, Refusal
from app.api import destinations, keys
from app.api.errors import status_of
from app.api.paging import MOST, Cursor
from app.api.secured_route import Context, requires
from app.console import form_view, pages
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.console.sessions import ROLES, Visitor, role_of

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

# What a key can be for, from the least to the most.
PURPOSES: tuple[tuple[str, str, str, frozenset[str]], ...] = (
    (
        "journey",
        "Journey",
        "Sends events, and does nothing else. For a Send to Destinations node.",
        frozenset({Scope.EVENTS_WRITE}),
    ),
    ("viewer", "Viewer", "Looks at everything here, changes nothing.", frozenset(ROLES[0][1])),
    ("operator", "Operator", "A viewer who may also send test events and replay.", frozenset(ROLES[1][1])),
    (
        "editor",
        "Editor",
        "An operator who may also make, connect, map, pause and delete.",
        frozenset(ROLES[2][1]),
    ),
    ("admin", "Admin", "Everything, keys and erasure too.", frozenset(ROLES[3][1])),
)
OVERLAPS = (("0", "At once"), ("3600", "In an hour"), ("86400", "In a day"), ("604800", "In a week"))
LIVES = (("", "Until it is revoked"), ("30", "30 days"), ("90", "90 days"), ("365", "A year"))


@router.get("/console/keys", response_model=None)
@requires(*Scope)
async def page(
    request: Request, context: Context, visitor: CurrentVisitor, cursor: Cursor = None
) -> Response:
    """List keys, and a form for another."""
    return await _page(request, context, visitor, cursor=cursor)


@router.post("/console/keys", response_model=None)
@requires(Scope.KEYS_ADMIN)
async def create(request: Request, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Make a key and show it on the page that answers; nothing shows it again."""
    scopes = next((each[3] for each in PURPOSES if each[0] == form_text(form, "purpose")), frozenset())
    limited, days = form_text(form, "destination_id"), form_text(form, "days")
    body: dict[str, Any] = {"name": form_text(form, "name"), "scopes": sorted(scopes)}
    if limited:
        body["destination_ids"] = [limited]
    if days in {value for value, _ in LIVES if value}:
        body["expires_at"] = (context.now() + timedelta(days=int(days))).isoformat()
    try:
        made = await keys.create(NewKey.model_validate(body), visitor.caller, context)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        told = form_view.of_errors(found, field_problems(found))
        return await _page(request, context, visitor, problems=told, status=422)
    except Refusal as refusal:
        told = form_view.of_fields(refusal.problem.fields)
        return await _page(request, context, visitor, problems=told, status=status_of(refusal.problem))
    return await _page(request, context, visitor, made=pages.plain(made))


@router.post("/console/keys/{key_id}/revoke", response_model=None)
@requires(Scope.KEYS_ADMIN)
async def revoke(
    request: Request, key_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Revoke a key, and with it every session that it was exchanged for."""
    await keys.revoke(key_id, visitor.caller, context, request)
    return RedirectResponse("/console/keys", 303)


@router.post("/console/keys/{key_id}/replace", response_model=None)
@requires(Scope.KEYS_ADMIN)
async def replace(
    request: Request, key_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Make a key that may do the same and show it; the old one works on for the overlap."""
    chosen = form_text(form, "overlap")
    if chosen not in {value for value, _ in OVERLAPS}:
        raise Refusal(ErrorCode.INVALID, "Choose one of the overlaps listed.")
    body = KeyRotation.model_validate({"overlap_seconds": int(chosen)})
    made = await keys.rotate(
        key_id=key_id, caller=visitor.caller, context=context, request=request, body=body
    )
    return await _page(request, context, visitor, made=pages.plain(made))


async def _page(
    request: Request,
    context: AppContext,
    visitor: Visitor,
    *,
    cursor: str | None = None,
    problems: dict[str, str] | None = None,
    made: dict[str, Any] | None = None,
    status: int = 200,
) -> Response:
    if not visitor.caller.may(Scope.KEYS_ADMIN):
        return pages.show(request, "not_yours.html", what="Keys", who="an admin")
    listed = pages.plain(await keys.list_all(visitor.caller, context, 50, cursor))
    known = pages.plain(
        await destinations.list_all(caller=visitor.caller, context=context, q=None, state=None, limit=MOST)
    )
    now = context.now().isoformat()
    return pages.show(
        request,
        "keys.html",
        status=status,
        keys=[_shown(key, now) for key in listed["items"]],
        next_cursor=listed["next_cursor"],
        destinations=known["items"],
        purposes=PURPOSES,
        lives=LIVES,
        overlaps=OVERLAPS,
        problems=problems or {},
        made=made,
    )


def _shown(key: dict[str, Any], now: str) -> dict[str, Any]:
    over = "revoked" if key["revoked_at"] else "expired" if (key["expires_at"] or "9") < now else None
    scopes = frozenset(key["scopes"])
    purpose = next((label for _, label, _, needed in PURPOSES if needed == scopes), None)
    return {**key, "over": over, "purpose": purpose or role_of(scopes) or ", ".join(sorted(scopes))}

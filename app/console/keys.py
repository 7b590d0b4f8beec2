"""The keys page: create, rotate and revoke keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destination_settings import list_destinations
from app.admin.field_problems import field_problems
from app.admin.inputs import KeyRotation, NewKey
from app.admin.keys import create_key, list_keys, revoke_key, rotate_key
from app.admin.refusals import ErrorCode, Refusal
from app.admin.roles import ROLES, PersonRole, role_of
from app.api.errors import status_of
from app.api.paging import MOST, Cursor, cursor_of, split_page, time_and_id_of
from app.api.paging import PAGE as PAGE_SIZE
from app.api.secured_route import Context, requires
from app.console import confirmations, form_view, pages
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.console.sessions import Visitor
from app.store.keys import ApiKey

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

# The purposes of a key, from least to most permissions.
PURPOSES: tuple[tuple[str, str, str, frozenset[str]], ...] = (
    (
        "journey",
        "Journey",
        "Only sends events. For a Send to Destinations node.",
        frozenset({Scope.EVENTS_WRITE}),
    ),
    ("viewer", "Viewer", "Reads everything, changes nothing.", ROLES[PersonRole.VIEWER]),
    ("operator", "Operator", "Viewer, plus test events and replay.", ROLES[PersonRole.OPERATOR]),
    (
        "editor",
        "Editor",
        "Operator, plus create, connect, map, pause and delete.",
        ROLES[PersonRole.EDITOR],
    ),
    ("admin", "Admin", "All permissions, including keys and erasure.", ROLES[PersonRole.ADMIN]),
)
OVERLAPS = (("0", "Immediately"), ("3600", "In 1 hour"), ("86400", "In 1 day"), ("604800", "In 7 days"))
LIFETIMES = (("", "Until revoked"), ("30", "30 days"), ("90", "90 days"), ("365", "1 year"))


@router.get("/console/keys", response_model=None)
@requires(*Scope)
async def page(
    request: Request, context: Context, visitor: CurrentVisitor, cursor: Cursor = None
) -> Response:
    """List keys next to the form for a new one."""
    return await _page(request, context, visitor, cursor=cursor)


@router.post("/console/keys", response_model=None)
@requires(Scope.KEYS_ADMIN)
async def create(request: Request, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Create a key and show its secret in this response only."""
    scopes = next((each[3] for each in PURPOSES if each[0] == form_text(form, "purpose")), frozenset())
    limited, days = form_text(form, "destination_id"), form_text(form, "days")
    body: dict[str, object] = {"name": form_text(form, "name"), "scopes": sorted(scopes)}
    if limited:
        body["destination_ids"] = [limited]
    if days in {value for value, _ in LIFETIMES if value}:
        body["expires_at"] = (context.now() + timedelta(days=int(days))).isoformat()
    try:
        key, secret = await create_key(context, visitor.caller, NewKey.model_validate(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = form_view.of_errors(found, field_problems(found))
        return await _page(request, context, visitor, problems=problems, status=422)
    except Refusal as refusal:
        problems = form_view.of_fields(refusal.problem.fields)
        return await _page(request, context, visitor, problems=problems, status=status_of(refusal.problem))
    return await _page(request, context, visitor, created={"name": key.name, "key": secret})


@router.post("/console/keys/{key_id}/revoke", response_model=None)
@requires(Scope.KEYS_ADMIN)
async def revoke(key_id: str, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Revoke a key and end its sessions."""
    await revoke_key(context, visitor.caller, key_id)
    return confirmations.redirect(context, "/console/keys", "key_revoked")


@router.post("/console/keys/{key_id}/rotate", response_model=None)
@requires(Scope.KEYS_ADMIN)
async def rotate(
    request: Request, key_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Create a key with the same permissions. The old key works until the overlap ends."""
    chosen = form_text(form, "overlap")
    if chosen not in {value for value, _ in OVERLAPS}:
        raise Refusal(ErrorCode.INVALID, "Choose an expiry from the list.")
    body = KeyRotation.model_validate({"overlap_seconds": int(chosen)})
    key, secret, _ = await rotate_key(context, visitor.caller, key_id, body)
    return await _page(request, context, visitor, created={"name": key.name, "key": secret})


async def _page(
    request: Request,
    context: AppContext,
    visitor: Visitor,
    *,
    cursor: str | None = None,
    problems: dict[str, str] | None = None,
    created: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    if not visitor.caller.may(Scope.KEYS_ADMIN):
        return pages.show(request, "not_yours.html", what="Keys", who="admins")
    found = await list_keys(context, visitor.caller, limit=PAGE_SIZE + 1, after=time_and_id_of(cursor))
    listed, has_more = split_page(found, PAGE_SIZE)
    last = listed[-1] if has_more else None
    now = context.now()
    return pages.show(
        request,
        "keys.html",
        status=status,
        keys=_rows(listed, now),
        next_cursor=cursor_of(last.created_at.isoformat(), last.id) if last else None,
        destinations=await list_destinations(context, visitor.caller, limit=MOST),
        purposes=PURPOSES,
        lifetimes=LIFETIMES,
        overlaps=OVERLAPS,
        problems=problems or {},
        created=created,
    )


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A row of the list. `ended` is "revoked", "expired" or None."""

    key: ApiKey
    ended: str | None
    purpose: str
    replaced_by: ApiKey | None
    replaces_name: str | None


def _rows(keys: Sequence[ApiKey], now: datetime) -> list[KeyRow]:
    """Return the rows of the list, each with the keys that it replaces and is replaced by."""
    names = {key.id: key.name for key in keys}
    successors = {key.replaces: key for key in keys if key.replaces is not None}
    return [
        KeyRow(
            key,
            _ended(key, now),
            _purpose(key),
            successors.get(key.id),
            None if key.replaces is None else names.get(key.replaces, key.replaces),
        )
        for key in keys
    ]


def _ended(key: ApiKey, now: datetime) -> str | None:
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at < now else None


def _purpose(key: ApiKey) -> str:
    scopes = frozenset(key.scopes)
    purpose = next((label for _, label, _, needed in PURPOSES if needed == scopes), None)
    return purpose or role_of(scopes) or ", ".join(sorted(scopes))

"""The keys page creates and revokes keys. The sessions page lists the sessions of people and ends one."""

from datetime import timedelta

from starlette.responses import Response

from app.admin import Scope
from app.admin.access.keys import IssuedKey, NewKey, create_key, list_keys, revoke_key
from app.admin.access.people import ROLES, PersonRole, role_of
from app.admin.access.sessions import end_session, list_sessions
from app.admin.destinations import destination_names
from app.api.lists import ListQuery
from app.console.visits import FORM_ERRORS, CurrentVisit, Form, PageRouter, Paging, Visit
from app.store.access.keys import ApiKey

router = PageRouter()

_OF_JOURNEY = frozenset({Scope.EVENTS_WRITE})
# The purposes of a key, from least to most permissions.
PURPOSES: tuple[tuple[str, str, str, frozenset[str]], ...] = (
    ("journey", "Journey", "Only sends events. For a Send to Destinations node.", _OF_JOURNEY),
    ("privacy", "Privacy", "Only erasure and consent records.", ROLES[PersonRole.PRIVACY]),
    ("viewer", "Viewer", "Reads everything, changes nothing.", ROLES[PersonRole.VIEWER]),
    ("operator", "Operator", "Viewer, plus test events and replay.", ROLES[PersonRole.OPERATOR]),
    ("editor", "Editor", "Operator, plus create, connect, map, pause and delete.", ROLES[PersonRole.EDITOR]),
    ("admin", "Admin", "All permissions, including keys and erasure.", ROLES[PersonRole.ADMIN]),
)
LIFETIMES = (("", "Until revoked"), ("30", "30 days"), ("90", "90 days"), ("365", "1 year"))


@router.get("/console/keys", Scope.KEYS_ADMIN)
async def page(visit: CurrentVisit, paging: Paging) -> Response:
    """List keys next to the form for a new key."""
    return await _page(visit, paging)


@router.post("/console/keys", Scope.KEYS_ADMIN)
async def create(visit: CurrentVisit, form: Form) -> Response:
    """Create a key and show its secret in this response only."""
    scopes = next((each[3] for each in PURPOSES if each[0] == form.text("purpose")), frozenset())
    limited, days = form.text("destination_id"), form.text("days")
    body: dict[str, object] = {"name": form.text("name"), "scopes": sorted(scopes)}
    if limited:
        body["destination_ids"] = [limited]
    if days in {value for value, _ in LIFETIMES if value}:
        body["expires_at"] = (visit.context.now() + timedelta(days=int(days))).isoformat()
    try:
        created = await create_key(visit.context, NewKey.model_validate(body))
    except FORM_ERRORS as error:
        return await _page(visit.refused(error), ListQuery(visit.context))
    return await _page(visit, ListQuery(visit.context), created)


@router.post("/console/keys/{key_id}/revoke", Scope.KEYS_ADMIN)
async def revoke(visit: CurrentVisit, key_id: str) -> Response:
    """Revoke a key and end its sessions."""
    await revoke_key(visit.context, key_id)
    return visit.done("key_revoked", "/console/keys")


async def _page(visit: Visit, paging: ListQuery, created: IssuedKey | None = None) -> Response:
    found = await list_keys(visit.context, limit=paging.most, after=paging.time_and_id)
    return await visit.show(
        "keys.html",
        **paging.listed(found, lambda key: (key.created_at.isoformat(), key.id)),
        now=visit.context.now(),
        purpose_of=_purpose,
        destinations=await destination_names(visit.context),
        purposes=PURPOSES,
        lifetimes=LIFETIMES,
        created=created,
    )


def _purpose(key: ApiKey) -> str:
    scopes = frozenset(key.scopes)
    purpose = next((label for _, label, _, needed in PURPOSES if needed == scopes), None)
    return purpose or role_of(scopes) or ", ".join(sorted(scopes))


_SESSIONS = "/console/sessions"


@router.get(_SESSIONS, Scope.KEYS_ADMIN)
async def sessions_page(visit: CurrentVisit, paging: Paging) -> Response:
    """List the sessions, oldest first."""
    rows = await list_sessions(visit.context, limit=paging.most, after=paging.time_and_id)
    content = paging.listed(rows, lambda row: (row.started_at.isoformat(), row.id))
    return await visit.show("sessions.html", **content)


@router.post(_SESSIONS + "/{session_id}/end", Scope.KEYS_ADMIN)
async def end(visit: CurrentVisit, session_id: str) -> Response:
    """End a session."""
    await end_session(visit.context, session_id)
    return visit.done("session_ended", _SESSIONS)

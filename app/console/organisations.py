"""The pages about an organisation and who has access to it: organisations of the platform, keys, sessions."""

from datetime import timedelta

from pydantic import ValidationError
from starlette.responses import Response

from app.admin import ErrorCode, Refusal, Scope, organisations
from app.admin.access import keys
from app.admin.access.people import ROLES, PersonRole, role_of
from app.admin.access.sessions import end_session, list_sessions
from app.admin.field_problems import field_problems
from app.api.lists import ListQuery
from app.console.access import sessions
from app.console.visits import FORM_ERRORS, CurrentVisit, Form, PageRouter, Paging, Visit
from app.store.access.keys import ApiKey

router = PageRouter()

_ADDRESS = "/console/organisations"


@router.get(_ADDRESS, Scope.ORGANISATIONS_ADMIN)
async def page(visit: CurrentVisit, paging: Paging) -> Response:
    """List organisations next to the form for a new organisation."""
    rows = await organisations.list_organisations(visit.context, limit=paging.most, after=paging.time_and_id)
    return await visit.show(
        "organisations.html",
        **visit.listed(rows, lambda row: (row.created_at.isoformat(), row.id), paging),
        # The role platform alone may open no page of an organisation.
        may_switch=visit.caller.scopes != {Scope.ORGANISATIONS_ADMIN},
    )


@router.post(_ADDRESS, Scope.ORGANISATIONS_ADMIN)
async def create(visit: CurrentVisit, form: Form) -> Response:
    """Create an organisation."""
    given = {name: value for name in ("id", "name") if (value := form.text(name))}
    try:
        body = organisations.NewOrganisation.model_validate(given)
        await organisations.create_organisation(visit.context, body)
    except FORM_ERRORS as error:
        return await page(visit.refused(error), ListQuery(visit.context))
    return visit.done("organisation_created", _ADDRESS)


@router.post(_ADDRESS + "/{id}", Scope.ORGANISATIONS_ADMIN)
async def change(visit: CurrentVisit, id: str, form: Form) -> Response:
    """Change the name and the limits of an organisation. An empty field means no limit."""
    limits = {name: form.number(name) for name in ("destinations", "events_per_second")}
    try:
        body = organisations.OrganisationChange.model_validate({"name": form.text("name"), "limits": limits})
    except ValidationError as error:
        raise Refusal(ErrorCode.INVALID, None, *field_problems(error.errors())) from None
    await organisations.change_organisation(visit.context, id, body, form.version)
    return visit.done("organisation_changed", _ADDRESS)


@router.post(_ADDRESS + "/{id}/switch", Scope.ORGANISATIONS_ADMIN)
async def switch(visit: CurrentVisit, id: str) -> Response:
    """Act for an organisation until the session ends or the user chooses another organisation."""
    chosen = await organisations.find_organisation(visit.context, id)
    await sessions.act_for(visit.context, visit.request, chosen.id)
    return visit.done("organisation_switched", _ADDRESS)


@router.post(_ADDRESS + "/{id}/suspend", Scope.ORGANISATIONS_ADMIN)
async def suspend(visit: CurrentVisit, id: str) -> Response:
    """Suspend an organisation."""
    await organisations.set_suspended(visit.context, id, suspended=True)
    return visit.done("organisation_suspended", _ADDRESS)


@router.post(_ADDRESS + "/{id}/resume", Scope.ORGANISATIONS_ADMIN)
async def resume(visit: CurrentVisit, id: str) -> Response:
    """Resume an organisation."""
    await organisations.set_suspended(visit.context, id, suspended=False)
    return visit.done("organisation_resumed", _ADDRESS)


_OF_JOURNEY = frozenset({Scope.EVENTS_WRITE})
# The purposes of a key, from least to most permissions.
PURPOSES: tuple[tuple[str, str, str, frozenset[str]], ...] = (
    ("journey", "Journey", "Only sends events. For a Send to Destinations node.", _OF_JOURNEY),
    ("viewer", "Viewer", "Reads everything, changes nothing.", ROLES[PersonRole.VIEWER]),
    ("operator", "Operator", "Viewer, plus test events and replay.", ROLES[PersonRole.OPERATOR]),
    ("editor", "Editor", "Operator, plus create, connect, map, pause and delete.", ROLES[PersonRole.EDITOR]),
    ("admin", "Admin", "All permissions, including keys and erasure.", ROLES[PersonRole.ADMIN]),
)
LIFETIMES = (("", "Until revoked"), ("30", "30 days"), ("90", "90 days"), ("365", "1 year"))


@router.get("/console/keys", Scope.KEYS_ADMIN)
async def keys_page(visit: CurrentVisit, paging: Paging) -> Response:
    """List keys next to the form for a new key."""
    return await _show_keys(visit, paging)


@router.post("/console/keys", Scope.KEYS_ADMIN)
async def create_key(visit: CurrentVisit, form: Form) -> Response:
    """Create a key and show its secret in this response only."""
    scopes = next((each[3] for each in PURPOSES if each[0] == form.text("purpose")), frozenset())
    limited, days = form.text("destination_id"), form.text("days")
    body: dict[str, object] = {"name": form.text("name"), "scopes": sorted(scopes)}
    if limited:
        body["destination_ids"] = [limited]
    if days in {value for value, _ in LIFETIMES if value}:
        body["expires_at"] = (visit.context.now() + timedelta(days=int(days))).isoformat()
    try:
        created = await keys.create_key(visit.context, keys.NewKey.model_validate(body))
    except FORM_ERRORS as error:
        return await _show_keys(visit.refused(error), ListQuery(visit.context))
    return await _show_keys(visit, ListQuery(visit.context), created)


@router.post("/console/keys/{key_id}/revoke", Scope.KEYS_ADMIN)
async def revoke(visit: CurrentVisit, key_id: str) -> Response:
    """Revoke a key and end its sessions."""
    await keys.revoke_key(visit.context, key_id)
    return visit.done("key_revoked", "/console/keys")


async def _show_keys(visit: Visit, paging: ListQuery, created: keys.IssuedKey | None = None) -> Response:
    found = await keys.list_keys(visit.context, limit=paging.most, after=paging.time_and_id)
    return await visit.show(
        "keys.html",
        **visit.listed(found, lambda key: (key.created_at.isoformat(), key.id), paging),
        now=visit.context.now(),
        purpose_of=_purpose,
        destinations=await visit.destination_menu(),
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
    content = visit.listed(rows, lambda row: (row.started_at.isoformat(), row.id), paging)
    return await visit.show("sessions.html", **content)


@router.post(_SESSIONS + "/{session_id}/end", Scope.KEYS_ADMIN)
async def end(visit: CurrentVisit, session_id: str) -> Response:
    """End a session."""
    await end_session(visit.context, session_id)
    return visit.done("session_ended", _SESSIONS)

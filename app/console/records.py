"""Audit and settings: who did what, and what this instance is."""

import sys
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.field_problems import field_problems
from app.admin.inputs import DestinationChange
from app.admin.refusals import Refusal
from app.api import audit, catalog, destinations
from app.api.errors import status_of
from app.api.paging import Cursor
from app.api.secured_route import Context, requires
from app.console import audit_view, form_view, pages
from app.console.create_destination import body_of
from app.console.destination import PAGE, content_of
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text, with_if_match
from app.console.sessions import ROLES, Visitor
from app.console.wording import age, person
from app.store import audit as actions
from app.store import sessions

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_SHOWN = ("name", "advertiser_id", "region", "currency", "identity_profile", "dataset_name")


@router.get("/console/audit", response_model=None)
@requires(*Scope)
async def audit_page(
    *,
    request: Request,
    context: Context,
    visitor: CurrentVisitor,
    destination: Annotated[str, Query(max_length=64)] = "",
    action: Annotated[str, Query(max_length=64)] = "",
    cursor: Cursor = None,
) -> Response:
    """List administrative acts, newest first."""
    if not visitor.caller.may(Scope.KEYS_ADMIN):
        return pages.show(request, "not_yours.html", what="The audit", who="an admin")
    listed = pages.plain(
        await audit.list_all(
            caller=visitor.caller,
            context=context,
            destination_id=destination or None,
            action=action or None,
            limit=50,
            cursor=cursor,
        )
    )
    ids = {one[name] for one in listed["items"] for name in ("actor", "subject")}
    async with context.engine.connect() as connection:
        names = await actions.names(connection, ids)
    return pages.show(
        request,
        "audit.html",
        entries=[
            {
                **one,
                "told": audit_view.sentence(one["action"]),
                "changes": audit_view.differences(one),
                "who": person(one["actor"], names),
                "what": names.get(one["subject"], one["subject"]),
                "page": audit_view.page_of(one),
            }
            for one in listed["items"]
        ],
        next_cursor=listed["next_cursor"],
        destination=destination,
        action=action,
        actions=audit_view.ACTS,
    )


@router.get("/console/settings", response_model=None)
@requires(*Scope)
async def settings_page(request: Request, context: Context, visitor: CurrentVisitor) -> Response:
    """Show what this instance is, and what the session may do."""
    facts = (
        ("Address", context.public_url),
        ("Kind", "Development" if context.development else "Production"),
        ("Amazon application", "set" if context.amazon_configured else "missing: connecting is not possible"),
        ("Oldest event taken", age(context.max_event_age.total_seconds())),
        ("Warns from an age of", age(context.warn_event_age.total_seconds())),
        ("TCF vendor", str(context.consent.tcf_vendor)),
        ("TCF purposes", ", ".join(map(str, sorted(context.consent.tcf_purposes)))),
        ("Python", sys.version.split()[0]),
    )
    limits = (age(sessions.IDLE.total_seconds()), age(sessions.ABSOLUTE.total_seconds()))
    return pages.show(
        request,
        "settings.html",
        facts=facts,
        limits=limits,
        roles=[(name, sorted(scopes)) for name, scopes in ROLES],
        scopes=sorted(visitor.caller.scopes),
    )


@router.get(PAGE + "/settings", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def destination_settings(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, saved: bool = False
) -> Response:
    """Show what the destination is, to be changed."""
    return await _settings(request, destination_id, context, visitor, saved=saved)


@router.post(PAGE + "/settings", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def change(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Change the destination as the form says; what is fixed is not in the form."""
    try:
        body = DestinationChange.model_validate({"dataset_name": None, **body_of(form)})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        told = form_view.of_errors(found, field_problems(found))
        return await _settings(
            request, destination_id, context, visitor, form=form, problems=told, status=422
        )
    try:
        await destinations.change(
            destination_id=destination_id,
            body=body,
            caller=visitor.caller,
            context=context,
            request=with_if_match(request, form_text(form, "version")),
            response=Response(),
        )
    except Refusal as refusal:
        told = form_view.of_fields(refusal.problem.fields) or {
            "": refusal.problem.detail or "Someone changed it since you opened this page; open it again."
        }
        status = status_of(refusal.problem)
        return await _settings(
            request, destination_id, context, visitor, form=form, problems=told, status=status
        )
    return RedirectResponse(f"/console/destinations/{destination_id}/settings?saved=1", 303)


async def _settings(
    request: Request,
    destination_id: str,
    context: AppContext,
    visitor: Visitor,
    *,
    form: FormData | None = None,
    problems: dict[str, str] | None = None,
    saved: bool = False,
    status: int = 200,
) -> Response:
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    content = content_of(context, found, visitor, "settings")
    shown = content["destination"]
    rate = shown["rate_limit"]
    values = {
        **{name: shown[name] or "" for name in _SHOWN},
        "requests_per_second": f"{rate['requests_per_second']:g}",
        "burst": str(rate["burst"]),
    }
    if form is not None:
        values |= {name: form_text(form, name) for name in values if name in form}
    kind = catalog.amazon()
    return pages.show(
        request,
        "destination_settings.html",
        status=status,
        **content,
        values=values,
        problems=problems or {},
        saved=saved,
        fields={field["name"]: field for field in kind["fields"]},
        # The API settles it; the form offers it while the destination looks as if it could be.
        mendable=content["may_write"] and shown["state"] == "draft",
    )

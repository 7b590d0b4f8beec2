"""Privacy page: find where a person is stored, erase a person, and read the receipts. Hash tester.

A typed value is only in the body of its form. The page carries the state of a search in encrypted form.
"""

import re
from typing import Annotated, Final

import msgspec
from fastapi import Query, Request
from starlette.responses import RedirectResponse, Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.events.search import destination_names
from app.admin.inputs import HashRequest
from app.admin.privacy.erasure import IDENTIFIERS, erase_person, find_receipt, list_erasures
from app.admin.privacy.hash_value import RULES, HashResult, hash_value
from app.admin.privacy.subject_search import NOT_SEARCHED, find_person
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.api.access.secured_route import requires
from app.api.paging import Cursor, record_id_of
from app.console import pages
from app.console.access import sessions
from app.console.access.secured_page import CurrentVisit, Form, Visit, page_router
from app.console.form_view import FORM_ERRORS, FormError, problems_of
from app.domain.mapping.fields import FIELDS

router = page_router()

_PAGE: Final = "/console/privacy"
_PLACE: Final = "console/privacy/find"
_ROWS: Final = 20
_DIGEST: Final = re.compile("[0-9a-f]{64}", re.ASCII)
_LABELS = {
    "email": "E-mail address",
    "phone": "Phone number",
    "maid": "Mobile advertising ID",
    "ramp_id": "RampID",
    "match_id": "Match ID",
    "real_id": "RealID",
    "merkle_id": "Merkle ID",
    "kantar_id": "Kantar ID",
    "fip": "FIP",
    "hash": "SHA-256 of any of these",
}


class _Found(msgspec.Struct):
    """The state of a search: the value to find, the position, and its results so far."""

    kind: str
    value: str
    cursor: int
    events: dict[str, int]
    batches: int = 0
    unreadable: int = 0


@router.get(_PAGE)
@requires(Scope.ERASE)
async def page(
    visit: CurrentVisit,
    erasure: Annotated[str | None, Query(max_length=40)] = None,
    destination: Annotated[str, Query(max_length=64, pattern="^[0-9a-z_]*$")] = "",
    cursor: Cursor = None,
) -> Response:
    """Show the forms, the erasures, and the receipt of the chosen erasure.

    With a destination, redirect to its consent records.
    """
    if destination:
        return RedirectResponse(f"/console/destinations/{destination}/consent", 303)
    return await _show(visit, erasure=erasure, cursor=cursor)


@router.get(_PAGE + "/receipt")
@requires(Scope.ERASE)
async def receipt(visit: CurrentVisit, erasure: Annotated[str, Query(max_length=40)] = "") -> Response:
    """Download the signed receipt of an erasure."""
    found = await find_receipt(visit.context, erasure)
    disposition = f'attachment; filename="{found.id}.json"'
    headers = {"Content-Disposition": disposition}
    return Response(msgspec.json.encode(found), media_type="application/json", headers=headers)


@router.post(_PAGE + "/find")
@requires(Scope.ERASE)
async def find(visit: CurrentVisit, form: Form) -> Response:
    """Show where a person is stored, as counts without values.

    Continue a search that reached its time limit.
    """
    so_far = _continued(visit.context, form)
    if so_far is None:
        so_far = _Found(*_identifier(form), cursor=0, events={})
    _, result = await find_person(visit.context, {so_far.kind: so_far.value}, after=so_far.cursor)
    for (destination, status), events in result.events.items():
        place = f"{destination} {status}"
        so_far.events[place] = so_far.events.get(place, 0) + events
    so_far.cursor = result.cursor or 0
    so_far.batches += result.batches
    so_far.unreadable += result.unreadable
    more = sessions.sealed(visit.context, _PLACE, so_far) if result.cursor is not None else None
    return await _show(visit, found=so_far, more=more)


@router.post(_PAGE + "/erase")
@requires(Scope.ERASE)
async def erase(visit: CurrentVisit, form: Form) -> Response:
    """Erase a person. The value is neither shown again nor stored unencrypted."""
    kind, value = _identifier(form)
    requested = await erase_person(visit.context, {kind: value})
    return visit.done("erasure_requested", f"{_PAGE}?erasure={requested.id}")


def _identifier(form: Form) -> tuple[str, str]:
    kind, value = form.text("kind"), form.text("value")
    if kind not in IDENTIFIERS or not 1 <= len(value) <= 1024:
        problem = FieldProblem("value", "missing")
        raise Refusal(ErrorCode.INVALID, "Choose a kind and enter a value.", problem)
    if kind == "hash" and not _DIGEST.fullmatch(value.lower()):
        raise Refusal(ErrorCode.INVALID, "A SHA-256 has 64 hexadecimal digits. Nothing was done.")
    return kind, value.lower() if kind == "hash" else value


def _continued(context: AppContext, form: Form) -> _Found | None:
    """Return the search that the form continues, or None for a new search."""
    text = form.text("search")
    if not text:
        return None
    found = sessions.unsealed(context, _PLACE, text, _Found)
    if found is None:
        raise Refusal(ErrorCode.INVALID, "This search cannot be continued. Start it again.")
    return found


async def _show(
    visit: Visit,
    *,
    erasure: str | None = None,
    cursor: str | None = None,
    found: _Found | None = None,
    more: str | None = None,
) -> Response:
    rows = await list_erasures(visit.context, limit=_ROWS + 1, below=record_id_of(visit.context, cursor))
    actors = await visit.names(each.requested_by for each in rows)
    response = visit.show(
        "privacy.html",
        **pages.listed(visit.context, rows, lambda row: (row.number,), cursor, _ROWS),
        kinds=IDENTIFIERS,
        labels=_LABELS,
        destinations=dict(await destination_names(visit.context)),
        receipt=erasure and await find_receipt(visit.context, erasure),
        actors={**actors, "bootstrap": "bootstrap key"},
        found=found,
        found_total=0 if found is None else sum(found.events.values()),
        more=more,
        not_searched=NOT_SEARCHED,
    )
    response.headers["Cache-Control"] = "no-store"
    return response


_HASH_PAGE = "/console/hash-tester"
_DEFAULTS = {"field": "email", "country": "US", "identity_profile": "amazon"}
_FIELDS = [(name, FIELDS[name].label) for name in RULES if name in FIELDS]


@router.get(_HASH_PAGE)
@requires(Scope.DESTINATIONS_READ)
async def hash_page(request: Request) -> Response:
    """Show the form."""
    return _show_hash(request, _DEFAULTS)


@router.post(_HASH_PAGE)
@requires(Scope.DESTINATIONS_READ)
async def show_hash(request: Request, form: Form) -> Response:
    """Show the match key of the typed value in this response only."""
    chosen = {name: form.text(name) or default for name, default in _DEFAULTS.items()}
    body = {**chosen, "value": str(form.get("value") or "")}
    try:
        result = hash_value(HashRequest.model_validate(body))
    except FORM_ERRORS as error:
        return _show_hash(request, chosen, error=error)
    return _show_hash(request, chosen, result=result)


def _show_hash(
    request: Request,
    chosen: dict[str, str],
    *,
    result: HashResult | None = None,
    error: FormError | None = None,
) -> Response:
    problems, status = problems_of(error)
    profiles = next(field.options for field in catalog.AMAZON.fields if field.name == "identity_profile")
    response = pages.show(
        request,
        "hash_tester.html",
        status=status,
        fields=_FIELDS,
        profiles=profiles,
        chosen=chosen,
        result=result,
        problems=problems,
    )
    response.headers["Cache-Control"] = "no-store"
    return response

"""Privacy: find and erase a person, receipts of erasures, consent records, and the hash tester.

A typed value is only in the body of its form. The page carries the state of a search in encrypted form.
"""

import re
from functools import partial
from typing import Annotated, Final

import msgspec
from fastapi import Query
from starlette.responses import RedirectResponse, Response

from app.admin import ErrorCode, Refusal, Scope, catalog, invalid
from app.admin.context import AppContext
from app.admin.destinations import destination_names
from app.admin.mappings.mappings import list_published
from app.admin.privacy import subjects
from app.admin.privacy.consent_records import ConsentRecord, blocked_by_consent
from app.admin.privacy.hash_value import HashRequest, HashResult, hash_value
from app.api.lists import Cursor, ExportFormat, ListQuery, export
from app.api.pages import consent_page
from app.console.access import sessions
from app.console.mappings.form import members_of
from app.console.visits import FORM_ERRORS, PAGE, CurrentDestination, CurrentVisit, Form, PageRouter, Paging
from app.domain.mapping.document import FIELDS, MATCH_KEY_FIELDS
from app.domain.outcomes.reasons import REASONS

router = PageRouter()

_PAGE: Final = "/console/privacy"
_PLACE: Final = "console/privacy/find"
_ROWS: Final = 20
_DIGEST: Final = re.compile("[0-9a-f]{64}", re.ASCII)
_LABELS = {
    **{name: field.label for name, field in FIELDS.items()},
    "maid": "Mobile advertising ID (MAID)",
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


@router.get(_PAGE, Scope.ERASE)
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


@router.get(_PAGE + "/receipt", Scope.ERASE)
async def receipt(visit: CurrentVisit, erasure: Annotated[str, Query(max_length=40)] = "") -> Response:
    """Download the signed receipt of an erasure."""
    found = await subjects.find_receipt(visit.context, erasure)
    headers = {"Content-Disposition": f'attachment; filename="{found.id}.json"'}
    return Response(msgspec.json.encode(found), media_type="application/json", headers=headers)


@router.post(_PAGE + "/find", Scope.ERASE)
async def find(visit: CurrentVisit, form: Form) -> Response:
    """Show where a person is stored, as counts without values.

    Continue a search that reached its time limit.
    """
    so_far = _begun(visit.context, form)
    _, result = await subjects.find_person(visit.context, {so_far.kind: so_far.value}, after=so_far.cursor)
    for (destination, status), events in result.events.items():
        place = f"{destination} {status}"
        so_far.events[place] = so_far.events.get(place, 0) + events
    so_far.cursor = result.cursor or 0
    so_far.batches += result.batches
    so_far.unreadable += result.unreadable
    more = sessions.sealed(visit.context, _PLACE, so_far) if result.cursor is not None else None
    return await _show(visit, found=so_far, more=more)


@router.post(_PAGE + "/erase", Scope.ERASE)
async def erase(visit: CurrentVisit, form: Form) -> Response:
    """Erase a person. The value is neither shown again nor stored unencrypted."""
    kind, value = _identifier(form)
    requested = await subjects.erase_person(visit.context, {kind: value})
    done = "erasure_of_text_requested" if _is_no_address(kind, value) else "erasure_requested"
    return visit.done(done, f"{_PAGE}?erasure={requested.id}")


def _is_no_address(kind: str, value: str) -> bool:
    return kind == "email" and "@" not in value and not _DIGEST.fullmatch(value.lower())


def _identifier(form: Form) -> tuple[str, str]:
    kind, value = form.text("kind"), form.text("value")
    if kind not in subjects.IDENTIFIERS or not 1 <= len(value) <= 1024:
        raise invalid("value", "missing", "Choose a kind and enter a value.")
    if kind == "hash" and not _DIGEST.fullmatch(value.lower()):
        raise Refusal(ErrorCode.INVALID, "A SHA-256 has 64 hexadecimal digits. Nothing was done.")
    return kind, value.lower() if kind == "hash" else value


def _begun(context: AppContext, form: Form) -> _Found:
    """Return the search that the form begins or continues."""
    text = form.text("search")
    if not text:
        return _Found(*_identifier(form), cursor=0, events={})
    found = sessions.unsealed(context, _PLACE, text, _Found)
    if found is None:
        raise Refusal(ErrorCode.INVALID, "This search cannot be continued. Start it again.")
    return found


async def _show(
    visit: CurrentVisit,
    *,
    erasure: str | None = None,
    cursor: str | None = None,
    found: _Found | None = None,
    more: str | None = None,
) -> Response:
    paging = ListQuery(visit.context, _ROWS, cursor)
    rows = await subjects.list_erasures(visit.context, limit=paging.most, below=paging.record_id)
    return await visit.show(
        "privacy.html",
        **paging.listed(rows, lambda row: (row.number,)),
        kinds=subjects.IDENTIFIERS,
        labels=_LABELS,
        destinations=await destination_names(visit.context),
        receipt=erasure and await subjects.find_receipt(visit.context, erasure),
        names=await visit.names(each.requested_by for each in rows),
        found=found,
        found_total=0 if found is None else sum(found.events.values()),
        is_no_address=found is not None and _is_no_address(found.kind, found.value),
        more=more,
        not_searched=subjects.NOT_SEARCHED,
    )


_HASH_PAGE = "/console/hash-tester"
_DEFAULTS = {"field": "email", "country": "US", "identity_profile": "amazon"}
_FIELDS = [(name, FIELDS[name].label) for name in MATCH_KEY_FIELDS]


@router.get(_HASH_PAGE, Scope.DESTINATIONS_READ)
async def hash_page(visit: CurrentVisit) -> Response:
    """Show the form of the hash tester."""
    return await _show_hash(visit, _DEFAULTS)


@router.post(_HASH_PAGE, Scope.DESTINATIONS_READ)
async def show_hash(visit: CurrentVisit, form: Form) -> Response:
    """Show the match key of the typed value in this response only."""
    chosen = {name: form.text(name) or default for name, default in _DEFAULTS.items()}
    body = {**chosen, "value": form.get("value", "")}
    try:
        result = hash_value(HashRequest.model_validate(body))
    except FORM_ERRORS as error:
        return await _show_hash(visit.refused(error), chosen)
    return await _show_hash(visit, chosen, result)


async def _show_hash(
    visit: CurrentVisit, chosen: dict[str, str], result: HashResult | None = None
) -> Response:
    profiles = next(field.options for field in catalog.AMAZON.fields if field.name == "identity_profile")
    return await visit.show(
        "hash_tester.html", fields=_FIELDS, profiles=profiles, chosen=chosen, result=result
    )


BASES = {
    "granted": "the mapping marks all events as consented",
    "amazon": "Amazon's signal of each event",
    "tcf": "the TCF string of each event",
    "gpp": "the GPP string of each event",
    "none": "the mapping requires no consent",
}


@router.get(PAGE + "/consent", Scope.EVENTS_READ, Scope.ERASE)
async def show_consent(visit: CurrentDestination, paging: Paging) -> Response:
    """Show the newest consent records of a destination, and the counts of blocked events."""
    stopped = await blocked_by_consent(*visit.on)
    records = await consent_page(visit.destination.id, None, stopped, paging)
    published = [mapping.published or {} for mapping in await list_published(*visit.on)]
    modes = {members_of(document.get("consent")).get("mode") for document in published}
    return await visit.show(
        "consent.html",
        records=records,
        bases=BASES,
        evaluated=sorted(BASES[mode] for mode in modes if mode in BASES),
        blocked=[each for each in records.stopped if each.reason in REASONS],
    )


@router.get(PAGE + "/consent.csv", Scope.EVENTS_READ, Scope.ERASE)
async def export_consent(visit: CurrentDestination) -> Response:
    """Stream every consent record of a destination as CSV, newest first."""
    id_, query = visit.destination.id, ListQuery(visit.context)
    page_at = partial(consent_page, id_, None, ())
    return await export(ExportFormat.CSV, ConsentRecord, page_at, query, name=f"consent-{id_}")

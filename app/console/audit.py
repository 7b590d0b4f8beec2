"""The audit page. It lists, filters, exports and verifies administrative actions, newest first."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import Depends, Query
from starlette.responses import Response

from app.admin import Scope
from app.admin.audit import changed_entries, verify_chain
from app.api.lists import ExportFormat, ListQuery, export
from app.api.pages import audit_page
from app.console.mappings.view import Change, changes
from app.console.visits import CurrentVisit, PageRouter, Paging, Visit
from app.console.wording import event_type_label
from app.domain.audit_chain import ChainBroken, ChainHead
from app.domain.quantity import quantity
from app.store.audit import AuditAction, AuditEntry, AuditFilter

router = PageRouter()

_PAGE = "/console/audit"
_Text = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True, slots=True)
class AuditForm:
    """The filter of the audit page, as query parameters. Days are in UTC, and the day `until` is included."""

    actor: _Text = ""
    kind: _Text = ""
    action: _Text = ""
    target: _Text = ""
    since: _Text = ""
    until: _Text = ""

    @property
    def parameters(self) -> dict[str, str]:
        """The query parameters that are not empty."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def problem(self) -> str | None:
        """The message about an invalid day, or None."""
        wrong = [text for text in (self.since, self.until) if text and _day(text) is None]
        return "Write days as YYYY-MM-DD. The filter by day was ignored." if wrong else None

    def wanted(self) -> AuditFilter:
        """Return the filter for the use case.

        The displayed name of the bootstrap key also finds the actions of this key.
        """
        since, until = _day(self.since), _day(self.until)
        actor = "bootstrap" if self.actor.strip().lower().endswith("bootstrap key") else self.actor.strip()
        return AuditFilter(
            actor=actor or None,
            kind=self.kind or None,
            action=self.action or None,
            target=self.target.strip() or None,
            since=since,
            until=None if until is None else until + timedelta(days=1),
        )


def _day(text: str) -> datetime | None:
    try:
        day = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day if 2000 <= day.year <= 9000 else None


Filter = Annotated[AuditForm, Depends()]


@router.get(_PAGE, Scope.KEYS_ADMIN)
async def page(visit: CurrentVisit, chosen: Filter, paging: Paging) -> Response:
    """List administrative actions, newest first."""
    return await _show(visit, chosen, paging)


@router.get(_PAGE + "/export", Scope.KEYS_ADMIN)
async def download(visit: CurrentVisit, chosen: Filter, file: ExportFormat = ExportFormat.CSV) -> Response:
    """Stream the complete filtered list."""
    page_at = partial(audit_page, chosen.wanted())
    return await export(file, AuditEntry, page_at, ListQuery(visit.context), name="audit")


@router.post(_PAGE + "/verify", Scope.KEYS_ADMIN)
async def verify(visit: CurrentVisit) -> Response:
    """Verify the complete hash chain and show the result."""
    result = await verify_chain(visit.context)
    return await _show(visit, AuditForm(), ListQuery(visit.context), result.chain)


async def _show(
    visit: Visit, chosen: AuditForm, paging: ListQuery, chain: ChainHead | ChainBroken | None = None
) -> Response:
    listed = await audit_page(chosen.wanted(), paging)
    names = await visit.names(id_ for entry in listed.items for id_ in (entry.actor, entry.subject))
    return await visit.show(
        "audit.html",
        items=[(entry, target_name(entry, names), differences(entry, names)) for entry in listed.items],
        next_cursor=listed.next_cursor,
        changed=await changed_entries(visit.context, listed.items),
        kinds=KINDS,
        sentences=SENTENCES,
        sentence=sentence,
        page_of=page_of,
        names=names,
        form=chosen,
        query=urlencode(chosen.parameters),
        chain=chain and chain_sentence(chain, shows_total=visit.caller.is_platform),
        chain_is_broken=isinstance(chain, ChainBroken),
    )


SENTENCES: Mapping[str, str] = {action.value: action.sentence for action in AuditAction}


def sentence(action: str) -> str:
    """Return what an actor did. The text continues a sentence that begins with the actor's name."""
    # This release does not know the action, so show its code.
    return SENTENCES.get(action, action.replace("_", " ").replace(".", ": "))


KINDS: Mapping[str, str] = {
    "destination": "Destinations",
    "mapping": "Mappings",
    "event_name": "Event names",
    "events": "Replays",
    "dead_letters": "Failed events",
    "incident": "Incidents",
    "subject": "Persons",
    "key": "Keys",
    "organisation": "Organisations",
    "organisation_switched": "Changes of organisation",
    "sign_in": "Sign-ins",
    "sign_in_refused": "Refused sign-ins",
    "session_ended": "Ended sessions",
}


def target_name(entry: AuditEntry, names: Mapping[str, str]) -> str:
    if entry.action.startswith("event_name.") and "/" in entry.subject:
        advertiser, event_type = entry.subject.rsplit("/", 1)
        return f"{event_type_label(event_type)}, advertiser {advertiser}"
    return names.get(entry.subject, entry.subject)


# The pages of targets that have one outside of the pages of a destination, by action or kind.
_PAGES: Mapping[str, str] = {
    "incident": "/console/incidents/{}",
    "key": "/console/keys#{}",
    "organisation": "/console/organisations",
    "event_name": "/console/event-names/{}",
    AuditAction.SUBJECT_ERASURE_REQUESTED.value: "/console/privacy?erasure={}",
}


def page_of(entry: AuditEntry) -> str | None:
    """Return the address of the page of an entry's target, or None if it has none."""
    kind, _, _ = entry.action.partition(".")
    if address := _PAGES.get(entry.action) or _PAGES.get(kind):
        return address.format(quote(entry.subject))
    if entry.destination_id is None:
        return None
    destination = f"/console/destinations/{entry.destination_id}"
    return f"{destination}/mappings/{entry.subject}" if entry.subject.startswith("map_") else destination


def differences(entry: AuditEntry, names: Mapping[str, str] | None = None) -> list[Change]:
    """Return the changes that an entry records, in words."""
    return [
        Change(change.place, _words(change.was, names or {}), _words(change.now, names or {}))
        for change in changes(entry.before, entry.after or {})
    ]


_WORDS: Mapping[str, str] = {"null": "none", "true": "yes", "false": "no", "[]": "none", "{}": "none"}


def _words(text: str | None, names: Mapping[str, str]) -> str | None:
    """Return a value as people read it: without JSON, and with the name next to each id."""
    if text is None:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if text in names:
        return f"{names[text]} ({text})"
    if text.startswith("["):
        with suppress(ValueError):
            values = json.loads(text)
            if all(isinstance(value, str | int | float) for value in values):
                return ", ".join(map(str, values))
    return text


def chain_sentence(found: ChainHead | ChainBroken, *, shows_total: bool) -> str:
    """Return the result of the verification as a sentence."""
    # Numbers and hashes of rows would let an organisation count the rows of all others.
    if isinstance(found, ChainBroken):
        place = f"The chain breaks at audit row {found.id}. {found.sentence}"
        return place if shows_total else "The chain is broken. Ask the operator of this service."
    if not shows_total:
        return "Chain verified: no row was changed."
    rows, newest = quantity(found.rows, "row"), found.hash.hex()
    return f"Chain verified: no row of {rows} was changed. Hash of the newest row: {newest}."

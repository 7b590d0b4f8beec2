"""The page of one event: its history as a timeline, one entry per step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import RedirectResponse, Response

from app.admin import ErrorCode, Refusal, Scope
from app.admin.events.history import read_event_history
from app.admin.events.summary import REJECTED, EventAttempt, EventHistory
from app.console.destinations.page import diagnosis_of
from app.console.live_updates import streamed
from app.console.visits import PAGE, CurrentDestination, DestinationVisit, PageRouter
from app.console.wording import (
    STATUSES,
    amazon_message,
    event_type_label,
    match_key_label,
    outcome_label,
    person,
)
from app.domain.mapping.document import FIELDS
from app.domain.outcomes.event_history import UNCLEAR_ANSWERS
from app.domain.outcomes.reasons import WARNINGS, failure_cause
from app.domain.outcomes.status import FINAL

router = PageRouter()

EventId = Annotated[str, Query(max_length=600)]
MappingId = Annotated[str | None, Query(max_length=64)]


@router.get(PAGE + "/event", Scope.EVENTS_READ)
async def event_page(visit: CurrentDestination, id: EventId = "", mapping: MappingId = None) -> Response:
    """Show the history of an event. Without an id, redirect to the list."""
    if not id.strip():
        return RedirectResponse(f"{visit.here}/events", 303)
    try:
        history = await read_event_history(*visit.on, id, mapping)
    except Refusal as refusal:
        if refusal.problem.code is ErrorCode.NOT_FOUND:
            return await visit.show("event_missing.html", status=404, id=id, detail=refusal.problem.detail)
        if refusal.problem.code is ErrorCode.EVENT_AMBIGUOUS:
            ids = refusal.problem.extra["mapping_ids"]
            names = await visit.names(ids)
            choices = [(mapping_id, names[mapping_id]) for mapping_id in ids]
            return await visit.show("event_choice.html", id=id, choices=choices)
        raise
    if history.status == REJECTED:
        mappings = await visit.names(each.mapping_id for each in history.rejections)
        return await visit.show("event_rejected.html", history=history, mappings=mappings)
    return await visit.show("event.html", **await _content(visit, history))


@router.get(PAGE + "/event/live", Scope.EVENTS_READ)
async def live(visit: CurrentDestination, id: EventId, mapping: MappingId = None) -> Response:
    """Stream the history of an event while the page is open, until it is final."""

    async def read(current: DestinationVisit) -> dict[str, Any]:
        return await _content(current, await read_event_history(*current.on, id, mapping))

    return streamed(visit, "event_part.html", read)


async def _content(visit: DestinationVisit, history: EventHistory) -> dict[str, Any]:
    """Return the content of an event's page, from its history."""
    # If an event waits, the cause is usually its destination, so the page shows the diagnosis of the
    # destination.
    is_final = history.status in FINAL
    explains_wait = not is_final and visit.caller.may(Scope.DESTINATIONS_READ)
    actors = [history.dismissed_by, *(replay.by for replay in history.replays)]
    names = await visit.names([history.mapping_id, *actors])
    mapping = names.get(history.mapping_id or "")
    return {
        "history": history,
        "story": timeline(history, mapping, names),
        "mapping_name": mapping,
        "dismissed_by": person(history.dismissed_by, names) if history.dismissed_by else None,
        "warnings": warnings(history),
        "cause": failure_cause(history.amazon_code, history.amazon_message),
        "final": is_final,
        "diagnosis": await diagnosis_of(visit) if explains_wait else None,
    }


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One step of the timeline."""

    at: datetime | None
    tone: str
    headline: str
    detail: str
    request_id: str | None = None  # Amazon's
    replay_id: str | None = None
    last_at: datetime | None = None  # the time of the last of several similar entries
    similar: Sequence["HistoryEntry"] = ()
    kind: tuple[object, ...] = ()  # equal for similar entries


# Tone and sentence for Amazon's answer about this event, if Amazon did not accept the event.
_ITEM_OUTCOMES: Mapping[str, tuple[str, str]] = {
    "amazon_refused": ("bad", "Amazon rejected this event"),
    "amazon_request_refused": ("bad", "Amazon rejected this event"),
    "amazon_unexpected": ("bad", "Amazon rejected this event"),
    "amazon_item_failed": ("warn", "Amazon could not process this event and asked to resend it"),
    "outcome_unknown": ("warn", "It is unknown whether Amazon accepted this event"),
    "gave_up": ("bad", "Amazon failed for this event on the last attempt"),
}


def timeline(history: EventHistory, mapping_name: str | None, names: Mapping[str, str]) -> list[HistoryEntry]:
    """Return the steps of an event history, oldest first.

    `names` maps key ids to the names of the keys.
    """
    entries = []
    if history.event_time:
        own_time = "The time of the event, from the mapped timestamp."
        entries.append(HistoryEntry(history.event_time, "quiet", "Occurred", own_time))
    stored = "The event was on disk before the journey received its 202."
    entries.append(HistoryEntry(history.accepted_at, "good", "Accepted and stored", stored))
    entries.append(HistoryEntry(None, "good", "Converted", _converted(history, mapping_name)))
    if not history.attempts_complete and history.duplicate_of is None:
        entries.append(HistoryEntry(None, "quiet", "Older attempts", "Only the newest attempts are listed."))
    sent = [_attempt(each) for each in history.attempts]
    for replay in history.replays:
        requeued, id_ = f"Requeued by {person(replay.by, names)}.", replay.replay_id
        sent.append(HistoryEntry(replay.at, "quiet", "Replayed", requeued, replay_id=id_, kind=(id_,)))
    entries += collapse(sorted(sent, key=lambda entry: entry.at.timestamp() if entry.at else 0.0))
    if history.next_attempt_at and history.status == "retrying":
        again = "The event is retried automatically."
        entries.append(HistoryEntry(history.next_attempt_at, "warn", "Next attempt", again))
    return [*entries, *_last(history)]


_FEWEST_COLLAPSED = 3


def collapse(entries: Sequence[HistoryEntry]) -> list[HistoryEntry]:
    """Return the entries. Consecutive similar attempts become one entry that contains them."""
    collapsed: list[HistoryEntry] = []
    for _, run in groupby(entries, key=lambda entry: (entry.headline, entry.tone, entry.kind)):
        similar = list(run)
        if len(similar) < _FEWEST_COLLAPSED:
            collapsed += similar
            continue
        first, last = similar[0], similar[-1]
        headline = f"{first.headline} {len(similar):,} times"
        collapsed.append(replace(first, headline=headline, last_at=last.at, request_id=None, similar=similar))
    return collapsed


def _last(history: EventHistory) -> list[HistoryEntry]:
    """Return the last steps. The status is a step. If the event was erased after delivery, both are steps."""
    word, detail = STATUSES[history.status], amazon_message(history.explanation)
    delivered, erased = history.delivered_at, history.erased_at
    if delivered is not None and erased is not None:
        return [
            HistoryEntry(delivered, word.tone, word.label, "Amazon accepted it."),
            HistoryEntry(erased, "quiet", STATUSES["erased"].label, detail),
        ]
    return [HistoryEntry(delivered or erased, word.tone, word.label, detail)]


def _converted(history: EventHistory, mapping_name: str | None) -> str:
    kind = history.event_type
    if kind is None:
        return "The stored metadata of the conversion is damaged and cannot be shown."
    by = f"mapping “{mapping_name}”" if mapping_name else "a deleted mapping"
    keys = match_keys(history.match_keys)
    return (
        f"By {by}, version {history.mapping_version}, as {event_type_label(kind)}, with {keys}. "
        "The payload is frozen: retries resend exactly this."
    )


def match_keys(wire: Sequence[str]) -> str:
    """Return the labels of match keys, given by Amazon's names, as a text."""
    names = [match_key_label(key) for key in wire]
    if not names:
        return "no match key"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _attempt(attempt: EventAttempt) -> HistoryEntry:
    outcome = outcome_label(attempt.outcome)
    tone, parts = outcome.tone, [outcome.meaning]
    others = attempt.events_in_request - 1
    facts = [f"HTTP {attempt.http_status}" if attempt.http_status else ""]
    facts.append(f"{attempt.duration_ms:,} ms" if attempt.duration_ms is not None else "")
    facts.append(f"with {others:,} more" if others > 0 else "")
    parts.append(", ".join(fact for fact in facts if fact) + "." if any(facts) else "")
    if attempt.message:
        parts.append(f"Amazon's message: {amazon_message(attempt.message)}")
    if (refusal := _ITEM_OUTCOMES.get(attempt.item_outcome or "")) is not None:
        tone, sentence = refusal
        code = f" ({attempt.item_code})" if attempt.item_code else ""
        words = UNCLEAR_ANSWERS.get(attempt.item_message or "") or amazon_message(attempt.item_message)
        parts.append(f"{sentence}{code}: {words}" if words else f"{sentence}{code}.")
    names = ("outcome", "http_status", "message", "item_outcome", "item_code", "item_message")
    return HistoryEntry(
        attempt.started_at,
        tone,
        "Sent to Amazon",
        " ".join(part for part in parts if part),
        request_id=attempt.request_id,
        kind=tuple(getattr(attempt, name) for name in names),
    )


def warnings(history: EventHistory) -> list[str]:
    """Return the event's warnings as sentences."""
    entries = [
        f"{match_key_label(omitted.match_key)} was left out: {omitted.reason.replace('_', ' ')}."
        for omitted in history.dropped_match_keys
    ]
    for warning in history.warnings:
        code, field = warning["code"] or "", warning["field"] or ""
        if code == "match_key_dropped" and entries:
            continue  # each is listed by its key and reason
        known = field in FIELDS and code != "event_id_derived"
        label = f" ({FIELDS[field].label})" if known else ""
        entries.append(WARNINGS.get(code, code) + label)
    return entries

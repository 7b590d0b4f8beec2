"""The trace of one event as a story, a sentence for each step. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from app.console.wording import STATUSES, Label, moment, number, person
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.identity import MATCH_KEYS
from app.domain.mapping.fields import FIELDS
from app.domain.outcomes.explain import UNCLEAR_ANSWERS
from app.domain.outcomes.reasons import WARNINGS
from app.domain.outcomes.status import FINAL

_WIRE = {rule.type.value: rule.field for rule in MATCH_KEYS}


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One step of the story."""

    at: datetime | None
    tone: str
    headline: str
    detail: str


# What an attempt's outcome means in a sentence.
_OUTCOMES: Mapping[str, tuple[str, str]] = {
    "answered": ("good", "Amazon took the request and answered for each event."),
    "throttled": ("warn", "Amazon asked to wait; that costs the event no try."),
    "unauthorized": ("warn", "Amazon refused the access token; a fresh one is fetched."),
    "forbidden": ("bad", "Amazon says that the signed-in user may not send for this advertiser."),
    "divisible": (
        "warn",
        "Amazon refused the request as a whole; it is halved to find the event that spoils it.",
    ),
    "broken": ("warn", "Amazon failed, or its answer could not be read; the same bytes are sent again."),
    "lost": ("warn", "No whole answer came; the same bytes are sent again, and Amazon keeps one of them."),
    "missing": ("warn", "Amazon answered 404: it does not know this address or account. It is tried again."),
    "unexpected": ("bad", "Amazon answered something its contract does not name."),
    "under_way": ("quiet", "Under way: the answer has not come yet."),
}

# What an answered request said of this event, where it did not accept it: the words of an item outcome.
_ITEM_OUTCOMES: Mapping[str, tuple[str, str]] = {
    "amazon_refused": ("bad", "Amazon refused this event"),
    "amazon_request_refused": ("bad", "Amazon refused this event"),
    "amazon_unexpected": ("bad", "Amazon refused this event"),
    "amazon_endpoint_missing": ("bad", "Amazon does not know this address"),
    "amazon_item_failed": ("warn", "Amazon failed for this event and asks for it again"),
    "outcome_unknown": ("warn", "Whether Amazon took this event is not known"),
    "gave_up": ("bad", "Amazon failed for this event for the last time"),
}


def timeline(
    trace: Mapping[str, Any], mapping_name: str | None, names: Mapping[str, str] = MappingProxyType({})
) -> list[TimelineEntry]:
    """Return the steps of a trace as the API answers it, in the order in which they happened.

    `names` are what the keys of those who act are called.
    """
    own_time = "The event's own time, as its mapping read it."
    happened = [TimelineEntry(moment(trace["event_time"]), "quiet", "It happened", own_time)]
    told = [
        *(happened if trace["event_time"] else ()),
        TimelineEntry(
            moment(trace["accepted_at"]),
            "good",
            "Accepted and stored",
            "The journey got its 202 after this was on disk.",
        ),
        TimelineEntry(None, "good", "Converted", _converted(trace, mapping_name)),
    ]
    if not trace["attempts_complete"]:
        told.append(TimelineEntry(None, "quiet", "Older attempts", "There were more than are shown here."))
    sent = [_attempt(one) for one in trace["attempts"]]
    sent += [_replay(one, names) for one in trace["replays"]]
    told += sorted(sent, key=lambda one: one.at.timestamp() if one.at else 0.0)
    if trace["next_attempt_at"] and trace["status"] == "retrying":
        told.append(
            TimelineEntry(moment(trace["next_attempt_at"]), "warn", "Next try", "It is sent again by itself.")
        )
    return [*told, *_last(trace)]


def _last(trace: Mapping[str, Any]) -> list[TimelineEntry]:
    """Return where it stands; an erasure is a step of its own and changes no earlier one."""
    word, detail = STATUSES[trace["status"]], trace["explanation"]
    delivered, erased = moment(trace["delivered_at"]), moment(trace["erased_at"])
    if delivered is not None and erased is not None:
        return [
            TimelineEntry(delivered, word.tone, word.label, "Amazon accepted it."),
            TimelineEntry(erased, "quiet", STATUSES["erased"].label, detail),
        ]
    return [TimelineEntry(delivered or erased, word.tone, word.label, detail)]


def _replay(one: Mapping[str, Any], names: Mapping[str, str]) -> TimelineEntry:
    by = person(one["by"], names)
    return TimelineEntry(moment(one["at"]), "quiet", "Replayed", f"Put back by {by}; it is sent again.")


def _converted(trace: Mapping[str, Any], mapping_name: str | None) -> str:
    kind = trace["event_type"]
    if kind is None:
        return "What is stored of its conversion is damaged and cannot be shown."
    label = EVENT_TYPES[kind].label if kind in EVENT_TYPES else kind
    by = f"mapping “{mapping_name}”" if mapping_name else "a mapping that was deleted since"
    keys = match_keys(trace["match_keys"])
    return (
        f"By {by}, version {trace['mapping_version']}, as {label}, with {keys}. "
        "From here on its bytes never change, however often they are sent."
    )


def match_keys(wire: Sequence[str]) -> str:
    """Return the match keys an event carried, in words."""
    names = [FIELDS[_WIRE[key]].label if key in _WIRE else key for key in wire]
    if not names:
        return "no match key"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _attempt(one: Mapping[str, Any]) -> TimelineEntry:
    tone, sentence = _OUTCOMES.get(one["outcome"], ("quiet", ""))
    parts = [sentence]
    beside = one["events_in_request"] - 1
    facts = [f"HTTP {one['http_status']}" if one["http_status"] else ""]
    facts.append(f"{number(one['duration_ms'])} ms" if one["duration_ms"] is not None else "")
    facts.append(f"with {number(beside)} more" if beside > 0 else "")
    facts.append(f"Amazon's request id {one['request_id']}" if one["request_id"] else "")
    parts.append(", ".join(fact for fact in facts if fact) + "." if any(facts) else "")
    if one["message"]:
        parts.append(f"Amazon's words: {one['message']}")
    if one["item_outcome"] in _ITEM_OUTCOMES:
        tone, sentence = _ITEM_OUTCOMES[one["item_outcome"]]
        code = f" ({one['item_code']})" if one["item_code"] else ""
        words = UNCLEAR_ANSWERS.get(one["item_message"], one["item_message"])
        parts.append(f"{sentence}{code}: {words}" if words else f"{sentence}{code}.")
    return TimelineEntry(
        moment(one["started_at"]), tone, "Sent to Amazon", " ".join(part for part in parts if part)
    )


def warnings(trace: Mapping[str, Any]) -> list[str]:
    """Return the warnings that the event was accepted with, as sentences."""
    told = []
    for one in trace["warnings"]:
        field = one["field"]
        known = field in FIELDS and one["code"] != "event_id_derived"
        label = f" ({FIELDS[field].label})" if known else ""
        told.append(WARNINGS.get(one["code"], one["code"]) + label)
    return told


def verdict(trace: Mapping[str, Any]) -> Label:
    """Return the status of the event."""
    return STATUSES[trace["status"]]


def is_final(trace: Mapping[str, Any]) -> bool:
    """Return whether nothing will happen to the event any more."""
    return trace["status"] in {status.value for status in FINAL}

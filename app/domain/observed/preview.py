"""Preview the conversion of an event, step by step (interface §4), and each field of a draft on its own.

A draft shows results before it is complete: a field that is missing or rejects the event does not hide the
results of other fields.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NotRequired

import msgspec
from typing_extensions import TypedDict

from app.domain.conversion.amazon_codes import PURCHASE, PURCHASE_ONLY
from app.domain.conversion.convert import ID_DERIVED, ConversionPlan, Step, Trace, Work
from app.domain.event import Event, EventProblem, Rejection
from app.domain.identity.keys import DropReason
from app.domain.mapping.sources import Source
from app.domain.outcomes.reasons import WARNINGS, JourneyCode, WarningView


class PreviewStep(TypedDict):
    """One step of a conversion: the field of the mapping, and its path in the event, null for a constant.

    For a personal value, `result` is only the start of its hash, and `…` for an unhashed id.
    """

    field: str
    source: str | None
    found: bool
    rule: str
    result: Any


class ConversionPreview(TypedDict):
    """The preview of an event that would be sent. `amazon_event` is the exact JSON that would be sent."""

    ok: Literal[True]
    event_id: str
    amazon_event: dict[str, Any]
    steps: list[PreviewStep]
    warnings: list[WarningView]


class RejectionPreview(TypedDict):
    """The preview of an event that would be rejected.

    `also` are the other problems of the event, at most nine, a field once.
    """

    ok: Literal[False]
    code: JourneyCode
    reason: str
    field: str | None
    mapping_field: str | None
    detail: str
    also: NotRequired[Sequence[EventProblem]]


def preview(
    event: Event, event_id: str, plan: ConversionPlan, *, now: datetime, work: Work | None = None
) -> ConversionPreview | RejectionPreview:
    """Return the Amazon event that would be sent and each step of the conversion, or the rejection.

    The steps contain no personal data: only the start of a hash, and `…` for unhashed ids. `work` is charged
    with the steps that the event took.
    """
    trace: Trace = []
    outcome = plan.convert(event, event_id, now, work=work, trace=trace)
    if isinstance(outcome, Rejection):
        return rejection_view(outcome)
    warnings = outcome.warnings if event.event_id is not None else (ID_DERIVED, *outcome.warnings)
    return {
        "ok": True,
        "event_id": outcome.event_id,
        "amazon_event": msgspec.json.decode(outcome.body),
        "steps": [
            {
                "field": step.field,
                "source": step.source.path if step.source else None,
                "found": step.rule != "absent",
                "rule": step.rule,
                "result": step.result,
            }
            for step in trace
        ],
        "warnings": [{"code": warning.code, "field": warning.field} for warning in warnings],
    }


def rejection_view(rejection: Rejection) -> RejectionPreview:
    """Return the preview of a rejected event."""
    view: RejectionPreview = {
        "ok": False,
        "code": rejection.code,
        "reason": rejection.reason,
        "field": rejection.field,
        "mapping_field": rejection.mapping_field,
        "detail": rejection.detail,
    }
    if rejection.also:
        view["also"] = rejection.also
    return view


@dataclass(frozen=True, slots=True)
class FieldPreview:
    """The result of one field for an event, or a note that explains why the field has no result.

    `result` contains no personal data: a hash is shortened, and an unhashed id is `…`. `rejects` means that
    this field rejects the event.
    """

    field: str
    source: str | None
    result: Any = None
    rule: str = ""
    note: str | None = None
    rejects: bool = False


def preview_fields(trace: Iterable[Step], event_name: str) -> Iterator[FieldPreview]:
    """Yield the preview of each mapped field from the steps of a conversion, in their order.

    `event_name` is the name that the mapping gives to its events; empty if it has none.
    """
    event_type = None
    for step in trace:
        if step.field == "event_type":
            event_type = step.result
        elif step.field == "event_name":
            event_name = ""  # its step says which name is pinned
        elif step.field == "consent" and not step.rejects:
            continue  # the steps of its sources are shown
        yield _field_preview(step, event_type)
    if event_name:
        yield FieldPreview("event_name", None, event_name, "const")


def _field_preview(step: Step, event_type: str | None) -> FieldPreview:
    path = step.source.path if step.source else None
    if step.rejects:
        return FieldPreview(step.field, path, note=step.sentence, rejects=True)
    if step.rule == "absent":
        return FieldPreview(step.field, path, rule="absent", note=_absent(step.source))
    if step.failed is not None:
        why = step.failed.drop or step.failed.sentence
        why = "nothing valid remained" if why == DropReason.EMPTY.value else why.replace("_", " ")
        return FieldPreview(step.field, path, rule=step.rule, note=f"Left out: {why}.")
    ignored = PURCHASE_ONLY.get(step.field)
    if ignored is not None and event_type not in (None, PURCHASE):
        return FieldPreview(step.field, path, rule=step.rule, note=WARNINGS[ignored])
    note = next((WARNINGS[code] for code in step.warnings), None)
    return FieldPreview(step.field, path, step.result, step.rule, note)


def _absent(source: Source | None) -> str:
    """Return a sentence for a field without a value. The sample may have paths whose pipe leaves nothing."""
    if source is None or not source.paths:
        return "No value."
    is_plain = len(source.paths) == 1 and not source.functions
    return f"The sample has no {source.path}." if is_plain else f"No value from {' and '.join(source.paths)}."

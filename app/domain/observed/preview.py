"""Preview the conversion of an event, step by step. Interface §4 defines the result."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import msgspec

from app.domain.conversion.convert import ConversionPlan, Step, Trace
from app.domain.event import Event, Rejection


def preview(event: Event, event_id: str, plan: ConversionPlan, *, now: datetime) -> dict[str, Any]:
    """Return the Amazon event that would be sent and each step of the conversion, or the rejection.

    The steps contain no personal data: only the start of a hash, and `…` for unhashed ids.
    """
    trace: Trace = []
    outcome = plan.convert(event, event_id, now, trace=trace)
    if isinstance(outcome, Rejection):
        return rejection_view(outcome)
    return {
        "ok": True,
        "event_id": outcome.event_id,
        "amazon_event": msgspec.json.decode(outcome.body),
        "steps": [_row(step) for step in trace],
        "warnings": [{"code": warning.code, "field": warning.field} for warning in outcome.warnings],
    }


def _row(step: Step) -> dict[str, Any]:
    return {
        "field": step.field,
        "source": step.source.path if step.source else None,
        "found": step.rule != "absent",
        "rule": step.rule,
        "result": step.result,
    }


def rejection_view(rejection: Rejection) -> dict[str, Any]:
    """Return the preview of a rejected event."""
    view: dict[str, Any] = {
        "ok": False,
        "code": rejection.code.value,
        "reason": rejection.reason,
        "field": rejection.field,
        "mapping_field": rejection.mapping_field,
        "detail": rejection.detail,
    }
    if rejection.also:
        view["also"] = [asdict(problem) for problem in rejection.also]
    return view

"""Preview the conversion of an event, step by step. Interface §4 defines the result."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from app.domain.conversion.convert import Rules, convert
from app.domain.event import Event, Rejection
from app.domain.mapping.document import Mapping
from app.domain.mapping.sources import Source


class _Steps:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def step(self, name: str, source: Source, *, found: bool, rule: str, result: Any) -> None:
        value = float(result) if isinstance(result, Decimal) else result
        self.rows.append(
            {"field": name, "source": source.path, "found": found, "rule": rule, "result": value}
        )


def preview(event: Event, event_id: str, mapping: Mapping, rules: Rules, *, now: datetime) -> dict[str, Any]:
    """Return the Amazon event that would be sent and each step of the conversion, or the rejection.

    The steps contain no personal data: only the start of a hash, and `…` for unhashed ids.
    """
    steps = _Steps()
    outcome = convert(event, event_id, mapping, rules, now=now, trace=steps)
    if isinstance(outcome, Rejection):
        return rejection_view(outcome)
    return {
        "ok": True,
        "event_id": outcome.event_id,
        "amazon_event": msgspec.json.decode(outcome.body),
        "steps": steps.rows,
        "warnings": [{"code": warning.code, "field": warning.field} for warning in outcome.warnings],
    }


def rejection_view(rejection: Rejection) -> dict[str, Any]:
    """Return the preview of a rejected event."""
    return {
        "ok": False,
        "code": rejection.code.value,
        "reason": rejection.reason,
        "field": rejection.field,
        "mapping_field": rejection.mapping_field,
        "detail": rejection.detail,
    }

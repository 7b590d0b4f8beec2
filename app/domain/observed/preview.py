"""Preview a conversion step by step. Shape of the result: interface §4."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from app.domain.conversion.convert import Conversion, Rules, convert
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
    """Return what would be sent for an event, or why it would be rejected. Nothing is stored or sent.

    `amazon_event` is decoded from the bytes that would be sent. The steps show only the start of the
    hash of personal values, and `…` for unhashed ids.
    """
    steps = _Steps()
    outcome = convert(event, event_id, mapping, rules, now=now, trace=steps)
    if isinstance(outcome, Rejection):
        return rejection_view(outcome)
    return conversion_view(outcome, steps.rows)


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


def conversion_view(conversion: Conversion, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the preview of a converted event."""
    return {
        "ok": True,
        "event_id": conversion.event_id,
        "amazon_event": msgspec.json.decode(conversion.body),
        "steps": steps,
        "warnings": [{"code": warning.code, "field": warning.field} for warning in conversion.warnings],
    }

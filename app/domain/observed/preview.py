"""What would be sent, shown step by step: the conversion itself, watched. Shape: interface §4."""

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
        shown = float(result) if isinstance(result, Decimal) else result
        self.rows.append(
            {"field": name, "source": source.path, "found": found, "rule": rule, "result": shown}
        )


def preview(event: Event, event_id: str, mapping: Mapping, rules: Rules, *, now: datetime) -> dict[str, Any]:
    """Show what an event would become, or why it would be refused. Nothing is stored, nothing is sent.

    `amazon_event` is read back from the very bytes that would be sent. In the steps a person's traits appear
    as the head of their hash, ids that travel unhashed as `…`.
    """
    steps = _Steps()
    outcome = convert(event, event_id, mapping, rules, now=now, trace=steps)
    if isinstance(outcome, Rejection):
        return rejection_view(outcome)
    return conversion_view(outcome, steps.rows)


def rejection_view(rejection: Rejection) -> dict[str, Any]:
    """Show a rejection as a preview does."""
    return {
        "ok": False,
        "code": rejection.code.value,
        "reason": rejection.reason,
        "field": rejection.field,
        "mapping_field": rejection.mapping_field,
        "detail": rejection.detail,
    }


def conversion_view(conversion: Conversion, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Show a conversion as a preview does."""
    return {
        "ok": True,
        "event_id": conversion.event_id,
        "amazon_event": msgspec.json.decode(conversion.body),
        "steps": steps,
        "warnings": [{"code": w.code, "field": w.field} for w in conversion.warnings],
    }

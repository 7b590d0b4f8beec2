"""The view of a backtest, in sentences. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.wording import number, share
from app.domain.identity import MATCH_KEYS
from app.domain.mapping.fields import FIELDS
from app.domain.outcomes.reasons import REASONS

_WIRE = {rule.type.value: rule.field for rule in MATCH_KEYS}
_LARGE_LOSS = 0.05  # a larger loss is shown in red


@dataclass(frozen=True, slots=True)
class BacktestEffect:
    """One effect of the draft on some of the events."""

    events: str
    share: str
    text: str


@dataclass(frozen=True, slots=True)
class BacktestView:
    """A backtest as the page shows it."""

    events: str
    tone: str
    headline: str
    effects: Sequence[BacktestEffect]
    changed: str  # what would be sent with another value
    unclear: str
    uncertain: str


def backtest_view(backtest: Mapping[str, Any]) -> BacktestView:
    """Return the view of a backtest response: losses first, then gains and other differences."""
    tested = backtest["events"] - backtest["unclear"]

    def effect(events: int, what: str) -> BacktestEffect:
        return BacktestEffect(number(events), share(events, tested), what)

    lost = [effect(events, f"would lose {_key(key)}") for key, events in backtest["lost"].items()]
    rejected = [
        effect(group["events"], f"would be rejected: {_why(group)}") for group in backtest["newly_rejected"]
    ]
    gained = [effect(events, f"would gain {_key(key)}") for key, events in backtest["gained"].items()]
    harmful = bool(lost or rejected)
    return BacktestView(
        events=number(backtest["events"]),
        tone="bad"
        if backtest["loss"] > _LARGE_LOSS
        else "warn"
        if harmful
        else "good"
        if backtest["events"]
        else "quiet",
        headline=_headline(backtest, harmful=harmful),
        changed=", ".join(_field(name) for name in backtest["changed"]),
        effects=[*lost, *rejected, *gained],
        unclear=number(backtest["unclear"]) if backtest["unclear"] else "",
        uncertain=", ".join(_field(name) for name in backtest["uncertain"]),
    )


def _headline(backtest: Mapping[str, Any], *, harmful: bool) -> str:
    if not backtest["events"]:
        return "No recent events to test the draft on."
    if harmful:
        return f"{_loss(backtest['loss'])} of these events would lose a match key or be rejected."
    if any(backtest[name] for name in ("gained", "changed", "uncertain", "unclear")):
        return "None of these events would lose a match key or be rejected."
    return "No changes for these events."


def _loss(loss: float) -> str:
    return share(max(1, round(loss * 10_000)) if loss else 0, 10_000)


def _why(rejection: Mapping[str, Any]) -> str:
    field = f", {_field(rejection['mapping_field'])}" if rejection["mapping_field"] else ""
    remedy = REASONS[rejection["reason"]].remedy if rejection["reason"] in REASONS else ""
    return f"{rejection['reason'].replace('_', ' ')}{field}. {remedy}".strip()


def _key(wire: str) -> str:
    return _field(_WIRE.get(wire, wire))


_LABELS = {
    "event_type": "Event Type",
    "event_source": "Event Source",
    "event_name": "Event Name",
    "country_code": "Country Code",
    "consent": "Consent",
}


def _field(name: str) -> str:
    if name in FIELDS:
        return FIELDS[name].label
    return _LABELS.get(name, name.removeprefix("custom_data."))

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
    unclear: str
    uncertain: str


def backtest_view(backtest: Mapping[str, Any]) -> BacktestView:
    """Return the view of a backtest response: losses first, then gains."""
    tested = backtest["events"] - backtest["unclear"]

    def effect(events: int, what: str) -> BacktestEffect:
        return BacktestEffect(number(events), share(events, tested), what)

    lost = [effect(group["events"], f"would lose {_key(group['match_key'])}") for group in backtest["lost"]]
    rejected = [
        effect(group["events"], f"would be rejected: {_why(group)}") for group in backtest["newly_rejected"]
    ]
    gained = [
        effect(group["events"], f"would gain {_key(group['match_key'])}") for group in backtest["gained"]
    ]
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
        headline=_headline(backtest, harmful=harmful, changed=harmful or bool(gained)),
        effects=[*lost, *rejected, *gained],
        unclear=number(backtest["unclear"]) if backtest["unclear"] else "",
        uncertain=", ".join(_field(name) for name in backtest["uncertain"]),
    )


def _headline(backtest: Mapping[str, Any], *, harmful: bool, changed: bool) -> str:
    if not backtest["events"]:
        return "No recent events to test the draft on."
    if harmful:
        return f"{_loss(backtest['loss'])} of these events would lose a match key or be rejected."
    if changed:
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


def _field(name: str) -> str:
    return FIELDS[name].label if name in FIELDS else name

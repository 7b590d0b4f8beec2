"""The view of a backtest, in sentences. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.console.mapping_view import field_label
from app.console.wording import match_key_label, number, share
from app.domain.observed.backtest import Backtest
from app.domain.outcomes.reasons import REASONS

_LARGE_LOSS = 0.05  # a larger loss is shown in red


@dataclass(frozen=True, slots=True)
class BacktestEffect:
    """An effect that publishing the draft would have on some of the events."""

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
    changed: str  # fields that would be sent with another value
    unclear: str
    uncertain: str


def backtest_view(backtest: Backtest) -> BacktestView:
    """Return the view of a backtest: losses first, then gains."""
    tested = backtest.events - backtest.unclear

    def effect(events: int, what: str) -> BacktestEffect:
        return BacktestEffect(number(events), share(events, tested), what)

    lost = [
        effect(events, f"would lose {match_key_label(key)}") for key, events in backtest.lost.most_common()
    ]
    rejected = [
        effect(events, f"would be rejected: {_why(reason, field)}")
        for (reason, _, field), events in backtest.rejected.most_common()
    ]
    gained = [
        effect(events, f"would gain {match_key_label(key)}") for key, events in backtest.gained.most_common()
    ]
    return BacktestView(
        events=number(backtest.events),
        tone="bad"
        if backtest.loss > _LARGE_LOSS
        else "warn"
        if backtest.harmful
        else "good"
        if backtest.events
        else "quiet",
        headline=_headline(backtest),
        changed=", ".join(field_label(name) for name in sorted(backtest.changed)),
        effects=[*lost, *rejected, *gained],
        unclear=number(backtest.unclear) if backtest.unclear else "",
        uncertain=", ".join(field_label(name) for name in backtest.uncertain),
    )


def _headline(backtest: Backtest) -> str:
    if not backtest.events:
        return "No recent events to test the draft on."
    if backtest.harmful:
        worst = share(max(1, round(backtest.loss * 10_000)), 10_000)
        return f"{worst} of these events would lose a match key or be rejected."
    if backtest.gained or backtest.changed or backtest.uncertain or backtest.unclear:
        return "None of these events would lose a match key or be rejected."
    return "No changes for these events."


def _why(reason: str, mapping_field: str | None) -> str:
    field = f", {field_label(mapping_field)}" if mapping_field else ""
    remedy = REASONS[reason].remedy if reason in REASONS else ""
    return f"{reason.replace('_', ' ')}{field}. {remedy}".strip()

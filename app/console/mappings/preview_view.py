"""The view of a backtest, in sentences. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.console.mappings.view import field_label
from app.console.wording import match_key_label, number, share
from app.domain.observed.backtest import REPEATS_UNKNOWN, Backtest, EventGroup
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
    unclear: Sequence[BacktestEffect]  # what depends on texts that are not stored


def backtest_view(backtest: Backtest) -> BacktestView:
    """Return the view of a backtest: losses first, then gains."""

    def effect(events: int, what: str) -> BacktestEffect:
        return BacktestEffect(number(events), share(events, backtest.events), what)

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
    repeated = [
        effect(events, "would be rejected: they repeat the event id of an earlier event")
        for events in (backtest.repeated_event_ids,)
        if events
    ]
    accepted = [effect(events, "would be accepted") for events in (backtest.newly_accepted,) if events]
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
        effects=[*lost, *rejected, *repeated, *gained, *accepted],
        unclear=[effect(events, _unclear_label(group)) for group, events in backtest.unclear.most_common()],
    )


def _unclear_label(group: EventGroup) -> str:
    if group.reason == REPEATS_UNKNOWN:
        return "event ids may repeat"
    if group.mapping_field == "no_match_key":
        return "no match key may be left"
    return field_label(group.mapping_field or "")


def _headline(backtest: Backtest) -> str:
    if not backtest.events:
        return "No recent events to test the draft on."
    if backtest.harmful:
        worst = share(max(1, round(backtest.loss * 10_000)), 10_000)
        return f"{worst} of these events would lose a match key or be rejected."
    if backtest.unclear:
        return "No loss is certain for these events."
    if backtest.gained or backtest.changed or backtest.newly_accepted:
        return "None of these events would lose a match key or be rejected."
    return "No changes for these events."


def _why(reason: str, mapping_field: str | None) -> str:
    field = f", {field_label(mapping_field)}" if mapping_field else ""
    remedy = REASONS[reason].remedy if reason in REASONS else ""
    return f"{reason.replace('_', ' ')}{field}. {remedy}".strip()

"""The view of a backtest, in sentences. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.wording import number, share
from app.domain.identity import MATCH_KEYS
from app.domain.mapping.fields import FIELDS
from app.domain.outcomes.reasons import REASONS

_WIRE = {rule.type.value: rule.field for rule in MATCH_KEYS}
_MUCH = 0.05  # a larger loss is shown in red


@dataclass(frozen=True, slots=True)
class BacktestEffect:
    """One effect of the draft on some of the events."""

    events: str
    share: str
    told: str


@dataclass(frozen=True, slots=True)
class BacktestView:
    """A backtest as the page shows it."""

    events: str
    tone: str
    headline: str
    effects: Sequence[BacktestEffect]
    unclear: str
    uncertain: str


def backtest_view(told: Mapping[str, Any]) -> BacktestView:
    """Return the view of a backtest response: losses first, then gains."""
    whole = told["events"] - told["unclear"]

    def effect(events: int, what: str) -> BacktestEffect:
        return BacktestEffect(number(events), share(events, whole), what)

    lost = [effect(one["events"], f"lose {_key(one['match_key'])}") for one in told["lost"]]
    refused = [effect(one["events"], f"are newly rejected: {_why(one)}") for one in told["newly_rejected"]]
    gained = [effect(one["events"], f"gain {_key(one['match_key'])}") for one in told["gained"]]
    harm = bool(lost or refused)
    return BacktestView(
        events=number(told["events"]),
        tone="bad" if told["loss"] > _MUCH else "warn" if harm else "good" if told["events"] else "quiet",
        headline=_headline(told, harm=harm, changed=harm or bool(gained)),
        effects=[*lost, *refused, *gained],
        unclear=number(told["unclear"]) if told["unclear"] else "",
        uncertain=", ".join(_field(name) for name in told["uncertain"]),
    )


def _headline(told: Mapping[str, Any], *, harm: bool, changed: bool) -> str:
    if not told["events"]:
        return "No event was seen yet that the draft could be tried against."
    if harm:
        return f"The draft would harm {_loss(told['loss'])} of them."
    if changed:
        return "The draft would harm none of them."
    return "Nothing changes for any of them."


def _loss(loss: float) -> str:
    return share(max(1, round(loss * 10_000)) if loss else 0, 10_000)


def _why(one: Mapping[str, Any]) -> str:
    at = f", {_field(one['mapping_field'])}" if one["mapping_field"] else ""
    remedy = REASONS[one["reason"]].remedy if one["reason"] in REASONS else ""
    return f"{one['reason'].replace('_', ' ')}{at}. {remedy}".strip()


def _key(wire: str) -> str:
    return _field(_WIRE.get(wire, wire))


def _field(name: str) -> str:
    return FIELDS[name].label if name in FIELDS else name

"""Write a plan as text: a line per changed destination and mapping, and a line per changed field."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.admin.mappings.backtest import summary
from app.config_as_code.plan import DestinationStep, MappingStep, Plan, PlannedAction
from app.config_as_code.read import InvalidFile
from app.domain.mapping.diff import Difference
from app.domain.observed.backtest import Backtest

_SIGNS = dict(zip(PlannedAction, "+~-=", strict=True))
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_MAX_LENGTH = 120


def lines(plan: Plan, backtests: Mapping[str, Backtest], *, done: bool = False) -> Iterator[str]:
    """Yield the lines of a plan. The last line counts the actions, which were applied if `done` is true."""
    for step in plan.steps:
        if step.changed:
            yield from _destination(step, backtests)
    for destination in plan.unmanaged:
        yield f"  destination {destination.name} ({destination.id}) is not in the file: unchanged"
    yield _sum(plan, done=done)


def problem_lines(file: InvalidFile) -> Iterator[str]:
    """Yield a line for each problem of a file, then the line that nothing was changed."""
    for problem in file.problems:
        yield f"{problem.path}: {problem.sentence}"
    yield "Nothing was changed."


def _destination(step: DestinationStep, backtests: Mapping[str, Backtest]) -> Iterator[str]:
    where = f"{step.settings.advertiser_id} in {step.settings.region.value}"
    id_ = step.existing.id if step.existing else "new"
    yield f"{_SIGNS[step.action]} destination {step.settings.name} ({id_}), {where}"
    yield from _members(step.changes, 4)
    for mapping in step.mappings:
        yield from _mapping(mapping)
        if mapping.existing and (backtest := backtests.get(mapping.existing.id)):
            yield f"      backtest: {summary(backtest)}"


def _mapping(step: MappingStep) -> Iterator[str]:
    existing = step.existing
    name = f"mapping {step.name} ({existing.id if existing else 'new'})"
    match step.action:
        case PlannedAction.NOTHING if step.desired is None:
            yield f"    {name} is not in the file: unchanged"
        case PlannedAction.NOTHING:
            return
        case PlannedAction.ARCHIVE:
            yield f"  - {name}: archived, receives no more events"
        case PlannedAction.CREATE | PlannedAction.CHANGE:
            version = None if existing is None else existing.published_version
            state = "published" if step.desired and step.desired.published else "draft"
            replaces = "" if version is None else f", replaces version {version}"
            yield f"  {_SIGNS[step.action]} {name}: {state}{replaces}"
            yield from _members(step.changes, 6)


def _members(changes: Sequence[Difference], indent: int) -> Iterator[str]:
    for change in changes:
        yield f"{' ' * indent}{change.path}: {_json(change.before)} -> {_json(change.after)}"


def _json(value: Any) -> str:
    if value is None:
        return "(none)"
    text = _ENCODER.encode(value).decode()
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"


def _sum(plan: Plan, *, done: bool) -> str:
    counts = Counter(plan.actions)
    words = {action: f"{action}d" if done else f"to {action}" for action in PlannedAction}
    parts = [f"{counts[action]} {word}" for action, word in words.items() if counts[action]]
    return f"{', '.join(parts)}." if counts else "No differences."

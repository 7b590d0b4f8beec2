"""A plan in words: one line a thing, one line a member that differs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.admin.backtest import summary
from app.config_as_code.plan import DestinationStep, MappingStep, Plan, PlannedAction
from app.config_as_code.read import UnreadableFile
from app.domain.mapping.diff import Difference
from app.domain.observed.backtest import Backtest

_SIGNS = {
    PlannedAction.MAKE: "+",
    PlannedAction.CHANGE: "~",
    PlannedAction.ARCHIVE: "-",
    PlannedAction.NOTHING: "=",
}
_DONE = {PlannedAction.MAKE: "made", PlannedAction.CHANGE: "changed", PlannedAction.ARCHIVE: "archived"}
_WILL = {
    PlannedAction.MAKE: "to make",
    PlannedAction.CHANGE: "to change",
    PlannedAction.ARCHIVE: "to archive",
}
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_LONGEST = 120


def lines(plan: Plan, tested: Mapping[str, Backtest], *, done: bool = False) -> Iterator[str]:
    """Yield the plan, or what was done of it, as lines; the last one sums it up."""
    for step in plan.steps:
        if step.touched:
            yield from _destination(step, tested)
    for one in plan.left:
        yield f"  destination {one.name} ({one.id}) is not in the file and is left alone"
    yield _sum(plan, done=done)


def refused_lines(refused: UnreadableFile) -> Iterator[str]:
    """Yield what keeps a file from being applied."""
    for one in refused.wrong:
        yield f"{one.at}: {one.sentence}"
    yield "Nothing was changed."


def _destination(step: DestinationStep, tested: Mapping[str, Backtest]) -> Iterator[str]:
    where = f"{step.draft.advertiser_id} in {step.draft.region.value}"
    id_ = step.found.id if step.found else "new"
    yield f"{_SIGNS[step.action]} destination {step.draft.name} ({id_}), {where}"
    yield from _members(step.changes, 4)
    for mapping in step.mappings:
        yield from _mapping(mapping)
        if mapping.found and (told := tested.get(mapping.found.id)):
            yield f"      backtest: {summary(told)}"


def _mapping(step: MappingStep) -> Iterator[str]:
    found = step.found
    name = f"mapping {step.name} ({found.id if found else 'new'})"
    match step.action:
        case PlannedAction.NOTHING if step.wanted is None:
            yield f"    {name} is not in the file and is left alone"
        case PlannedAction.NOTHING:
            return
        case PlannedAction.ARCHIVE:
            yield f"  - {name}: takes no more events"
        case PlannedAction.MAKE | PlannedAction.CHANGE:
            now = None if found is None else found.published_version
            to = "published" if step.wanted and step.wanted.published else "kept as a draft"
            what = f"{to}, in place of version {now}" if now is not None else to
            yield f"  {_SIGNS[step.action]} {name}: {what}"
            yield from _members(step.changes, 6)


def _members(changes: Sequence[Difference], indent: int) -> Iterator[str]:
    for change in changes:
        yield f"{' ' * indent}{change.path}: {_shown(change.before)} -> {_shown(change.after)}"


def _shown(value: Any) -> str:
    if value is None:
        return "(nothing)"
    text = _ENCODER.encode(value).decode()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _sum(plan: Plan, *, done: bool) -> str:
    words = _DONE if done else _WILL
    actions = plan.actions
    if not actions:
        return "Everything is as the file says."
    return (
        ", ".join(f"{actions.count(action)} {word}" for action, word in words.items() if action in actions)
        + "."
    )

"""The commands `plan`, `apply`, `export` and `schema`.

The exit code is 0 on success, and 1 if the file was refused and nothing was changed. `plan` exits with 2 if
there are differences.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from app.admin.destinations.preflight import currency_differs
from app.admin.mappings.trials import summary
from app.commands.organisation import actor, add_organisation_argument, engine_for
from app.config_as_code import apply as applying
from app.config_as_code import existing, file
from app.config_as_code.file import DesiredDestination, FileProblem, InvalidFile
from app.config_as_code.plan import DestinationStep, MappingStep, Plan, PlannedAction
from app.domain.destination import State
from app.domain.ids import LaneId
from app.domain.mapping.diff import Difference
from app.domain.strict_json import json_text
from app.processes.deployment import deployment_rules
from app.processes.resources import Resources, open_resources
from app.settings import Settings
from app.store import lanes

DRIFT = 2


def plan_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the YAML file, - for standard input")
    parser.add_argument(
        "--prune", action="store_true", help="archive mappings of a named destination that the file lacks"
    )
    parser.add_argument(
        "--max-loss",
        type=_share,
        metavar="SHARE",
        help="refuse a change if more than this share of recent events, such as 1%%, would lose a match key",
    )
    add_organisation_argument(parser)


apply_arguments = plan_arguments


def export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--without-ids", action="store_true", help="omit ids, so that another instance matches by name"
    )
    add_organisation_argument(parser)


def schema(_settings: Settings, _asked: argparse.Namespace) -> None:
    """Print the JSON schema of the file."""
    print(json.dumps(file.schema(), indent=2, ensure_ascii=False))


async def plan(settings: Settings, asked: argparse.Namespace) -> int:
    """Print the changes that `apply` would make. Return 2 if there are any."""
    return await _apply(settings, asked, dry_run=True)


async def apply(settings: Settings, asked: argparse.Namespace) -> int:
    """Apply the complete file, or nothing if it has a problem."""
    return await _apply(settings, asked, dry_run=False)


async def _apply(settings: Settings, asked: argparse.Namespace, *, dry_run: bool) -> int:
    text, desired = _read(asked.file)
    if isinstance(desired, InvalidFile):
        return _refuse(desired, text)
    async with open_resources(settings, role=asked.command, pool_size=1) as resources:
        options = applying.ApplyOptions(
            by=actor(),
            organisation=asked.organisation,
            channels=frozenset(
                each.name
                for each in settings.notification_channels
                if each.organisation == asked.organisation
            ),
            prune=asked.prune,
            max_loss=asked.max_loss,
            deployment=deployment_rules(settings),
            pepper=resources.pepper,
        )
        done = await applying.apply(await engine_for(resources, asked), desired, options, dry_run=dry_run)
        if isinstance(done, InvalidFile):
            return _refuse(done, text)
        if not dry_run:
            await _wake(resources, done)
    print(*lines(done, done=not dry_run), sep="\n")
    if dry_run:
        return DRIFT if done.plan.actions else 0
    for destination in done.destinations:
        if destination.state in (State.DRAFT, State.NEEDS_RECONNECT):
            name = f"{destination.name} ({destination.id})"
            print(f"{name} is not connected to Amazon: connect it in the console.")
    return 0


async def _wake(resources: Resources, done: applying.AppliedPlan) -> None:
    """Notify the workers of changed destinations. Without this, they notice the change at their next poll."""
    steps = zip(done.plan.steps, done.destinations, strict=True)
    changed: dict[LaneId, int] = {destination.lane: 0 for step, destination in steps if step.actions}
    async with resources.pool.acquire() as connection:
        await lanes.notify_waiting(connection, changed)


async def export(settings: Settings, asked: argparse.Namespace) -> None:
    """Print the stored configuration as a YAML file."""
    async with (
        open_resources(settings, role="export", pool_size=1) as resources,
        (await engine_for(resources, asked)).connect() as connection,
    ):
        stored = await existing.stored_configuration(connection)
    # In UTF-8 also if the locale has another encoding: `apply` reads nothing else.
    sys.stdout.buffer.write(existing.export(stored, ids=not asked.without_ids).encode())
    for mapping in stored.mappings:
        if mapping.archived_at is None and mapping.published not in (None, mapping.draft):
            name = f"Mapping {mapping.name} ({mapping.id})"
            print(f"{name} has unpublished changes. They are not exported.", file=sys.stderr)


def _read(path: str) -> tuple[str, list[DesiredDestination] | InvalidFile]:
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        text = content.decode()
    except OSError as problem:
        return "", InvalidFile((FileProblem(path, f"The file cannot be read ({problem.strerror})."),))
    except UnicodeDecodeError:
        return "", InvalidFile((FileProblem(path, "The file is not UTF-8."),))
    return text, file.read(text)


def _share(text: str) -> Fraction:
    """Parse a share such as `1%` or `0.5%`."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", text.strip(), re.ASCII)
    if match is None or (share := Fraction(match[1]) / 100) > 1:
        raise argparse.ArgumentTypeError("must be a percentage such as 1% or 0.5%")
    return share


def _refuse(invalid: InvalidFile, text: str) -> int:
    for problem in file.with_lines(invalid, text).problems:
        print(f"{problem.path}: {problem.sentence}", file=sys.stderr)
    print("Nothing was changed.", file=sys.stderr)
    return 1


_SIGNS = dict(zip(PlannedAction, "+~-=", strict=True))
_MAX_LENGTH = 120


def lines(applied: applying.AppliedPlan, *, done: bool = False) -> Iterator[str]:
    """Yield the lines of a plan. The last line counts the actions, which were applied if `done` is true."""
    plan = applied.plan
    for step in plan.steps:
        if step.actions:
            yield from _destination_lines(step, applied)
    for destination in plan.unmanaged:
        yield f"  destination {destination.name} ({destination.id}) is not in the file: unchanged"
    yield _sum(plan, done=done)


def _destination_lines(step: DestinationStep, applied: applying.AppliedPlan) -> Iterator[str]:
    where = f"{step.settings.advertiser_id} in {step.settings.region.value}"
    id_ = step.existing.id if step.existing else "new"
    yield f"{_SIGNS[step.action]} destination {step.settings.name} ({id_}), {where}"
    yield from _members(step.changes, 4)
    for warning in applied.warnings.get(step.desired.path, ()):
        yield f"    warning: {currency_differs(warning.account_currency, step.settings.currency)}"
    for mapping in step.mappings:
        yield from _mapping_lines(mapping)
        if mapping.desired and (backtest := applied.backtests.get(mapping.desired.path)):
            yield f"      backtest: {summary(backtest)}"


def _mapping_lines(step: MappingStep) -> Iterator[str]:
    stored = step.existing
    name = f"mapping {step.document['name']} ({stored.id if stored else 'new'})"
    match step.action:
        case PlannedAction.NOTHING if step.desired is None:
            yield f"    {name} is not in the file: unchanged"
        case PlannedAction.NOTHING:
            return
        case PlannedAction.ARCHIVE:
            yield f"  - {name}: archived, receives no more events"
        case PlannedAction.CREATE | PlannedAction.CHANGE:
            version = None if stored is None else stored.published_version
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
    text = json_text(value)
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"


def _sum(plan: Plan, *, done: bool) -> str:
    counts = Counter(plan.actions)
    words = {action: f"{action}d" if done else f"to {action}" for action in PlannedAction}
    parts = [f"{counts[action]:,} {word}" for action, word in words.items() if counts[action]]
    return f"{', '.join(parts)}." if counts else "No differences."

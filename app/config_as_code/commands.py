"""The commands `plan`, `apply`, `export` and `schema`.

The exit code is 0 on success, and 1 if the file was refused and nothing was changed. `plan` exits with 2 if
there are differences.
"""

import argparse
import json
import re
import sys
import time
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

from app.admin.access.actor import actor
from app.admin.destinations.delivery_control import StoreDeliveryControl
from app.commands.organisation import add_organisation_argument, engine_for
from app.config_as_code import apply as applying
from app.config_as_code import export as exporting
from app.config_as_code import model, read, show
from app.config_as_code.apply import AppliedPlan, ApplyOptions
from app.config_as_code.read import FileProblem, InvalidFile, with_lines
from app.domain.conversion.consent import ConsentSettings
from app.domain.destination import State
from app.processes.resources import Resources, open_resources
from app.settings import Settings

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


async def plan(settings: Settings, asked: argparse.Namespace) -> int:
    """Print the changes that `apply` would make. Return 2 if there are any."""
    return await _apply(settings, asked, dry_run=True)


async def apply(settings: Settings, asked: argparse.Namespace) -> int:
    """Apply the complete file, or nothing if it has a problem."""
    return await _apply(settings, asked, dry_run=False)


def schema(_settings: Settings, _asked: argparse.Namespace) -> int:
    """Print the JSON schema of the file."""
    sys.stdout.write(json.dumps(model.schema(), indent=2, ensure_ascii=False) + "\n")
    return 0


async def _apply(settings: Settings, asked: argparse.Namespace, *, dry_run: bool) -> int:
    text, desired = _read(asked.file)
    if isinstance(desired, InvalidFile):
        return _refuse(desired, text)
    async with open_resources(settings, role="plan" if dry_run else "apply", pool_size=1) as resources:
        engine = await engine_for(resources, asked)
        done = await applying.apply(
            engine, desired, _options(settings, asked, resources.pepper), dry_run=dry_run
        )
        if isinstance(done, InvalidFile):
            return _refuse(done, text)
        if not dry_run:
            await _wake(resources, done)
    sys.stdout.write("\n".join(show.lines(done.plan, done.backtests, done=not dry_run)) + "\n")
    if dry_run:
        return DRIFT if done.plan.actions else 0
    for destination in done.destinations:
        if destination.state in (State.DRAFT, State.NEEDS_RECONNECT):
            sys.stdout.write(
                f"{destination.name} ({destination.id}) is not connected to Amazon: connect it in the "
                "console.\n"
            )
    return 0


async def _wake(resources: Resources, done: AppliedPlan) -> None:
    """Notify the workers of changed destinations. Without this, they notice the change at their next poll."""
    control = StoreDeliveryControl(
        pool=resources.pool,
        writer=resources.writer,
        monotonic=time.monotonic,
        telemetry=resources.telemetry,
        callbacks_enabled=resources.settings.status_callback_url is not None,
    )
    for step, destination in zip(done.plan.steps, done.destinations, strict=True):
        if step.changed:
            await control.wake(destination.number)


async def export(settings: Settings, asked: argparse.Namespace) -> int:
    """Print the stored configuration as a YAML file."""
    async with (
        open_resources(settings, role="export", pool_size=1) as resources,
        (await engine_for(resources, asked)).connect() as connection,
    ):
        stored = await applying.stored_configuration(connection)
    sys.stdout.write(exporting.export(stored, ids=not asked.without_ids))
    for mapping in stored.mappings:
        if mapping.archived_at is None and mapping.published not in (None, mapping.draft):
            sys.stderr.write(
                f"Mapping {mapping.name} ({mapping.id}) has unpublished changes. They are not exported.\n"
            )
    return 0


def _read(file: str) -> tuple[str, list[read.DesiredState] | InvalidFile]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except OSError as problem:
        return "", InvalidFile((FileProblem(file, f"The file cannot be read ({problem.strerror})."),))
    except UnicodeDecodeError:
        return "", InvalidFile((FileProblem(file, "The file is not UTF-8."),))
    return text, read.read(text)


def _share(text: str) -> Fraction:
    """Parse a share such as `1%` or `0.5%`."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", text.strip(), re.ASCII)
    if match is None or (share := Fraction(match[1]) / 100) > 1:
        raise argparse.ArgumentTypeError("must be a percentage such as 1% or 0.5%")
    return share


def _options(settings: Settings, asked: argparse.Namespace, pepper: bytes) -> ApplyOptions:
    return ApplyOptions(
        by=actor(),
        organisation=asked.organisation,
        channels=frozenset(
            each.name for each in settings.notification_channels if each.organisation == asked.organisation
        ),
        prune=asked.prune,
        max_loss=asked.max_loss,
        max_event_age=timedelta(days=settings.max_event_age_days),
        warn_event_age=timedelta(days=settings.warn_event_age_days),
        consent=ConsentSettings(settings.tcf_vendor_id, frozenset(settings.tcf_purposes)),
        pepper=pepper,
    )


def _refuse(file: InvalidFile, text: str) -> int:
    sys.stderr.write("\n".join(show.problem_lines(with_lines(file, text))) + "\n")
    return 1

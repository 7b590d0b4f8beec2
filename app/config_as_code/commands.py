"""`plan`, `apply`, `export` and `schema`: the words of the command line for configuration as code.

Exit codes: 0 nothing differs or it is done, 1 it cannot be done and nothing was changed, 2 (`plan`) something
differs.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from app.admin.actor import actor
from app.admin.delivery_control import StoreDeliveryControl
from app.config_as_code import apply as applying
from app.config_as_code import export as exporting
from app.config_as_code import model, read, show
from app.config_as_code.apply import AppliedPlan, SharedSettings
from app.config_as_code.read import FileProblem, UnreadableFile
from app.config_as_code.source_locations import with_lines
from app.domain.conversion.consent import ConsentSettings
from app.domain.destination import State
from app.domain.ids import DEFAULT_ORGANISATION
from app.processes.resources import Resources, open_resources
from app.settings import Settings
from app.store import destinations, mappings

DRIFT = 2


def file_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `plan` and `apply` take."""
    parser.add_argument("file", metavar="FILE", help="the YAML file, - for standard input")
    parser.add_argument(
        "--prune", action="store_true", help="archive mappings of a named destination that the file lacks"
    )
    parser.add_argument(
        "--max-loss",
        type=_share,
        metavar="SHARE",
        help="refuse a change by which more than this share of recent events, as 1%%, loses a match key",
    )


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `export` takes."""
    parser.add_argument(
        "--without-ids", action="store_true", help="tell things apart by name, for another instance"
    )


def plan(settings: Settings, asked: argparse.Namespace) -> int:
    """Print what `apply` would do; end with 2 when that is anything."""
    return _run(_plan(settings, asked))


def apply(settings: Settings, asked: argparse.Namespace) -> int:
    """Make what is there agree with the file, all of it or nothing."""
    return _run(_apply(settings, asked))


def export(settings: Settings, asked: argparse.Namespace) -> int:
    """Print what is there as a file."""
    return _run(_export(settings, asked))


def schema(_settings: Settings, _asked: argparse.Namespace) -> int:
    """Print the JSON schema of the file."""
    sys.stdout.write(json.dumps(model.schema(), indent=2, ensure_ascii=False) + "\n")
    return 0


def _run(work: Coroutine[None, None, int]) -> int:
    try:
        return asyncio.run(work)
    except (OSError, SQLAlchemyError, asyncpg.PostgresError) as problem:
        name = type(getattr(problem, "orig", None) or problem).__name__
        sys.stderr.write(f"The database could not be used ({name}). Was it migrated (./run migrate)?\n")
        return 1


async def _plan(settings: Settings, asked: argparse.Namespace) -> int:
    text, wanted = _read(asked.file)
    if isinstance(wanted, UnreadableFile):
        return _refuse(wanted, text)
    async with open_resources(settings, role="plan", pool_size=1) as resources:
        done = await applying.rehearse(
            resources.engine_of(DEFAULT_ORGANISATION), wanted, _terms(settings, asked)
        )
    if isinstance(done, UnreadableFile):
        return _refuse(done, text)
    _print(show.lines(done.plan, done.backtests))
    return DRIFT if done.plan.actions else 0


async def _apply(settings: Settings, asked: argparse.Namespace) -> int:
    text, wanted = _read(asked.file)
    if isinstance(wanted, UnreadableFile):
        return _refuse(wanted, text)
    async with open_resources(settings, role="apply", pool_size=1) as resources:
        done = await applying.apply(
            resources.engine_of(DEFAULT_ORGANISATION), wanted, _terms(settings, asked)
        )
        if isinstance(done, UnreadableFile):
            return _refuse(done, text)
        await _wake(resources, done)
    _print(show.lines(done.plan, done.backtests, done=True))
    for one in done.destinations:
        if one.state in (State.DRAFT, State.NEEDS_RECONNECT):
            sys.stdout.write(
                f"{one.name} ({one.id}) is not connected to Amazon: connect it in the console.\n"
            )
    return 0


async def _wake(resources: Resources, done: AppliedPlan) -> None:
    """Tell workers at once; they would find out by themselves, only later."""
    holding = StoreDeliveryControl(
        pool=resources.pool,
        writer=resources.writer,
        monotonic=time.monotonic,
        callbacks_enabled=resources.settings.status_callback_url is not None,
    )
    for step, one in zip(done.plan.steps, done.destinations, strict=True):
        if step.touched:
            await holding.wake(one.number)


async def _export(settings: Settings, asked: argparse.Namespace) -> int:
    async with (
        open_resources(settings, role="export", pool_size=1) as resources,
        resources.engine_of(DEFAULT_ORGANISATION).connect() as connection,
    ):
        every = await destinations.everything(connection)
        theirs = await mappings.everything(connection)
    sys.stdout.write(exporting.export(every, theirs, ids=not asked.without_ids))
    for one in theirs:
        if one.archived_at is None and one.published is not None and one.draft != one.published:
            sys.stderr.write(
                f"Mapping {one.name} ({one.id}) has a draft that is not published and not here.\n"
            )
    return 0


def _read(file: str) -> tuple[str, list[read.DesiredState] | UnreadableFile]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except OSError as problem:
        return "", UnreadableFile((FileProblem(file, f"It cannot be read ({problem.strerror})."),))
    except UnicodeDecodeError:
        return "", UnreadableFile((FileProblem(file, "It is not UTF-8."),))
    return text, read.read(text)


def _share(text: str) -> Fraction:
    """Read a share written as `1%` or `0.5%`."""
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", text.strip(), re.ASCII)
    if found is None or (share := Fraction(found[1]) / 100) > 1:
        raise argparse.ArgumentTypeError("a share looks like 1% or 0.5%")
    return share


def _terms(settings: Settings, asked: argparse.Namespace) -> SharedSettings:
    return SharedSettings(
        by=actor(),
        prune=asked.prune,
        max_loss=asked.max_loss,
        max_event_age=timedelta(days=settings.max_event_age_days),
        warn_event_age=timedelta(days=settings.warn_event_age_days),
        consent=ConsentSettings(settings.tcf_vendor_id, frozenset(settings.tcf_purposes)),
    )


def _print(words: Iterable[str]) -> None:
    sys.stdout.write("\n".join(words) + "\n")


def _refuse(refused: UnreadableFile, text: str) -> int:
    sys.stderr.write("\n".join(show.refused_lines(with_lines(refused, text))) + "\n")
    return 1

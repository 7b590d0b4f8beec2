"""`replay`: queue a destination's dead or expired events again."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime, timedelta

from app.admin.actor import actor
from app.admin.replay import ReplayResult
from app.admin.replay import replay as put_back
from app.domain.ids import DEFAULT_ORGANISATION, DestinationId
from app.processes.resources import Resources, open_resources
from app.settings import Settings
from app.store import event_history, replays
from app.store.organisation_scope import set_organisation


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("destination", help="its id, dst_…")
    parser.add_argument("--status", choices=("dead", "expired"), default="dead")
    parser.add_argument("--reason", help="only events with this reason, such as gave_up")
    parser.add_argument("--since", type=_moment, help="only events accepted since then (RFC 3339)")
    parser.add_argument("--until", type=_moment, help="only events accepted before then (RFC 3339)")
    parser.add_argument("--dry-run", action="store_true", help="count, and change nothing")


def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Replay, call after call until nothing remains, and print what was done."""
    return asyncio.run(_run(settings, asked))


async def _run(settings: Settings, asked: argparse.Namespace) -> int:
    wanted = replays.ReplayFilter(asked.status, asked.reason, asked.since, asked.until)
    async with open_resources(settings, role="replay", pool_size=1) as resources:
        while True:
            done = await _once(resources, asked.destination, wanted, dry_run=asked.dry_run)
            if done is None:
                print(f"There is no destination {asked.destination} that can be sent to.", file=sys.stderr)
                return 1
            print(_line(done, dry_run=asked.dry_run))
            if asked.dry_run or not done.remaining or not done.replayed:
                return 0


async def _once(
    resources: Resources, destination: str, wanted: replays.ReplayFilter, *, dry_run: bool
) -> ReplayResult | None:
    async with resources.pool.acquire() as connection, connection.transaction():
        await set_organisation(connection, DEFAULT_ORGANISATION)
        found = await event_history.destination(connection, DestinationId(destination))
        if found is None or found.state == "archived":
            return None
        return await put_back(
            connection,
            found.number,
            await replays.lane_of(connection, found.number),
            wanted,
            max_age=timedelta(days=resources.settings.max_event_age_days),
            writer=resources.writer,
            by=actor(),
            dry_run=dry_run,
        )


def _line(done: ReplayResult, *, dry_run: bool) -> str:
    verb = "would go back" if dry_run else "went back"
    return (
        f"{done.replayed} of {done.matched} events {verb}; {done.too_old} are too old, "
        f"{done.forgotten} have no data any more, {done.remaining} remain. "
        f"At least {done.requests} requests, {done.seconds:.0f} s."
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

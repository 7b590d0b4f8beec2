"""`replay`: queue events of a destination again that failed permanently or expired."""

import argparse
from datetime import timedelta

from app.admin import Caller, Refusal, Scope
from app.admin.replays import ReplayResult, replay_steps
from app.commands import CommandFailed, instant
from app.commands.organisation import actor, add_organisation_argument, engine_for
from app.domain.event_query import EventQuery
from app.domain.ids import KeyId
from app.domain.outcomes.reasons import REASONS
from app.domain.outcomes.status import Status
from app.domain.quantity import quantity
from app.processes.resources import open_resources
from app.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destination", metavar="DESTINATION", help="id, dst_…")
    parser.add_argument("--status", choices=("dead", "expired"), help="default: both")
    parser.add_argument("--reason", type=_reason, help="only events with this reason code, such as gave_up")
    parser.add_argument("--since", type=instant, help="only events accepted since this time (RFC 3339)")
    parser.add_argument("--until", type=instant, help="only events accepted before this time (RFC 3339)")
    parser.add_argument("--include-dismissed", action="store_true", help="also dismissed dead letters")
    parser.add_argument("--dry-run", action="store_true", help="count and change nothing")
    add_organisation_argument(parser)


async def run(settings: Settings, asked: argparse.Namespace) -> None:
    """Queue matching events until none remains, and print each step. Raises CommandFailed."""
    status = Status(asked.status) if asked.status else None
    wanted = EventQuery(status=status, reason=asked.reason, since=asked.since, until=asked.until)
    async with open_resources(settings, role="replay", pool_size=1) as resources:
        results = replay_steps(
            await engine_for(resources, asked),
            Caller(KeyId(actor()), frozenset(Scope)),  # an operator may see every destination
            asked.destination,
            wanted.for_replay(include_dismissed=asked.include_dismissed),
            max_age=timedelta(days=settings.max_event_age_days),
            writer=resources.writer.number,
            dry_run=asked.dry_run,
        )
        try:
            async for _, result in results:
                print(_line(result, dry_run=asked.dry_run))
        except Refusal:
            raise CommandFailed(f"Destination {asked.destination} does not exist or is deleted.") from None


def _line(done: ReplayResult, *, dry_run: bool) -> str:
    verb = "would be queued" if dry_run else "queued"
    return (
        f"{done.replayed:,} of {quantity(done.matched, 'event')} {verb}. "
        f"{quantity(done.too_old, 'is', 'are')} too old, "
        f"{quantity(done.forgotten, 'has', 'have')} no stored data, "
        f"{quantity(done.remaining, 'remains', 'remain')}. "
        f"At least {quantity(done.requests, 'request')} in {done.seconds:.0f} s."
    )


def _reason(text: str) -> str:
    if text not in REASONS:
        raise argparse.ArgumentTypeError("it is not a reason; docs/reasons.md lists them")
    return text

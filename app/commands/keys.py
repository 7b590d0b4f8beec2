"""`keys`: list, make, rotate and revoke API keys from the machine itself, with no key at hand."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime, timedelta

from app.admin.access import Scope
from app.admin.actor import actor
from app.admin.keys import DAY_S, NotRotated, insert_key, insert_successor, mark_revoked
from app.domain.ids import DEFAULT_ORGANISATION
from app.processes.resources import Resources, open_resources
from app.settings import Settings
from app.store import destinations, keys
from app.store.keys import ApiKey

_MOST = 10_000

# Only the bootstrap key grants organisations:admin.
_GRANTABLE = [scope.value for scope in Scope if scope is not Scope.ORGANISATIONS_ADMIN]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACT", required=True)
    actions.add_parser("list", help="list keys, without the keys themselves")
    make = actions.add_parser("make", help="make a key and print it, this once")
    make.add_argument("name")
    make.add_argument("scopes", nargs="+", choices=_GRANTABLE, metavar="SCOPE")
    make.add_argument("--destination", action="append", metavar="ID", help="limit it; may be repeated")
    make.add_argument("--days", type=int, help="let it end after so many days")
    rotate = actions.add_parser("rotate", help="make a key that replaces another, and print it, this once")
    rotate.add_argument("key", metavar="KEY_ID")
    rotate.add_argument("--overlap-hours", type=int, default=24, help="how long the old one works on")
    revoke = actions.add_parser("revoke", help="revoke a key permanently")
    revoke.add_argument("key", metavar="KEY_ID")


def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Do it; ends with 1 when there is no such key or destination."""
    return asyncio.run(_run(settings, asked))


async def _run(settings: Settings, asked: argparse.Namespace) -> int:
    actions = {"list": _list, "make": _make, "rotate": _rotate, "revoke": _revoke}
    async with open_resources(settings, role="keys", pool_size=1) as resources:
        return await actions[asked.action](resources, asked)


async def _list(resources: Resources, _asked: argparse.Namespace) -> int:
    async with resources.engine_of(DEFAULT_ORGANISATION).connect() as connection:
        found = await keys.page(connection, limit=_MOST)
    for key in found:
        used = "never used" if key.last_used_at is None else f"last used {_day(key.last_used_at)}"
        limited = "" if key.destination_ids is None else f", only {' '.join(key.destination_ids)}"
        _say(f"{key.id}  {key.hint}…  {_standing(key)}, {used}  {' '.join(key.scopes)}{limited}  {key.name}")
    return 0


def _standing(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "good"
    ended = key.expires_at <= datetime.now(UTC)
    return f"{'ended' if ended else 'good until'} {_day(key.expires_at)}"


def _day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")


async def _make(resources: Resources, asked: argparse.Namespace) -> int:
    ends = None if asked.days is None else datetime.now(UTC) + timedelta(days=asked.days)
    async with resources.engine_of(DEFAULT_ORGANISATION).begin() as connection:
        unknown = await destinations.missing(connection, asked.destination or [])
        if unknown:
            return _fail(f"There is no destination {', '.join(sorted(unknown))}.")
        made, secret = await insert_key(
            connection,
            name=asked.name,
            scopes=asked.scopes,
            destination_ids=asked.destination,
            expires_at=ends,
            by=actor(),
        )
    _say(f"{made.id}  {secret}")
    return 0


async def _rotate(resources: Resources, asked: argparse.Namespace) -> int:
    async with resources.engine_of(DEFAULT_ORGANISATION).begin() as connection:
        done = await insert_successor(
            connection,
            asked.key,
            overlap_s=max(asked.overlap_hours, 0) * DAY_S // 24,
            expires_at=None,
            by=actor(),
        )
    if done is NotRotated.ENDED:
        return _fail("There is no such key, or it is revoked or has expired.")
    if isinstance(done, NotRotated):
        return _fail("The key was rotated before; rotate the key that replaces it, or revoke that one first.")
    made, secret, old = done
    assert old.expires_at is not None
    _say(f"{made.id}  {secret}")
    _say(f"{old.id} works on until {_day(old.expires_at)}.")
    return 0


async def _revoke(resources: Resources, asked: argparse.Namespace) -> int:
    async with resources.engine_of(DEFAULT_ORGANISATION).begin() as connection:
        key = await keys.find(connection, asked.key)
        if key is None:
            return _fail("There is no such key.")
        await mark_revoked(connection, key, by=actor())
    _say(f"{key.id} is refused everywhere within five seconds.")
    return 0


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")


def _fail(words: str) -> int:
    sys.stderr.write(words + "\n")
    return 1

"""`keys`: list, create and revoke API keys in the database, without calling the API."""

import argparse
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin import Scope
from app.admin.access.keys import insert_key, mark_revoked
from app.admin.inputs import Printable
from app.commands import CommandFailed, WrongArguments, days
from app.commands.organisation import actor, add_organisation_argument, engine_for
from app.processes.resources import open_resources
from app.settings import Settings
from app.store.access import keys
from app.store.destinations import destinations

_MAX_LISTED = 10_000

# Only the bootstrap key grants organisations:admin.
_GRANTABLE = [scope.value for scope in Scope if scope is not Scope.ORGANISATIONS_ADMIN]


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="list keys without their secrets")
    create = actions.add_parser("create", help="create a key and print its secret once")
    create.add_argument("name", metavar="NAME")
    create.add_argument("scopes", nargs="+", choices=_GRANTABLE, metavar="SCOPE")
    create.add_argument(
        "--destination", action="append", metavar="ID", help="limit the key to this destination; repeatable"
    )
    create.add_argument("--days", type=days, help="days until the key expires; default: never")
    actions.add_parser("revoke", help="revoke a key permanently").add_argument("key", metavar="KEY_ID")
    for action in actions.choices.values():
        add_organisation_argument(action)


async def run(settings: Settings, asked: argparse.Namespace) -> None:
    """Run the action. Raises CommandFailed for an unknown key or destination, and for an invalid value."""
    actions = {"list": _list, "create": _create, "revoke": _revoke}
    async with open_resources(settings, role="keys", pool_size=1) as resources:
        await actions[asked.action](await engine_for(resources, asked), asked)


async def _list(engine: AsyncEngine, _asked: argparse.Namespace) -> None:
    async with engine.connect() as connection:
        found = await keys.page(connection, keys.KeyFilter(), limit=_MAX_LISTED)
    if not found:
        print("This organisation has no keys.")
    for key in found:
        used = "never used" if key.last_used_at is None else f"last used {_minute(key.last_used_at)}"
        limited = "" if key.destination_ids is None else f", only {' '.join(key.destination_ids)}"
        print(f"{key.id}  {key.hint}…  {_state(key)}, {used}  {' '.join(key.scopes)}{limited}  {key.name}")


def _state(key: keys.ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "valid"
    expired = key.expires_at <= datetime.now(UTC)
    return f"{'expired' if expired else 'valid until'} {_minute(key.expires_at)}"


def _minute(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M")


async def _create(engine: AsyncEngine, asked: argparse.Namespace) -> None:
    expires_at = None if asked.days is None else datetime.now(UTC) + timedelta(days=asked.days)
    try:
        name = TypeAdapter(Printable).validate_python(asked.name)
    except ValidationError:
        raise WrongArguments(
            "The name is blank, has more than 200 characters, or holds an invisible character, an email "
            "address or a phone number."
        ) from None
    async with engine.begin() as connection:
        if unknown := await destinations.missing(connection, asked.destination or []):
            raise CommandFailed(
                f"Destination {', '.join(sorted(unknown))} does not exist. No key was created."
            )
        grant = keys.KeyGrant(
            name=name, scopes=asked.scopes, destination_ids=asked.destination, expires_at=expires_at
        )
        created = await insert_key(connection, grant, by=actor())
    print(f"{created.id}  {created.key}")


async def _revoke(engine: AsyncEngine, asked: argparse.Namespace) -> None:
    async with engine.begin() as connection:
        key = await keys.find(connection, asked.key)
        if key is None:
            raise CommandFailed("The key does not exist.")
        await mark_revoked(connection, key, by=actor())
    print(f"{key.id} is revoked. All processes refuse it within 5 seconds.")

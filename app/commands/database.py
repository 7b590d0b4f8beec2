"""`migrate`, and `database-roles`, which creates the roles of API, workers and backups."""

import argparse
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg

from app.commands import CommandFailed, WrongArguments
from app.processes.resources import connected_as
from app.setting_types import DatabaseRole
from app.settings import Settings
from app.store.database import migrate as migration
from app.store.database import privileges, schema_revision

PROCESS_ROLES: Final[Sequence[DatabaseRole]] = ("api", "worker", "backup")


def migrate(settings: Settings, _asked: argparse.Namespace) -> None:
    """Migrate the database to the newest schema and grant the privileges of this release to its roles."""
    print(f"The database is at revision {upgrade(settings)}.")


def upgrade(settings: Settings) -> str:
    """Migrate the database with the role that owns the tables, and grant privileges to the other roles.

    Return the revision. On the schema of a newer release, change nothing.

    Raises CommandFailed if one of these roles is missing, or if another session holds a lock for too long.
    """
    try:
        missing = migration.upgrade(settings.database_for("owner"), roles=role_names(settings))
    except migration.SchemaIsNewer as newer:
        return f"{newer} of a newer release, on which this release runs. Nothing was changed"
    except migration.MigrationBlocked:
        raise CommandFailed(
            "Another session holds a lock on a table that a migration changes. Nothing of that migration was "
            "applied. End long transactions (see pg_stat_activity), then migrate again."
        ) from None
    if missing:
        raise CommandFailed(
            f"The database has no role {', '.join(missing)}: create it with `database-roles`, then migrate."
        )
    return schema_revision.required()


def create_roles_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sql", action="store_true", help="print the statements for a database administrator; change nothing"
    )


async def create_roles(settings: Settings, asked: argparse.Namespace) -> None:
    """Create the roles in the URLs of API, workers and backups. With `--sql`, only print the statements."""
    roles = role_names(settings)
    if not roles.distinct:
        raise WrongArguments(
            "All database URLs have the same role. Set MIGRATION_DATABASE_URL to the owner of the tables, "
            "and DATABASE_URL, WORKER_DATABASE_URL and BACKUP_DATABASE_URL to other roles."
        )
    if asked.sql:
        for name in roles.distinct:
            print(f"{privileges.creation(name, replicates=name == roles.backup)};")
        return
    print(f"{', '.join(roles.distinct)}: {await _create(settings, roles)}.")


def role_names(settings: Settings) -> privileges.RoleNames:
    """Return the roles from their URLs. None means the owner of the tables."""
    owner = role_of(settings.database_for("owner"))
    names = [role_of(settings.database_for(role)) for role in PROCESS_ROLES]
    return privileges.RoleNames(*(None if name == owner else name for name in names))


def role_of(url: str) -> str:
    """Return the name of the role in a database URL."""
    return unquote(urlsplit(url).username or "")


async def _create(settings: Settings, roles: privileges.RoleNames) -> str:
    """Create the missing roles and grant the privileges. Return what is true of the roles now."""
    urls = map(settings.database_for, PROCESS_ROLES)
    passwords = {role_of(url): unquote(urlsplit(url).password or "") for url in urls}
    async with connected_as(settings, "database-roles", server_settings={}) as connection:
        for name in await privileges.missing(connection, roles):
            replicates = name == roles.backup
            try:
                await privileges.create_role(connection, name, passwords[name], replicates=replicates)
            except asyncpg.InsufficientPrivilegeError as refused:
                raise CommandFailed(
                    "The role of the database URL lacks privileges for database-roles: it may not create "
                    f"{name} ({refused.args[0]}). Run it as a superuser, or give the output of "
                    "`database-roles --sql` to your administrator."
                ) from None
        stored = await schema_revision.stored(connection)
        if stored is None or stored < schema_revision.required():
            return "created. `migrate` creates the tables and grants the privileges"
        if stored > schema_revision.required():  # its processes may still run
            return "created. The privileges are those of a newer release, which migrated the database"
        await privileges.grant(connection, roles)
    return "created, with exactly the privileges of this release"

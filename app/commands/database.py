"""`migrate`, and `database-roles`, which creates the roles of API, workers and backups."""

import argparse
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg

from app.commands import CommandFailed
from app.processes.resources import connected_as
from app.setting_types import DatabaseRole
from app.settings import Settings
from app.store.database import migrate as migration
from app.store.database import privileges, schema_revision

PROCESS_ROLES: Final[Sequence[DatabaseRole]] = ("api", "worker", "backup")


def migrate(settings: Settings, _asked: argparse.Namespace) -> None:
    """Migrate the database to the newest schema and grant the privileges of this release to its roles."""
    upgrade(settings)
    print(f"The database is at revision {schema_revision.required()}.")


def upgrade(settings: Settings) -> None:
    """Migrate the database with the role that owns the tables, and grant privileges to the other roles.

    Raises CommandFailed if one of these roles is missing, or if another session holds a lock for too long.
    """
    try:
        missing = migration.upgrade(settings.database_for("owner"), roles=role_names(settings))
    except migration.MigrationBlocked:
        raise CommandFailed(
            "Another session holds a lock on a table that a migration changes. Nothing of that migration was "
            "applied. End long transactions (see pg_stat_activity), then migrate again."
        ) from None
    if missing:
        raise CommandFailed(
            f"The database has no role {', '.join(missing)}: create it with `database-roles`, then migrate."
        )


def create_roles_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sql", action="store_true", help="print the statements for a database administrator; change nothing"
    )


async def create_roles(settings: Settings, asked: argparse.Namespace) -> None:
    """Create the roles in the URLs of API, workers and backups. With `--sql`, only print the statements."""
    roles = role_names(settings)
    if not roles.distinct:
        raise CommandFailed(
            "All database URLs have the same role. Set MIGRATION_DATABASE_URL to the owner of the tables, "
            "and DATABASE_URL, WORKER_DATABASE_URL and BACKUP_DATABASE_URL to other roles."
        )
    if asked.sql:
        database = urlsplit(settings.database_for("owner")).path.strip("/")
        created = [privileges.creation(name, replicates=name == roles.backup) for name in roles.distinct]
        statements = [*created, *privileges.grants(roles, database=database)]
        print(*(f"{statement};" for statement in statements), sep="\n")
        return
    names = ", ".join(roles.distinct)
    if await _create(settings, roles):
        print(f"{names}: created, with exactly the privileges of this release.")
    else:
        print(f"{names}: created. `migrate` creates the tables and grants the privileges.")


def role_names(settings: Settings) -> privileges.RoleNames:
    """Return the roles from their URLs. None means the owner of the tables."""
    owner = role_of(settings.database_for("owner"))
    names = [role_of(settings.database_for(role)) for role in PROCESS_ROLES]
    return privileges.RoleNames(*(None if name == owner else name for name in names))


def role_of(url: str) -> str:
    """Return the name of the role in a database URL."""
    return unquote(urlsplit(url).username or "")


async def _create(settings: Settings, roles: privileges.RoleNames) -> bool:
    """Create the missing roles and grant the privileges. Return False before `migrate`."""
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
        try:
            await schema_revision.require(connection)
        except schema_revision.NotMigrated:
            return False  # tables of this release do not exist yet
        await privileges.grant(connection, roles)
    return True

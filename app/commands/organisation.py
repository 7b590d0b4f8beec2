"""For whom a command on the database acts: the option `--organisation`, and the name in the audit."""

import argparse
import getpass

from sqlalchemy.ext.asyncio import AsyncEngine

from app.commands import CommandFailed
from app.domain.ids import DEFAULT_ORGANISATION, OrganisationId
from app.processes.resources import Resources
from app.store.organisations import organisations


def add_organisation_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option. Without it, the command acts for the organisation `default`."""
    parser.add_argument(
        "--organisation",
        metavar="ID",
        default=DEFAULT_ORGANISATION,
        help="act for this organisation (default: %(default)s)",
    )


async def engine_for(resources: Resources, asked: argparse.Namespace) -> AsyncEngine:
    """Return the engine of the organisation in the arguments. Raises CommandFailed if it does not exist."""
    organisation = OrganisationId(asked.organisation)
    engine = resources.engine_of(organisation)
    async with engine.connect() as connection:
        if await organisations.find(connection, organisation) is None:
            raise CommandFailed(f"The organisation {organisation} does not exist. Nothing was changed.")
    return engine


def actor() -> str:
    """Return `cli:ACCOUNT` of the operating system, or `cli` when the account is unknown."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"

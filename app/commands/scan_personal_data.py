"""`scan-personal-data`: search every column of the database for personal data that is not encrypted.

The command prints tables, columns and counts, never a value. A canary is an invented value that was sent in
events and must not be found.
"""

import argparse
import asyncio
import getpass
import sys
from contextlib import AbstractAsyncContextManager

import asyncpg

from app.commands import WrongArguments
from app.domain.privacy.personal_data import canary_forms
from app.domain.quantity import quantity
from app.processes.resources import connected_as
from app.settings import Settings
from app.store.privacy import personal_data

_SHORTEST = 4


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--canary",
        action="append",
        default=[],
        metavar="VALUE",
        help="an invented value that was sent in events; repeatable. - reads one per line from standard "
        "input: use it for a real person's value",
    )


def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Search the database and print the findings. Return 1 if there are any.

    Raises WrongArguments for a canary that is too short.
    """
    canaries = _canaries(asked.canary)
    if any(len(canary.strip()) < _SHORTEST for canary in canaries):
        raise WrongArguments(f"A canary needs {_SHORTEST} characters or more: shorter ones match by chance.")
    # The canaries are read before the event loop runs: in it, Ctrl-C would not end a blocking read.
    return asyncio.run(_scan(settings, canaries))


def _canaries(given: list[str]) -> list[str]:
    canaries: list[str] = []
    for value in given:
        if value != "-":
            canaries.append(value)
        elif sys.stdin.isatty():
            canaries.append(getpass.getpass("Canary (not shown): "))
        else:
            canaries += sys.stdin.read().split("\n")
    return [canary for canary in canaries if canary]


def _connected(settings: Settings) -> AbstractAsyncContextManager[asyncpg.Connection]:
    """Open a connection that cannot write, and whose statements may read a large table for two minutes."""
    session = {"statement_timeout": "120s", "default_transaction_read_only": "on"}
    return connected_as(settings, "scan-personal-data", server_settings=session, command_timeout=None)


async def _scan(settings: Settings, canaries: list[str]) -> int:
    forms = [form for number, value in enumerate(canaries, 1) for form in canary_forms(number, value)]
    async with _connected(settings) as connection:
        scanned = await personal_data.columns(connection)
        found = await personal_data.scan(connection, scanned, forms)
    for (table, column, what), number in sorted(found.items()):
        print(f"{table}.{column}: {what}: {quantity(number, 'value')}")
    columns = {(column.table, column.name) for column in scanned}
    tables = {column.table for column in scanned}
    print(
        f"Searched {len(columns)} columns of {len(tables)} tables for patterns and "
        f"{quantity(len(canaries), 'canary', 'canaries')}: "
        f"{'see the findings above' if found else 'nothing found'}."
    )
    return int(bool(found))

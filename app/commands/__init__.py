"""The commands of the command line, one module each; `app.cli` lists them.

`api_commands.py` has the commands that only call the API, `processes.py` has `serve` and `work`, and
`database.py` has `migrate` and `database-roles`. This module has what they share: the exception of a command
that fails, and the types of arguments.
"""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime


class CommandFailed(Exception):
    """The command fails. The text is printed to standard error."""

    exit_code = 1


class WrongArguments(CommandFailed):
    """The arguments or settings are wrong, and nothing was done."""

    exit_code = 2


def number_within(what: str, least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers within these limits."""

    def parse(text: str) -> int:
        if text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"must be {what} from {least} to {most:,}")

    return parse


def instant(text: str) -> datetime:
    """Parse an ISO 8601 time; without an offset it is in UTC. Refuse the years that overflow in UTC."""
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("must be a time such as 2026-11-24T10:00:00Z") from None


days = number_within("a number of days", 1, 36_500)
port = number_within("a port", 1, 65_535)

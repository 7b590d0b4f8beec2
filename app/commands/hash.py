"""`hash FIELD [VALUE]`: what a value becomes on its way to Amazon. Kept nowhere.

Without VALUE it is read from standard input, where a real person's belongs: arguments are seen by everyone on
the machine, and stay in the shell's history.
"""

import argparse
import getpass
import sys

from app.domain.conversion.countries import read_country
from app.domain.identity import MATCH_KEYS, Profile
from app.domain.identity.showing import hash_trait
from app.settings import Settings

_RULES = {rule.field: rule for rule in MATCH_KEYS}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("field", choices=list(_RULES), metavar="FIELD", help=", ".join(_RULES))
    parser.add_argument(
        "value",
        nargs="?",
        metavar="VALUE",
        help="for made-up values; a real one goes to standard input, where nobody else sees it",
    )
    parser.add_argument("--profile", choices=[one.value for one in Profile], default="amazon")
    parser.add_argument("--country", default="US", help="the event's country, for phones and addresses")


def run(_settings: Settings, asked: argparse.Namespace) -> int:
    """Read one value and print its cleaned form and its match key."""
    country = read_country(asked.country)
    if country is None:
        sys.stderr.write("There is no such country.\n")
        return 2
    value = asked.value
    if value is None:
        typed = sys.stdin.isatty()
        value = getpass.getpass("Value (not shown): ") if typed else sys.stdin.read().removesuffix("\n")
    shown = hash_trait(Profile(asked.profile), _RULES[asked.field], value[:1024], country=country.code)
    if shown.match_key is None:
        sys.stdout.write(f"dropped   {shown.dropped}\n")
        return 1
    sys.stdout.write(f"cleaned   {shown.cleaned}\nsent      {shown.match_key}\nrule      {shown.rule}\n")
    return 0

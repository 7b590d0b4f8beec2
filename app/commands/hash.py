"""`hash FIELD [VALUE]`: print the normalised form and the hash of a value. Nothing is stored.

A real person's value belongs on standard input: other users of the machine can read arguments, and the shell
stores them in its history.
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
    parser.add_argument("field", choices=list(_RULES), metavar="FIELD", help=", ".join(_RULES))
    parser.add_argument(
        "value",
        nargs="?",
        metavar="VALUE",
        help="for test values only; pass a real person's value on standard input",
    )
    parser.add_argument("--profile", choices=[profile.value for profile in Profile], default="amazon")
    parser.add_argument("--country", default="US", help="the event's country, for phones and addresses")


def run(_settings: Settings, asked: argparse.Namespace) -> int:
    """Print the normalised form and the match key of a value.

    Return 1 if the value gives no match key, and 2 for wrong arguments.
    """
    country = read_country(asked.country)
    if country is None:
        sys.stderr.write("The country is unknown. Use an ISO 3166-1 alpha-2 code such as US.\n")
        return 2
    value = asked.value
    if value is None:
        terminal = sys.stdin.isatty()
        value = getpass.getpass("Value (hidden): ") if terminal else sys.stdin.read().removesuffix("\n")
    result = hash_trait(Profile(asked.profile), _RULES[asked.field], value[:1024], country=country.code)
    if result.match_key is None:
        sys.stdout.write(f"dropped   {result.dropped}\n")
        return 1
    sys.stdout.write(f"cleaned   {result.cleaned}\nsent      {result.match_key}\nrule      {result.rule}\n")
    return 0

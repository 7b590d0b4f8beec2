"""Types of command-line arguments."""

import argparse
from collections.abc import Callable


def number_within(what: str, least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers within these limits."""

    def parse(text: str) -> int:
        if text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"must be {what} from {least} to {most:,}")

    return parse


days = number_within("a number of days", 1, 36_500)
port = number_within("a port", 1, 65_535)

"""Types of command-line arguments."""

import argparse
from collections.abc import Callable


def whole_number(what: str, least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers within these limits."""

    def parse(text: str) -> int:
        if text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"must be {what} from {least} to {most:,}")

    return parse


days = whole_number("a number of days", 1, 36_500)
port = whole_number("a port", 1, 65_535)

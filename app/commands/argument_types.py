"""Types of command-line arguments."""

import argparse

_MOST_DAYS = 36_500


def days(text: str, *, least: int = 1) -> int:
    """Parse a number of days, of `least` or more and at most a century."""
    if text.isdecimal() and len(text) < 6 and least <= int(text) <= _MOST_DAYS:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a number of days from {least} to {_MOST_DAYS:,}")

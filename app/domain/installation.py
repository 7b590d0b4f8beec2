"""When an installation needs attention: limits of `doctor`, readiness and the console's system page."""

from datetime import datetime, timedelta
from typing import Final

MIN_DAYS_AHEAD: Final = 2
"""Partitions of fewer days ahead are too few."""
_MAX_BALANCE_AGE: Final = timedelta(hours=6)  # workers check it every hour
# Half of what NIST SP 800-38D allows with random nonces; at 300 batches a second the rest lasts 80 days.
_MAX_SEALS: Final = 2**31


def is_balance_old(checked_at: datetime, now: datetime) -> bool:
    """Return whether the last balance check is so old that no worker seems to run."""
    return now - checked_at > _MAX_BALANCE_AGE


def must_rotate(seals: int) -> bool:
    """Return whether a key has encrypted so many values that another should take its place."""
    return seals >= _MAX_SEALS

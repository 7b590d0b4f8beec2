"""Limits beyond which `doctor`, readiness and the console's system page report a problem."""

from datetime import datetime, timedelta
from typing import Final

MOST_SKEW_S: Final = 30.0  # between the clocks of a process and of the database: beyond, it is not ready
MIN_DAYS_AHEAD: Final = 2  # daily partitions must exist for at least this many days ahead
_MAX_BALANCE_AGE: Final = timedelta(hours=6)  # workers check the balance of the tables every hour
# NIST SP 800-38D limits the number of values that a key may encrypt with random nonces. This is half of the
# limit. At 300 batches a second, the other half lasts 80 days.
_MAX_SEALS: Final = 2**31
MAX_BACKUP_AGE: Final = timedelta(days=2)  # a base backup is taken every day
# A receiver lags by less than a WAL segment of 16 MiB. More means that none runs, or a slow one.
MAX_RETAINED_BYTES: Final = 2**26


def is_balance_old(checked_at: datetime, now: datetime) -> bool:
    """Return whether the last balance check is so old that probably no worker runs."""
    return now - checked_at > _MAX_BALANCE_AGE


def must_rotate(seals: int) -> bool:
    """Return whether a key that encrypted `seals` values should be rotated."""
    return seals >= _MAX_SEALS

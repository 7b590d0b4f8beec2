"""The offset between the clocks of a process and of the database. Readings are in seconds since 1970."""

MOST_SKEW_S = 30.0  # with a larger offset, a process is not ready
NOTICED_S = 1.0  # after a larger change of the offset, events in progress are evaluated again


def adjusted_offset(offset: float, *, database: float, before: float, after: float) -> float:
    """Return the seconds to add to the process's clock to get the database's time.

    A query read the database's clock: `database`. The process read its own clock before and after the query:
    `before` and `after`. These limit the true offset to a range as wide as the round trip. The previous
    `offset` is changed only as far as it is outside this range.
    """
    return min(max(offset, database - after), database - before)

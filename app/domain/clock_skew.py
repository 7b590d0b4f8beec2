"""The offset between the clocks of a process and of the database. Readings are in seconds since 1970."""

MOST_SKEW_S = 30.0  # with a larger offset, a process is not ready
NOTICED_S = 1.0  # after a larger change of the offset, events in progress are evaluated again


def adjusted_offset(offset: float, *, database: float, before: float, after: float) -> float:
    """Return the seconds to add to the process's clock to get the database's time.

    `database` is the database's clock as a query returned it. `before` and `after` are the process's clock
    before and after this query. They limit the true offset to a range as wide as the round trip. If the
    previous `offset` is outside this range, the nearest end of the range is returned.
    """
    return min(max(offset, database - after), database - before)
